//! A reply: code, enhanced status code and text (RFC 5321 §4.2, RFC 2034).
//!
//! Whatever text is put in, what leaves is well-formed: printable ASCII in lines of bounded length.

use bytes::{BufMut, BytesMut};
use estafette_types::EnhancedStatus;
use std::borrow::Cow;
use std::fmt;

/// The longest text of one reply line that is sent, in bytes (RFC 5321 §4.5.3.1.5: 512 in all).
pub const REPLY_TEXT_MAX: usize = 480;
/// The most lines of one reply, sent or read.
pub const REPLY_LINES_MAX: usize = 128;

/// The first digit of a reply code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyClass {
    /// 2yz
    Positive,
    /// 3yz
    Intermediate,
    /// 4yz: trying again may help.
    Transient,
    /// 5yz, and whatever is no reply code.
    Permanent,
}

/// A reply to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// The enhanced status code, where one is used (not in greetings, EHLO, 334, 354).
    pub status: Option<EnhancedStatus>,
    /// The text, its lines separated by `\n`.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced status code.
    pub fn new(code: u16, status: (u8, u16, u16), text: impl Into<Cow<'static, str>>) -> Reply {
        let status = EnhancedStatus::new(status.0, status.1, status.2);
        Reply { code, status: Some(status), text: text.into() }
    }

    /// A reply without one.
    pub fn bare(code: u16, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply { code, status: None, text: text.into() }
    }

    /// What the first digit says.
    pub fn class(&self) -> ReplyClass {
        match self.code {
            200..=299 => ReplyClass::Positive,
            300..=399 => ReplyClass::Intermediate,
            400..=499 => ReplyClass::Transient,
            _ => ReplyClass::Permanent,
        }
    }

    /// True for 2yz.
    pub fn is_positive(&self) -> bool {
        self.class() == ReplyClass::Positive
    }

    /// True when the server ends the connection with it (RFC 5321 §3.8, RFC 7504).
    pub fn is_closing(&self) -> bool {
        matches!(self.code, 421 | 521)
    }

    /// Writes the reply as it goes over the wire. A code outside 200 to 599 is sent as 451.
    pub fn encode(&self, out: &mut BytesMut) {
        let code = if (200..=599).contains(&self.code) { self.code } else { 451 };
        let code = code.to_string();
        let status = self.status.map(|status| status.to_string());
        let mut lines = self.text.lines().take(REPLY_LINES_MAX).peekable();
        loop {
            let line = lines.next().unwrap_or_default();
            let last = lines.peek().is_none();
            out.put_slice(code.as_bytes());
            out.put_u8(if last { b' ' } else { b'-' });
            if let Some(status) = &status {
                out.put_slice(status.as_bytes());
                out.put_u8(b' ');
            }
            let text = line.chars().take(REPLY_TEXT_MAX);
            text.for_each(|c| out.put_u8(if matches!(c, ' '..='~') { c as u8 } else { b'?' }));
            out.put_slice(b"\r\n");
            if last {
                return;
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        write!(f, " {}", self.text.replace('\n', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut out = BytesMut::new();
        reply.encode(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn lines_are_numbered_and_ended() {
        assert_eq!(wire(&Reply::new(550, (5, 1, 1), "no such user")), "550 5.1.1 no such user\r\n");
        assert_eq!(wire(&Reply::bare(250, "a\nb")), "250-a\r\n250 b\r\n");
        assert_eq!(wire(&Reply::bare(354, "")), "354 \r\n");
    }

    #[test]
    fn hostile_text_cannot_break_a_reply() {
        let reply = Reply::new(550, (5, 0, 0), format!("x\r\0é{}", "y".repeat(5000)));
        let text = wire(&reply);
        assert!(text.starts_with("550 5.0.0 x???yyy"), "{text}");
        assert!(text.len() <= 512 && text.matches("\r\n").count() == 1);
        assert_eq!(wire(&Reply::bare(7, "")), "451 \r\n");
        assert_eq!(wire(&Reply::bare(250, "l\n".repeat(1000))).lines().count(), REPLY_LINES_MAX);
    }
}
