//! Command lines: strictly ended by CR LF (RFC 5321 §2.3.8), of bounded length.
//!
//! What comes out does not depend on how the bytes were cut into segments, and each byte is looked
//! at once, so a line that comes byte by byte costs no more than one that comes whole.

use crate::Error;
use bytes::{Buf, BytesMut};
use memchr::{memchr, memchr2};

/// A line of more bytes than this ends the session; up to it, it is skipped and refused.
pub const LINE_ENDLESS: usize = 1024 * 1024;
/// The content type of a TLS handshake record, the first byte of a ClientHello.
const TLS_HANDSHAKE: u8 = 0x16;

/// Cuts lines from the front of the input.
#[derive(Debug, Default)]
pub struct LineReader {
    /// How far the front of the input holds no LF.
    scanned: usize,
    /// Bytes of a line over the limit that were thrown away already.
    skipped: usize,
}

impl LineReader {
    /// The next line without its CR LF; `None` when it is not whole yet. `max` counts the CR LF. A
    /// line with a fault has been taken from the input when the error comes.
    pub fn take(&mut self, input: &mut BytesMut, max: usize) -> Result<Option<BytesMut>, Error> {
        if self.skipped == 0 && input.first() == Some(&TLS_HANDSHAKE) {
            input.clear();
            self.reset();
            return Err(Error::UnexpectedTls);
        }
        let fresh = input.get(self.scanned..).unwrap_or_default();
        let Some(at) = memchr(b'\n', fresh) else {
            self.scanned = input.len();
            if self.skipped + input.len() > max {
                self.skipped += input.len();
                self.scanned = 0;
                input.clear();
            }
            return if self.skipped > LINE_ENDLESS { Err(Error::LineEndless) } else { Ok(None) };
        };
        let end = self.scanned + at + 1;
        let total = self.skipped + end;
        self.reset();
        if total > max {
            input.advance(end);
            return Err(if total > LINE_ENDLESS { Error::LineEndless } else { Error::LineTooLong });
        }
        check(input.split_to(end)).map(Some)
    }

    /// Forgets what was read of a line; for when the input was thrown away.
    pub fn reset(&mut self) {
        *self = LineReader::default();
    }
}

fn check(mut line: BytesMut) -> Result<BytesMut, Error> {
    if !line.ends_with(b"\r\n") {
        return Err(Error::BareLf);
    }
    line.truncate(line.len() - 2);
    match memchr2(b'\r', 0, &line).and_then(|at| line.get(at)) {
        None => Ok(line),
        Some(0) => Err(Error::Nul),
        Some(_) => Err(Error::BareCr),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], step: usize, max: usize) -> Vec<Result<Vec<u8>, Error>> {
        let (mut reader, mut input, mut found) = (LineReader::default(), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(step) {
            input.extend_from_slice(piece);
            loop {
                match reader.take(&mut input, max) {
                    Ok(None) => break,
                    Ok(Some(line)) => found.push(Ok(line.to_vec())),
                    Err(error) => found.push(Err(error)),
                }
            }
        }
        found
    }

    #[test]
    fn only_crlf_ends_a_line() {
        let input = b"NOOP\r\nA\nB\rC\r\nD\0\r\n\r\r\n\r\nQUIT\r\n";
        let want: Vec<Result<Vec<u8>, Error>> = vec![
            Ok(b"NOOP".to_vec()),
            Err(Error::BareLf),
            Err(Error::BareCr),
            Err(Error::Nul),
            Err(Error::BareCr),
            Ok(b"".to_vec()),
            Ok(b"QUIT".to_vec()),
        ];
        for step in 1..input.len() {
            assert_eq!(all(input, step, 512), want, "step {step}");
        }
    }

    #[test]
    fn long_lines_are_skipped_and_told_once() {
        let mut input = vec![b'x'; 100_000];
        input.extend_from_slice(b"\r\nNOOP\r\n");
        for step in [1, 7, 511, 512, 513, 100_008] {
            assert_eq!(all(&input, step, 512), vec![Err(Error::LineTooLong), Ok(b"NOOP".to_vec())], "{step}");
        }
        let exact = [vec![b'y'; 510], b"\r\n".to_vec()].concat();
        assert_eq!(all(&exact, 1, 512), vec![Ok(vec![b'y'; 510])]);
    }

    #[test]
    fn endless_lines_hold_no_memory() {
        let (mut reader, mut input) = (LineReader::default(), BytesMut::new());
        for _ in 0..LINE_ENDLESS / 4096 {
            input.extend_from_slice(&[b'a'; 4096]);
            assert_eq!(reader.take(&mut input, 512), Ok(None));
            assert!(input.is_empty());
        }
        input.extend_from_slice(b"a");
        assert_eq!(reader.take(&mut input, 512), Err(Error::LineEndless));
    }

    #[test]
    fn a_client_hello_is_noticed_at_its_first_byte() {
        assert_eq!(all(&[0x16], 1, 512), vec![Err(Error::UnexpectedTls)]);
    }
}
