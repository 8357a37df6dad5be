//! Reading replies, for the client (RFC 5321 §4.2.1).

use crate::{Error, REPLY_LINES_MAX, Reply};
use bytes::{Bytes, BytesMut};
use estafette_types::{EnhancedStatus, StatusClass};
use memchr::memchr;

/// The longest reply line that is read, in bytes; RFC 5321 §4.5.3.1.5 allows 512.
pub const REPLY_LINE_MAX: usize = 4096;

/// Cuts replies from the front of the input.
#[derive(Debug, Default)]
pub struct ReplyReader {
    scanned: usize,
    partial: Option<Reply>,
    lines: usize,
}

impl ReplyReader {
    /// The next whole reply. After an error the connection is of no more use.
    pub fn take(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, Error> {
        loop {
            let fresh = input.get(self.scanned..).unwrap_or_default();
            let Some(at) = memchr(b'\n', fresh) else {
                self.scanned = input.len();
                return if input.len() > REPLY_LINE_MAX { Err(Error::ReplyTooLong) } else { Ok(None) };
            };
            let end = self.scanned + at + 1;
            self.scanned = 0;
            if end > REPLY_LINE_MAX || self.lines >= REPLY_LINES_MAX {
                return Err(Error::ReplyTooLong);
            }
            let line = input.split_to(end).freeze();
            if let Some(reply) = self.line(&line)? {
                return Ok(Some(reply));
            }
        }
    }

    /// Forgets what was read of a reply; for when the input was thrown away.
    pub fn reset(&mut self) {
        *self = ReplyReader::default();
    }

    fn line(&mut self, line: &Bytes) -> Result<Option<Reply>, Error> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (code, rest) = line.split_at_checked(3).ok_or(Error::ReplySyntax)?;
        let code =
            std::str::from_utf8(code).ok().filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
        let code = code.and_then(|code| code.parse::<u16>().ok()).filter(|code| (200..=599).contains(code));
        let code = code.ok_or(Error::ReplySyntax)?;
        let (last, text) = match rest {
            [] => (true, rest),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(Error::ReplySyntax),
        };
        self.lines += 1;
        let text: String =
            String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        match &mut self.partial {
            None => {
                let (status, text) = split_status(code, &text);
                self.partial = Some(Reply { code, status, text: text.to_owned().into() });
            }
            Some(reply) if reply.code != code => return Err(Error::ReplySyntax),
            Some(reply) => {
                let text = if reply.status.is_some() { split_status(code, &text).1 } else { &text };
                let joined = reply.text.to_mut();
                joined.push('\n');
                joined.push_str(text);
            }
        }
        if !last {
            return Ok(None);
        }
        self.lines = 0;
        Ok(self.partial.take())
    }
}

/// An enhanced status code at the front of the text, if its class is that of the code (RFC 2034 §4).
fn split_status(code: u16, text: &str) -> (Option<EnhancedStatus>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let class = match code {
        200..=299 => StatusClass::Success,
        400..=499 => StatusClass::Transient,
        _ => StatusClass::Permanent,
    };
    match EnhancedStatus::parse(word).filter(|status| status.class == class) {
        Some(status) => (Some(status), rest),
        None => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8], step: usize) -> Vec<Result<Reply, Error>> {
        let (mut reader, mut input, mut found) = (ReplyReader::default(), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(step) {
            input.extend_from_slice(piece);
            loop {
                match reader.take(&mut input) {
                    Ok(None) => break,
                    Ok(Some(reply)) => found.push(Ok(reply)),
                    Err(error) => {
                        found.push(Err(error));
                        return found;
                    }
                }
            }
        }
        found
    }

    #[test]
    fn replies_of_all_shapes() {
        let bytes =
            b"250-a\r\n250-SIZE 1\r\n250 b\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n354\r\n221 4.0.0 x\n";
        let want = vec![
            Ok(Reply::bare(250, "a\nSIZE 1\nb")),
            Ok(Reply::new(550, (5, 1, 1), "no\nsuch user")),
            Ok(Reply::bare(354, "")),
            Ok(Reply::bare(221, "4.0.0 x")),
        ];
        for step in 1..bytes.len() {
            assert_eq!(read(bytes, step), want, "step {step}");
        }
    }

    #[test]
    fn hostile_replies_end_in_errors() {
        let syntax: [&[u8]; 6] =
            [b"\r\n", b"2\r\n", b"2x0 a\r\n", b"250_a\r\n", b"250-a\r\n251 b\r\n", b"999 a\r\n"];
        for bytes in syntax {
            assert_eq!(read(bytes, 3), vec![Err(Error::ReplySyntax)]);
        }
        assert_eq!(read(&vec![b'2'; 100_000], 512), vec![Err(Error::ReplyTooLong)]);
        assert_eq!(read(&b"250-a\r\n".repeat(1000), 512), vec![Err(Error::ReplyTooLong)]);
    }

    proptest! {
        #[test]
        fn sent_replies_are_read_back(code in 200_u16..600, text in "[a-z ]{0,40}(\n[a-z]{1,9}){0,3}") {
            let reply = Reply::bare(code, text);
            let mut wire = BytesMut::new();
            reply.encode(&mut wire);
            prop_assert_eq!(read(&wire, 7), vec![Ok(reply)]);
        }
    }
}
