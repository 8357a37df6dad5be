//! Prints the items of a FETCH response (RFC 9051 §7.5.2).

use super::date::DateTime;
use super::encode::Encoder;
use super::fetch::{Part, Partial, Section, SectionText};
use super::rope::Rope;
use bytes::Bytes;
use estafette_types::{ModSeq, Uid};

/// Prints the items of one message between the parentheses.
#[derive(Debug)]
#[must_use = "the line must be ended by finish"]
pub struct FetchWriter<'a> {
    encoder: &'a mut Encoder,
    empty: bool,
}

impl<'a> FetchWriter<'a> {
    pub(super) fn new(encoder: &'a mut Encoder, number: u32) -> FetchWriter<'a> {
        encoder.raw("* ");
        encoder.number(number.into());
        encoder.raw(" FETCH (");
        FetchWriter { encoder, empty: true }
    }

    /// Ends the line.
    pub fn finish(self) {
        self.encoder.raw(")\r\n");
    }

    /// Prints the head of an item whose literal is sent by other means, and leaves the line open there.
    pub(crate) fn announce(mut self, head: &str) {
        self.item(head);
    }

    /// Begins an item: a space when it is not the first.
    pub(super) fn item(&mut self, name: &str) -> &mut Encoder {
        if !std::mem::replace(&mut self.empty, false) {
            self.encoder.raw(" ");
        }
        self.encoder.raw(name);
        self.encoder
    }

    /// `FLAGS (…)`; `recent` adds `\Recent` (RFC 3501).
    pub fn flags<'f>(&mut self, flags: impl IntoIterator<Item = &'f str>, recent: bool) {
        self.item("FLAGS ").flag_list(flags, recent);
    }

    /// `UID n`
    pub fn uid(&mut self, uid: Uid) {
        self.item("UID ").number(uid.value().into());
    }

    /// `INTERNALDATE "…"`
    pub fn internal_date(&mut self, date: DateTime) {
        self.item("INTERNALDATE ").print(format_args!("\"{date}\""));
    }

    /// `SAVEDATE "…"`, or `SAVEDATE NIL` (RFC 8514)
    pub fn save_date(&mut self, date: Option<DateTime>) {
        match date {
            Some(date) => self.item("SAVEDATE ").print(format_args!("\"{date}\"")),
            None => _ = self.item("SAVEDATE NIL"),
        }
    }

    /// `RFC822.SIZE n`
    pub fn size(&mut self, bytes: u64) {
        self.item("RFC822.SIZE ").number(bytes);
    }

    /// `MODSEQ (n)` (RFC 7162)
    pub fn mod_seq(&mut self, mod_seq: ModSeq) {
        self.item("MODSEQ ").print(format_args!("({mod_seq})"));
    }

    /// `EMAILID (id)` (RFC 8474)
    pub fn email_id(&mut self, id: &str) {
        self.item("EMAILID ").print(format_args!("({id})"));
    }

    /// `THREADID (id)`, or `THREADID NIL` (RFC 8474)
    pub fn thread_id(&mut self, id: Option<&str>) {
        match id {
            Some(id) => self.item("THREADID ").print(format_args!("({id})")),
            None => _ = self.item("THREADID NIL"),
        }
    }

    /// `PREVIEW "…"`, or `PREVIEW NIL` (RFC 8970)
    pub fn preview(&mut self, text: Option<&str>) {
        self.item("PREVIEW ").nstring(text.map(str::as_bytes));
    }

    /// `BODY[section]<offset> {n}`: `body` is what is sent, after `partial` was applied; `None`
    /// (there is no such part) gives NIL.
    pub fn section(&mut self, section: &Section, partial: Option<Partial>, body: Option<Rope>) {
        let encoder = self.item("BODY[");
        encoder.section(section);
        encoder.print(format_args!("]"));
        encoder.origin(partial);
        encoder.body(body, false);
    }

    /// `RFC822`, `RFC822.HEADER`, `RFC822.TEXT` (RFC 3501): `name` is one of these.
    pub fn rfc822(&mut self, name: &'static str, body: Option<Rope>) {
        self.item(name).body(body, false);
    }

    /// `BINARY[part]<offset> {n}`; with NUL in it, it is a `literal8` (RFC 3516 §4.3).
    pub fn binary(&mut self, part: &Part, partial: Option<Partial>, body: Option<Rope>) {
        let encoder = self.item("BINARY[");
        encoder.print(format_args!("{part}]"));
        encoder.origin(partial);
        let nul = body.as_ref().is_some_and(|body| body.pieces().any(|piece| piece.contains(&0)));
        encoder.body(body, nul);
    }

    /// `BINARY.SIZE[part] n`
    pub fn binary_size(&mut self, part: &Part, bytes: u64) {
        self.item("BINARY.SIZE[").print(format_args!("{part}] {bytes}"));
    }
}

impl Encoder {
    /// `section-spec`, as the client wrote it (RFC 9051 §7.5.2).
    fn section(&mut self, section: &Section) {
        self.print(format_args!("{}", section.part));
        let Some(text) = &section.text else { return };
        if !section.part.is_root() {
            self.print(format_args!("."));
        }
        let (name, fields): (_, &[String]) = match text {
            SectionText::Header => ("HEADER", &[]),
            SectionText::Text => ("TEXT", &[]),
            SectionText::Mime => ("MIME", &[]),
            SectionText::HeaderFields(fields) => ("HEADER.FIELDS", fields),
            SectionText::HeaderFieldsNot(fields) => ("HEADER.FIELDS.NOT", fields),
        };
        self.print(format_args!("{name}"));
        for (i, field) in fields.iter().enumerate() {
            self.print(format_args!("{}", if i == 0 { " (" } else { " " }));
            self.astring(field.as_bytes());
        }
        self.print(format_args!("{}", if fields.is_empty() { "" } else { ")" }));
    }

    fn origin(&mut self, partial: Option<Partial>) {
        if let Some(partial) = partial {
            self.print(format_args!("<{}>", partial.offset));
        }
    }

    /// Always a literal: clients expect one here, and nothing has to be looked through.
    fn body(&mut self, body: Option<Rope>, literal8: bool) {
        let Some(body) = body else { return self.print(format_args!(" NIL")) };
        let tilde = if literal8 { "~" } else { "" };
        self.print(format_args!(" {tilde}{{{}}}\r\n", body.len()));
        self.out.append(body);
    }
}

/// One piece.
impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Rope {
        let mut rope = Rope::new();
        rope.share(bytes);
        rope
    }
}
