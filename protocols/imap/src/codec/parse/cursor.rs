//! Reads the small parts of the grammar from a frame: numbers, atoms, strings, literals.

use crate::codec::Dialect;
use crate::codec::chars;
use crate::codec::fault::Fault;
use crate::codec::framer::{Frame, Literal, Piece};
use std::borrow::Cow;

/// The result of reading a part.
pub(super) type Parsed<T> = Result<T, Fault>;

/// A place in a frame.
pub(super) struct Cursor<'a> {
    /// What is left of the line.
    line: &'a [u8],
    /// The pieces after the line.
    rest: &'a [Piece],
    pub(super) dialect: Dialect,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(frame: &'a Frame, dialect: Dialect) -> Cursor<'a> {
        let mut cursor = Cursor { line: &[], rest: &frame.pieces, dialect };
        cursor.next_line();
        cursor
    }

    fn next_line(&mut self) {
        if let Some((Piece::Line(line), rest)) = self.rest.split_first() {
            (self.line, self.rest) = (line, rest);
        }
    }

    /// The next byte; `None` at the end of a line, also when a literal follows.
    pub(super) fn peek(&self) -> Option<u8> {
        self.line.first().copied()
    }

    /// Takes the byte when it is the next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.line.strip_prefix(&[byte]);
        self.line = found.unwrap_or(self.line);
        found.is_some()
    }

    /// Takes the text, in any case, when it comes next.
    pub(super) fn eat_text(&mut self, text: &str) -> bool {
        match self.line.split_at_checked(text.len()) {
            Some((start, rest)) if start.eq_ignore_ascii_case(text.as_bytes()) => {
                self.line = rest;
                true
            }
            _ => false,
        }
    }

    pub(super) fn expect(&mut self, byte: u8, name: &'static str) -> Parsed<()> {
        if self.eat(byte) { Ok(()) } else { Err(Fault::Expected(name)) }
    }

    pub(super) fn space(&mut self) -> Parsed<()> {
        self.expect(b' ', "a space")
    }

    pub(super) fn open(&mut self) -> Parsed<()> {
        self.expect(b'(', "'('")
    }

    pub(super) fn close(&mut self) -> Parsed<()> {
        self.expect(b')', "')'")
    }

    /// The end of the command. Spaces before it, which some clients send, are let pass.
    pub(super) fn end(&mut self) -> Parsed<()> {
        while self.eat(b' ') {}
        if self.line.is_empty() && self.rest.is_empty() {
            Ok(())
        } else {
            Err(Fault::Expected("the end of the command"))
        }
    }

    /// Whether a further argument follows.
    pub(super) fn more(&self) -> bool {
        self.line.iter().any(|b| *b != b' ') || !self.rest.is_empty()
    }

    /// Takes ASCII as long as it is of the class; possibly nothing.
    pub(super) fn run(&mut self, class: impl Fn(u8) -> bool) -> &'a str {
        let end = self.line.iter().position(|b| !(b.is_ascii() && class(*b))).unwrap_or(self.line.len());
        let (run, rest) = self.line.split_at_checked(end).unwrap_or((self.line, &[]));
        self.line = rest;
        std::str::from_utf8(run).unwrap_or_default()
    }

    /// One or more bytes of the class.
    pub(super) fn word(&mut self, class: impl Fn(u8) -> bool, name: &'static str) -> Parsed<&'a str> {
        let word = self.run(class);
        if word.is_empty() { Err(Fault::Expected(name)) } else { Ok(word) }
    }

    pub(super) fn atom(&mut self, name: &'static str) -> Parsed<&'a str> {
        self.word(chars::is_atom, name)
    }

    /// `number64`, without a sign; leading zeros are let pass.
    pub(super) fn number64(&mut self) -> Parsed<u64> {
        let digits = self.word(|b| b.is_ascii_digit(), "a number")?;
        digits.parse().map_err(|_| Fault::Expected("a smaller number"))
    }

    /// `nz-number`
    pub(super) fn nz_number(&mut self) -> Parsed<std::num::NonZeroU32> {
        let number = u32::try_from(self.number64()?).map_err(|_| Fault::Expected("a smaller number"))?;
        std::num::NonZeroU32::new(number).ok_or(Fault::Expected("a number that is not 0"))
    }

    /// `mod-sequence-valzer`: 63 bits (RFC 7162 §7).
    pub(super) fn mod_seq(&mut self) -> Parsed<estafette_types::ModSeq> {
        let number = self.number64()?;
        let valid = i64::try_from(number).is_ok();
        if valid { Ok(estafette_types::ModSeq(number)) } else { Err(Fault::Expected("a smaller number")) }
    }

    /// The literal that follows the line, with what comes after it as the line.
    pub(super) fn literal(&mut self) -> Option<&'a Literal> {
        match (self.line, self.rest.split_first()) {
            ([], Some((Piece::Literal(literal), rest))) => {
                self.rest = rest;
                self.next_line();
                Some(literal)
            }
            _ => None,
        }
    }

    /// `string = quoted / literal`, its bytes. 8-bit bytes between quotes must be UTF-8, and are an
    /// error in the ASCII dialect unless `lenient`.
    fn string_bytes(&mut self, lenient: bool) -> Parsed<Cow<'a, [u8]>> {
        if !self.eat(b'"') {
            let literal = self.literal().filter(|literal| !literal.literal8);
            let body = &literal.ok_or(Fault::Expected("a string"))?.body;
            let mut pieces = body.pieces();
            return Ok(match (pieces.next(), pieces.next()) {
                (None, _) => Cow::Borrowed(&[]),
                (Some(piece), None) => Cow::Borrowed(piece),
                _ => Cow::Owned(body.to_bytes().to_vec()),
            });
        }
        let text = self.quoted()?;
        if !lenient && !text.is_ascii() {
            if self.dialect == Dialect::Ascii {
                return Err(Fault::EightBit);
            }
            std::str::from_utf8(&text).map_err(|_| Fault::Utf8)?;
        }
        Ok(text)
    }

    /// `quoted`, after its first quote.
    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        const UNENDED: Fault = Fault::Expected("'\"'");
        let mut owned = Vec::new();
        loop {
            let end = memchr::memchr2(b'"', b'\\', self.line).ok_or(UNENDED)?;
            let (run, rest) = self.line.split_at_checked(end).ok_or(UNENDED)?;
            match rest {
                [b'"', after @ ..] => {
                    self.line = after;
                    if owned.is_empty() {
                        return Ok(Cow::Borrowed(run));
                    }
                    owned.extend_from_slice(run);
                    return Ok(Cow::Owned(owned));
                }
                [_, escaped @ (b'"' | b'\\'), after @ ..] => {
                    owned.extend_from_slice(run);
                    owned.push(*escaped);
                    self.line = after;
                }
                _ => return Err(Fault::Expected("'\"' or '\\' after '\\'")),
            }
        }
    }

    /// `string`
    pub(super) fn string(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.string_bytes(false)
    }

    /// `astring = 1*ASTRING-CHAR / string`
    pub(super) fn astring(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.string_or(chars::is_astring)
    }

    /// A string, or a run of bytes of a class.
    pub(super) fn string_or(&mut self, class: impl Fn(u8) -> bool) -> Parsed<Cow<'a, [u8]>> {
        match self.run(class) {
            "" => self.string(),
            word => Ok(Cow::Borrowed(word.as_bytes())),
        }
    }

    /// `astring` that may have 8-bit bytes in any dialect: a user name or a password.
    pub(super) fn astring_lenient(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.run(chars::is_astring) {
            "" => self.string_bytes(true),
            word => Ok(Cow::Borrowed(word.as_bytes())),
        }
    }

    /// `astring` that is UTF-8.
    pub(super) fn text(&mut self) -> Parsed<String> {
        String::from_utf8(self.astring()?.into_owned()).map_err(|_| Fault::Utf8)
    }

    /// `"(" item *(SP item) ")"`, at most `max` of them; none, too, when `empty`.
    pub(super) fn list<T>(
        &mut self,
        max: usize,
        what: &'static str,
        empty: bool,
        mut item: impl FnMut(&mut Cursor<'a>) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.open()?;
        let mut items = Vec::new();
        if empty && self.eat(b')') {
            return Ok(items);
        }
        loop {
            if items.len() == max {
                return Err(Fault::TooMany(what));
            }
            items.push(item(self)?);
            if self.eat(b')') {
                return Ok(items);
            }
            self.space()?;
        }
    }
}
