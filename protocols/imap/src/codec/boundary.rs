//! Where one response has ended and another may begin, in bytes that some other server has printed.
//!
//! Who carries bytes of a server to a client, and wants to add a last response of its own, must know that it does not fall
//! into the middle of a line or a literal. Bodies are literals, so most bytes are passed over without a look.

use memchr::memchr;

/// Bytes of the end of a line that are kept: more than `{`, the digits of any number, `}` and CR LF.
const TAIL_MAX: usize = 32;

/// Follows what a client is told, from between two responses on.
#[derive(Debug, Default)]
pub struct Boundary {
    /// Bytes of a literal that are still to come.
    literal_left: u64,
    /// A response has begun.
    within: bool,
    /// The end of the line so far.
    tail: Vec<u8>,
}

impl Boundary {
    /// True between two responses.
    pub fn is_here(&self) -> bool {
        !self.within
    }

    /// The client is told this.
    pub fn told(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.within = true;
            if self.literal_left > 0 {
                let count = usize::try_from(self.literal_left).unwrap_or(usize::MAX).min(rest.len());
                self.literal_left -= count as u64;
                rest = rest.get(count..).unwrap_or_default();
                continue;
            }
            let Some(end) = memchr(b'\n', rest) else { return self.keep(rest) };
            let (line, behind) = rest.split_at(end + 1);
            self.keep(line);
            match announced(&self.tail) {
                Some(bytes) => self.literal_left = bytes,
                None => self.within = !self.tail.ends_with(b"\r\n"),
            }
            self.tail = Vec::new();
            rest = behind;
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes.get(bytes.len().saturating_sub(TAIL_MAX)..).unwrap_or_default());
        self.tail.drain(..self.tail.len().saturating_sub(TAIL_MAX));
    }
}

/// The size of the literal that a line announces at its end.
fn announced(line: &[u8]) -> Option<u64> {
    let digits = line.strip_suffix(b"}\r\n")?;
    let digits = digits.get(memchr::memrchr(b'{', digits)? + 1..)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(pieces: &[&[u8]]) -> bool {
        let mut boundary = Boundary::default();
        pieces.iter().for_each(|piece| boundary.told(piece));
        boundary.is_here()
    }

    #[test]
    fn lines_and_literals_end_where_they_end() {
        assert!(after(&[]));
        assert!(after(&[b"* 1 EXISTS\r\n"]));
        assert!(after(&[b"* 1 EXISTS\r", b"\na OK done\r\n"]));
        for within in [&b"*"[..], b"* 1 EXISTS", b"* 1 EXISTS\r", b"* 1 EXISTS\n"] {
            assert!(!after(&[within]), "{}", String::from_utf8_lossy(within));
        }
        assert!(!after(&[b"* 1 FETCH (BODY[] {4}\r\n"]));
        assert!(!after(&[b"* 1 FETCH (BODY[] {4}\r\n", b"a\r\n"]));
        assert!(!after(&[b"* 1 FETCH (BODY[] {4}\r\n", b"ab\r\n"]), "the line goes on");
        assert!(after(&[b"* 1 FETCH (BODY[] {", b"4}", b"\r", b"\na", b"b\r\n", b")\r\n"]));
        assert!(!after(&[b"* 1 FETCH (BODY[] {0}\r\n"]));
        assert!(after(&[b"* 1 FETCH (BODY[] {0}\r\n)\r\n"]));
        assert!(after(&[b"* 1 FETCH (BINARY[] ~{3}\r\n{9}\r\n"]), "a literal of the bytes {{9}}");
        for none in [&b"* OK {}\r\n"[..], b"* OK {x}\r\n", b"* OK {1}x\r\n", b"* OK 1}\r\n", b"\r\n"] {
            assert_eq!(announced(none).unwrap_or(0), 0);
        }
        assert_eq!(announced(b"x {18446744073709551615}\r\n"), Some(u64::MAX));
        assert_eq!(announced(b"x {18446744073709551616}\r\n"), None);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_it_is_cut(
            lines in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..80), "[ -z]{0,60}"), 0..6),
            step in 1usize..40,
        ) {
            let mut bytes = Vec::new();
            for (literal, text) in &lines {
                bytes.extend_from_slice(format!("* {text} {{{}}}\r\n", literal.len()).as_bytes());
                bytes.extend_from_slice(literal);
                bytes.extend_from_slice(b")\r\n");
            }
            let (mut whole, mut cut) = (Boundary::default(), Boundary::default());
            whole.told(&bytes);
            for piece in bytes.chunks(step) {
                cut.told(piece);
                prop_assert!(cut.tail.len() <= TAIL_MAX);
            }
            prop_assert!(whole.is_here() && cut.is_here());
            // A byte less is less than a response.
            if let Some((_, less)) = bytes.split_last() {
                let mut boundary = Boundary::default();
                boundary.told(less);
                prop_assert!(!boundary.is_here());
            }
        }
    }
}
