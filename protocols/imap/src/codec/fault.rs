//! What can be wrong with what a client sends: always its own fault, never that of the engine.

use super::command::Tag;
use super::response::{Code, Condition};

/// Why a command is refused, or a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A line that ends with LF alone.
    #[error("Lines must end with CR LF")]
    BareLineFeed,
    /// CR that is not followed by LF, outside a literal.
    #[error("CR within a line")]
    BareCarriageReturn,
    /// NUL outside a `literal8`.
    #[error("NUL is not allowed here")]
    Nul,
    /// A line over [`super::framer::Limits::line`].
    #[error("Line too long")]
    LineTooLong,
    /// A command over [`super::framer::Limits::command`].
    #[error("Command too long")]
    CommandTooLong,
    /// More literals than [`super::framer::Limits::literals`].
    #[error("Too many literals")]
    TooManyLiterals,
    /// A literal over [`super::framer::Limits::literal`], or one without synchronization over
    /// [`super::framer::Limits::non_sync`].
    #[error("Literal too big")]
    LiteralTooBig,
    /// A message to append over [`super::framer::Limits::append`].
    #[error("Message too big")]
    MessageTooBig,
    /// A message for which there is no room in the account.
    #[error("Quota exceeded")]
    OverQuota,
    /// A message that cannot be taken now.
    #[error("Not possible now, try again later")]
    Unavailable,
    /// No tag at the start of the line.
    #[error("Command without a valid tag")]
    Tag,
    /// A command that is not known here.
    #[error("Unknown command")]
    UnknownCommand,
    /// The line does not go on as it must.
    #[error("Expected {0}")]
    Expected(&'static str),
    /// More of something than its limit, or nested deeper.
    #[error("Too many {0}")]
    TooMany(&'static str),
    /// Base64 that is none.
    #[error("Invalid base64")]
    Base64,
    /// Text that is no UTF-8.
    #[error("Invalid UTF-8")]
    Utf8,
    /// 8-bit bytes before UTF8=ACCEPT or IMAP4rev2 is enabled.
    #[error("8-bit text needs UTF8=ACCEPT or IMAP4rev2")]
    EightBit,
    /// A name that no mailbox can have.
    #[error("Invalid mailbox name")]
    Mailbox,
    /// A SEARCH in a charset that is not known here.
    #[error("Unknown charset")]
    Charset,
}

impl Fault {
    /// How the tagged answer begins: NO when the command was understood and cannot be done.
    pub fn condition(self) -> Condition {
        match self {
            Fault::MessageTooBig | Fault::Mailbox | Fault::Charset => Condition::No,
            Fault::OverQuota | Fault::Unavailable => Condition::No,
            _ => Condition::Bad,
        }
    }

    /// The response code of the answer.
    pub fn code(self) -> Option<Code> {
        match self {
            Fault::MessageTooBig | Fault::LiteralTooBig => Some(Code::TooBig),
            Fault::OverQuota => Some(Code::OverQuota),
            Fault::Unavailable => Some(Code::Unavailable),
            Fault::Mailbox => Some(Code::Cannot),
            Fault::Charset => Some(Code::BadCharset(vec!["US-ASCII".to_owned(), "UTF-8".to_owned()])),
            Fault::TooMany(_) | Fault::LineTooLong | Fault::CommandTooLong | Fault::TooManyLiterals => {
                Some(Code::Limit)
            }
            _ => None,
        }
    }
}

/// A command that is refused: answer `tag NO/BAD [code] text`, or `* BAD text` without a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct CommandError {
    /// The tag, when it could be read.
    pub tag: Option<Tag>,
    /// What is wrong.
    pub fault: Fault,
}
