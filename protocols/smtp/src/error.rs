//! What a peer can do wrong, and the reply that says so.

use crate::Reply;

/// A fault of the peer; there is no other kind in a crate without I/O.
///
/// The order matters for the faults of a message: of several, the greatest is told, so that the
/// answer does not depend on how the bytes were cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Error {
    /// A command line over the limit, taken up to its end.
    #[error("line too long")]
    LineTooLong,
    /// A line that does not end at all.
    #[error("line without an end")]
    LineEndless,
    /// LF without CR in a command.
    #[error("bare LF received; lines end in CR LF")]
    BareLf,
    /// CR without LF in a command.
    #[error("bare CR received; lines end in CR LF")]
    BareCr,
    /// A NUL in a command.
    #[error("NUL is not allowed in a command")]
    Nul,
    /// A TLS handshake where a command was awaited.
    #[error("this is a TLS handshake, not a command; use STARTTLS or the TLS port")]
    UnexpectedTls,
    /// Bytes that are no UTF-8, or UTF-8 where only ASCII may stand.
    #[error("8-bit characters are not allowed here")]
    EightBit,
    /// A non-ASCII address without the SMTPUTF8 parameter (RFC 6531 §3.5).
    #[error("non-ASCII addresses need the SMTPUTF8 parameter")]
    NeedsSmtpUtf8,
    /// An argument is missing, malformed, or stands where none is taken.
    #[error("syntax: {0}")]
    Syntax(&'static str),
    /// The address of MAIL FROM.
    #[error("bad sender address syntax")]
    ReversePath,
    /// The address of RCPT TO.
    #[error("bad recipient address syntax")]
    ForwardPath,
    /// A parameter with a bad value, or given twice.
    #[error("bad or repeated parameter {0}")]
    Parameter(&'static str),
    /// A parameter that is not offered.
    #[error("unsupported parameter")]
    UnknownParameter,
    /// AUTH: no base64, or not what the mechanism asks for.
    #[error("cannot decode the response")]
    Base64,
    /// BDAT: no chunk size, so what follows cannot be framed.
    #[error("syntax: BDAT size [LAST]")]
    ChunkSize,
    /// A message with a line over the limit.
    #[error("message has a line that is too long")]
    BodyLineTooLong,
    /// A message with NUL that was not announced as BINARYMIME.
    #[error("message has NUL characters")]
    BodyNul,
    /// A message with bare CR or LF that was not announced as BINARYMIME.
    #[error("message has bare CR or LF; lines end in CR LF")]
    BodyBareNewline,
    /// A header section over the limit.
    #[error("message header too large")]
    HeaderTooLarge,
    /// A message over the limit.
    #[error("message exceeds the size limit")]
    MessageTooLarge,
    /// Client: a reply that is none.
    #[error("malformed reply from the server")]
    ReplySyntax,
    /// Client: a reply with too many or too long lines.
    #[error("reply from the server is too long")]
    ReplyTooLong,
}

impl Error {
    /// The reply to the peer.
    pub fn reply(self) -> Reply {
        let (code, status) = match self {
            Error::LineTooLong | Error::BareCr | Error::Nul | Error::EightBit => (500, (5, 5, 2)),
            Error::LineEndless | Error::BareLf => (521, (5, 5, 2)),
            Error::UnexpectedTls => (554, (5, 5, 1)),
            Error::NeedsSmtpUtf8 => (553, (5, 6, 7)),
            Error::Syntax(_) | Error::Parameter(_) => (501, (5, 5, 4)),
            Error::ReversePath => (501, (5, 1, 7)),
            Error::ForwardPath => (501, (5, 1, 3)),
            Error::UnknownParameter => (555, (5, 5, 4)),
            Error::Base64 => (501, (5, 5, 2)),
            Error::ChunkSize => (521, (5, 5, 4)),
            Error::BodyLineTooLong | Error::BodyNul => (554, (5, 6, 0)),
            Error::BodyBareNewline => (550, (5, 6, 11)),
            Error::HeaderTooLarge | Error::MessageTooLarge => (552, (5, 3, 4)),
            Error::ReplySyntax | Error::ReplyTooLong => (451, (4, 5, 0)),
        };
        Reply::new(code, status, self.to_string())
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Reply {
        error.reply()
    }
}
