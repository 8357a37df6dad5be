//! Reading the words of structured header fields (RFC 5322 §3.2, RFC 2045 §5.1).
//!
//! Every function appends what it read to `out`, passes over comments and white space after it, and
//! tells what comes then. None of them goes back, so reading a field is linear in its length.

/// What stands after a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// More of the field.
    More,
    /// The end of the field.
    End,
    /// The word or the comment after it is malformed.
    Broken,
}

/// A place in an unfolded field value.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
    /// The text of the comment that was passed over last, without its outer parentheses.
    pub(crate) comment: Vec<u8>,
}

/// A character of an atom; 8-bit characters are taken for letters (RFC 6532 §3.2).
pub(crate) fn is_atext(byte: u8) -> bool {
    byte >= 0x80 || byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// A character of a MIME token; the same, 8-bit characters being let through.
fn is_token(byte: u8) -> bool {
    byte == b'.' || (is_atext(byte) && !b"/=?".contains(&byte))
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Cursor<'a> {
        Cursor { data, at: 0, comment: Vec::new() }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn return_to(&mut self, position: usize) {
        self.at = position;
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.data.get(self.at).copied()
    }

    pub(crate) fn advance(&mut self) {
        self.at = self.at.saturating_add(1).min(self.data.len());
    }

    fn here(&self) -> After {
        if self.at < self.data.len() { After::More } else { After::End }
    }

    /// Takes the characters for which `wanted` holds.
    pub(crate) fn take_while(&mut self, out: &mut Vec<u8>, wanted: impl Fn(u8) -> bool) {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&b| !wanted(b)).unwrap_or(rest.len());
        out.extend_from_slice(rest.get(..length).unwrap_or_default());
        self.at = self.at.saturating_add(length);
    }

    /// Passes over white space and comments.
    pub(crate) fn skip_cfws(&mut self) -> After {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.advance(),
                b'(' if !self.skip_comment() => return After::Broken,
                b'(' => {}
                _ => break,
            }
        }
        self.here()
    }

    /// False when the comment has no end. Nesting is counted, not followed.
    fn skip_comment(&mut self) -> bool {
        self.comment.clear();
        let mut depth = 0u64;
        while let Some(byte) = self.peek() {
            self.advance();
            match byte {
                b'(' => depth = depth.saturating_add(1),
                b')' => depth = depth.saturating_sub(1),
                b'\\' => {
                    let Some(escaped) = self.peek() else { return false };
                    self.comment.push(escaped);
                    self.advance();
                    continue;
                }
                _ => {}
            }
            match (byte, depth) {
                (b')', 0) => return true,
                (b'(', 1) => {}
                _ => self.comment.push(byte),
            }
        }
        self.comment.clear();
        false
    }

    /// `atom`, of one character at least.
    pub(crate) fn atom(&mut self, out: &mut Vec<u8>) -> After {
        if !self.peek().is_some_and(is_atext) {
            return After::Broken;
        }
        self.take_while(out, is_atext);
        self.skip_cfws()
    }

    /// `dot-atom`, with white space around the dots allowed (obs-domain).
    pub(crate) fn dot_atom(&mut self, out: &mut Vec<u8>) -> After {
        loop {
            match self.atom(out) {
                After::More if self.peek() == Some(b'.') => {}
                after => return after,
            }
            self.advance();
            out.push(b'.');
            self.skip_cfws();
        }
    }

    /// The same with dots at the start, at the end and beside one another, as local parts have them.
    pub(crate) fn dotted_words(&mut self, out: &mut Vec<u8>) -> After {
        let mut after = After::Broken;
        loop {
            while self.peek() == Some(b'.') {
                self.advance();
                out.push(b'.');
                after = self.skip_cfws();
            }
            if after == After::End || (after == After::More && !self.peek().is_some_and(is_atext)) {
                return after;
            }
            after = self.atom(out);
            if after != After::More || self.peek() != Some(b'.') {
                return after;
            }
        }
    }

    /// A MIME token; may be empty.
    pub(crate) fn token(&mut self, out: &mut Vec<u8>) -> After {
        self.take_while(out, is_token);
        self.skip_cfws()
    }

    /// A quoted string, without its quotes; the cursor stands at the first.
    pub(crate) fn quoted_string(&mut self, out: &mut Vec<u8>) -> After {
        self.advance();
        loop {
            self.take_while(out, |b| !matches!(b, b'"' | b'\\'));
            match self.peek() {
                Some(b'"') => {
                    self.advance();
                    return self.skip_cfws();
                }
                Some(_) => {
                    self.advance();
                    let Some(escaped) = self.peek() else { return After::Broken };
                    out.push(escaped);
                    self.advance();
                }
                None => return After::Broken,
            }
        }
    }

    /// `phrase`, with dots (obs-phrase); words are joined by one space. May be empty.
    pub(crate) fn phrase(&mut self, out: &mut Vec<u8>) -> After {
        match self.peek() {
            None => return After::End,
            Some(b'.') => return After::Broken,
            Some(_) => {}
        }
        loop {
            let after = if self.peek() == Some(b'"') {
                self.quoted_string(out)
            } else {
                self.take_while(out, |b| b == b'.' || is_atext(b));
                self.skip_cfws()
            };
            if after != After::More {
                return after;
            }
            if !self.peek().is_some_and(|b| matches!(b, b'"' | b'.') || is_atext(b)) {
                return After::More;
            }
            out.push(b' ');
        }
    }

    /// `domain` after its `@`, at which the cursor stands.
    pub(crate) fn domain(&mut self, out: &mut Vec<u8>) -> After {
        self.advance();
        if self.skip_cfws() != After::More {
            return After::Broken;
        }
        if self.peek() == Some(b'[') { self.domain_literal(out) } else { self.dot_atom(out) }
    }

    /// `domain-literal`, with its brackets.
    fn domain_literal(&mut self, out: &mut Vec<u8>) -> After {
        while let Some(byte) = self.peek() {
            out.push(byte);
            self.advance();
            match byte {
                b'\\' => {
                    let Some(escaped) = self.peek() else { return After::Broken };
                    out.push(escaped);
                    self.advance();
                }
                b']' => return self.skip_cfws(),
                _ => {}
            }
        }
        After::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_what_follows() {
        let mut cursor = Cursor::new(b"a . b (c (d) \\) e) \"f\\\"g\" h");
        let mut out = Vec::new();
        assert_eq!(cursor.dot_atom(&mut out), After::More);
        assert_eq!(out, b"a.b");
        assert_eq!(cursor.comment, b"c (d) ) e");
        out.clear();
        assert_eq!(cursor.phrase(&mut out), After::End);
        assert_eq!(out, b"f\"g h");
    }

    #[test]
    fn what_has_no_end_is_broken() {
        for text in ["(a", "(a (b)", "(a\\", "  ("] {
            assert_eq!(Cursor::new(text.as_bytes()).skip_cfws(), After::Broken, "{text}");
        }
        for text in ["\"a", "\"a\\", "\""] {
            assert_eq!(Cursor::new(text.as_bytes()).quoted_string(&mut Vec::new()), After::Broken, "{text}");
        }
        assert_eq!(Cursor::new(b"@[1.2.3.4").domain(&mut Vec::new()), After::Broken);
    }
}
