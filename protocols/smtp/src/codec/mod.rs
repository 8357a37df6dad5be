//! Framing and grammar. Framing comes first: a line, a dot-ended message or a chunk is cut out
//! before anything in it is read. Every parser is total: it answers, or says what is wrong.

mod arguments;
mod body;
mod dot;
mod line;
mod path;
mod replies;
mod xtext;

pub use arguments::{chunk, mail, recipient};
pub use body::{BodyLimits, Framing, Message, Progress, Receiver};
pub use dot::DotEncoder;
pub use line::{LINE_ENDLESS, LineReader};
pub use path::{forward_path, reverse_path, split_path};
pub use replies::{REPLY_LINE_MAX, ReplyReader};
pub use xtext::{original_recipient, xtext_decode, xtext_encode};
