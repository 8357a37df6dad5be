//! Prints responses (RFC 9051 §7) into a [`Rope`]: the pieces of it go out as they are, so that the
//! body of a message is sent from where it lies.
//!
//! Total: whatever text is given, what comes out is well-formed. A text of the server's own is cut
//! down to printable characters; a string takes the form that it needs.

use super::Dialect;
use super::chars;
use super::command::{Mailbox, Tag};
use super::fetch_encode::FetchWriter;
use super::flag::Flag;
use super::mailbox::StatusItem;
use super::response::{Code, Condition, ESearch, ListEntry, QuotaResource, StatusValue};
use super::rope::Rope;
use super::sequence::NumberSet;
use super::utf7;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use estafette_types::ModSeq;
use std::fmt::{Arguments, Write};

/// Longer strings are sent as literals.
const QUOTED_MAX: usize = 1024;

/// Digits of the largest number.
const DIGITS_MAX: usize = 20;

/// Prints responses one after the other.
#[derive(Debug, Default)]
pub struct Encoder {
    pub(super) out: Rope,
    pub(super) dialect: Dialect,
}

/// Takes what `write!` prints.
impl Write for Rope {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.copy(text.as_bytes());
        Ok(())
    }
}

impl Encoder {
    /// An encoder that has printed nothing.
    pub fn new(dialect: Dialect) -> Encoder {
        Encoder { out: Rope::new(), dialect }
    }

    /// How many bytes were printed.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// True when nothing was printed.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// What was printed, in pieces.
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.out.into_pieces()
    }

    /// What was printed; the encoder is empty after.
    pub fn take(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.out).into_pieces()
    }

    pub(super) fn print(&mut self, text: Arguments<'_>) {
        // Writing to a rope cannot fail.
        let _ = self.out.write_fmt(text);
    }

    pub(super) fn raw(&mut self, text: &str) {
        self.out.copy(text.as_bytes());
    }

    /// A number; what prints most of them need not go through the machinery of formatting.
    pub(super) fn number(&mut self, number: u64) {
        let mut digits = [b'0'; DIGITS_MAX];
        let (mut rest, mut used) = (number, 0);
        for place in digits.iter_mut().rev() {
            *place += (rest % 10).to_le_bytes()[0];
            (rest, used) = (rest / 10, used + 1);
            if rest == 0 {
                break;
            }
        }
        self.out.copy(digits.get(DIGITS_MAX - used..).unwrap_or_default());
    }

    /// `tag OK [code] text`
    pub fn tagged(&mut self, tag: &Tag, condition: Condition, code: Option<&Code>, text: &str) {
        self.raw(tag.as_str());
        self.raw(" ");
        self.condition(condition, code, text);
    }

    /// `* OK [code] text`
    pub fn untagged(&mut self, condition: Condition, code: Option<&Code>, text: &str) {
        self.raw("* ");
        self.condition(condition, code, text);
    }

    /// `resp-text = ["[" resp-text-code "]" SP] [text]`
    fn condition(&mut self, condition: Condition, code: Option<&Code>, text: &str) {
        self.raw(condition.as_str());
        if let Some(code) = code {
            self.print(format_args!(" [{code}]"));
        }
        self.raw(" ");
        self.text(text);
        self.raw("\r\n");
    }

    /// `text = 1*TEXT-CHAR`, without what would end the line or look like a code.
    fn text(&mut self, text: &str) {
        if text.is_empty() || text.starts_with('[') {
            self.raw("-");
        }
        let ascii = self.dialect == Dialect::Ascii;
        let bad = |c: char| c.is_control() || (ascii && !c.is_ascii());
        if text.contains(bad) {
            let clean: String = text.chars().map(|c| if bad(c) { '?' } else { c }).collect();
            self.raw(&clean);
        } else {
            self.raw(text);
        }
    }

    /// `continue-req = "+" SP resp-text CRLF`
    pub fn continuation(&mut self, text: &str) {
        self.raw("+ ");
        self.text(text);
        self.raw("\r\n");
    }

    /// `continue-req = "+" SP base64 CRLF`: a challenge of AUTHENTICATE; empty gives `+ `.
    pub fn challenge(&mut self, challenge: &[u8]) {
        self.print(format_args!("+ {}\r\n", STANDARD.encode(challenge)));
    }

    /// `* CAPABILITY IMAP4rev2 …`
    pub fn capability(&mut self, names: &[String]) {
        self.print(format_args!("* CAPABILITY {}\r\n", names.join(" ")));
    }

    /// `* ENABLED …`
    pub fn enabled(&mut self, names: &[&str]) {
        let space = if names.is_empty() { "" } else { " " };
        self.print(format_args!("* ENABLED{space}{}\r\n", names.join(" ")));
    }

    /// `* ID ("name" "value" …)`, or `* ID NIL` (RFC 2971)
    pub fn id(&mut self, fields: &[(&str, Option<&str>)]) {
        self.raw("* ID ");
        if fields.is_empty() {
            self.raw("NIL");
        }
        for (i, (name, value)) in fields.iter().enumerate() {
            self.raw(if i == 0 { "(" } else { " " });
            self.string(name.as_bytes());
            self.raw(" ");
            self.nstring(value.map(str::as_bytes));
        }
        self.raw(if fields.is_empty() { "\r\n" } else { ")\r\n" });
    }

    /// `* FLAGS (…)`
    pub fn flags(&mut self, flags: &[Flag]) {
        self.raw("* FLAGS ");
        self.flag_list(flags.iter().map(Flag::as_str), false);
        self.raw("\r\n");
    }

    pub(super) fn flag_list<'f>(&mut self, flags: impl IntoIterator<Item = &'f str>, recent: bool) {
        self.raw("(");
        let recent = if recent { Some("\\Recent") } else { None };
        for (i, flag) in flags.into_iter().chain(recent).enumerate() {
            self.raw(if i == 0 { "" } else { " " });
            self.raw(flag);
        }
        self.raw(")");
    }

    /// `* n EXISTS`
    pub fn exists(&mut self, count: u32) {
        self.print(format_args!("* {count} EXISTS\r\n"));
    }

    /// `* n RECENT` (RFC 3501)
    pub fn recent(&mut self, count: u32) {
        self.print(format_args!("* {count} RECENT\r\n"));
    }

    /// `* n EXPUNGE`
    pub fn expunge(&mut self, number: u32) {
        self.print(format_args!("* {number} EXPUNGE\r\n"));
    }

    /// `* VANISHED [(EARLIER)] uids` (RFC 7162 §3.2.10); nothing for an empty set.
    pub fn vanished(&mut self, earlier: bool, uids: &NumberSet) {
        if !uids.is_empty() {
            let earlier = if earlier { "(EARLIER) " } else { "" };
            self.print(format_args!("* VANISHED {earlier}{uids}\r\n"));
        }
    }

    /// `* LIST (attributes) "/" mailbox [extended]`
    pub fn list(&mut self, entry: &ListEntry) {
        self.list_line("LIST", entry);
        if entry.child_info || entry.old_name.is_some() {
            self.raw(" (");
            if entry.child_info {
                self.raw("\"CHILDINFO\" (\"SUBSCRIBED\")");
            }
            if let Some(old) = &entry.old_name {
                self.raw(if entry.child_info { " \"OLDNAME\" (" } else { "\"OLDNAME\" (" });
                self.mailbox(old);
                self.raw(")");
            }
            self.raw(")");
        }
        self.raw("\r\n");
    }

    /// `* LSUB (attributes) "/" mailbox` (RFC 3501)
    pub fn lsub(&mut self, entry: &ListEntry) {
        self.list_line("LSUB", entry);
        self.raw("\r\n");
    }

    fn list_line(&mut self, verb: &str, entry: &ListEntry) {
        let names: Vec<&str> = entry.attributes.iter().map(|attribute| attribute.as_str()).collect();
        self.print(format_args!("* {verb} ({}) ", names.join(" ")));
        self.delimiter(entry.delimiter);
        self.raw(" ");
        self.mailbox(&entry.mailbox);
    }

    /// `* LIST (\Noselect) "/" ""`: the answer to `LIST "" ""` (RFC 9051 §6.3.9).
    pub fn list_delimiter(&mut self, verb: &str, delimiter: char) {
        self.print(format_args!("* {verb} (\\Noselect) "));
        self.delimiter(delimiter);
        self.raw(" \"\"\r\n");
    }

    fn delimiter(&mut self, delimiter: char) {
        let mut buffer = [0; 4];
        self.string(delimiter.encode_utf8(&mut buffer).as_bytes());
    }

    /// `* NAMESPACE (("prefix" "/")) NIL NIL` (RFC 2342): personal, other users', shared.
    pub fn namespace(&mut self, spaces: [&[(&str, char)]; 3]) {
        self.raw("* NAMESPACE");
        for space in spaces {
            self.raw(if space.is_empty() { " NIL" } else { " (" });
            for (prefix, delimiter) in space {
                self.raw("(");
                let prefix = self.name(prefix);
                self.string(prefix.as_bytes());
                self.raw(" ");
                self.delimiter(*delimiter);
                self.raw(")");
            }
            self.raw(if space.is_empty() { "" } else { ")" });
        }
        self.raw("\r\n");
    }

    /// `* STATUS mailbox (item value …)`
    pub fn status(&mut self, mailbox: &Mailbox, items: &[(StatusItem, StatusValue)]) {
        self.raw("* STATUS ");
        self.mailbox(mailbox);
        self.raw(" (");
        for (i, (item, value)) in items.iter().enumerate() {
            self.print(format_args!("{}{} ", if i == 0 { "" } else { " " }, item.as_str()));
            match value {
                StatusValue::Number(number) => self.print(format_args!("{number}")),
                StatusValue::Nil => self.raw("NIL"),
                StatusValue::Id(id) => self.print(format_args!("({id})")),
            }
        }
        self.raw(")\r\n");
    }

    /// `* SEARCH n n … [(MODSEQ n)]` (RFC 3501 §7.2.5, RFC 7162 §3.1.5)
    pub fn search(&mut self, numbers: impl IntoIterator<Item = u32>, mod_seq: Option<ModSeq>) {
        self.raw("* SEARCH");
        for number in numbers {
            self.print(format_args!(" {number}"));
        }
        if let Some(mod_seq) = mod_seq {
            self.print(format_args!(" (MODSEQ {mod_seq})"));
        }
        self.raw("\r\n");
    }

    /// `* ESEARCH (TAG "tag") [UID] …`
    pub fn esearch(&mut self, tag: &Tag, uid: bool, found: &ESearch) {
        self.raw("* ESEARCH (TAG ");
        self.string(tag.as_str().as_bytes());
        self.raw(if uid { ") UID" } else { ")" });
        let number = |name, value: Option<u64>| value.map(|value| (name, value));
        let parts = [
            number("MIN", found.min.map(u64::from)),
            number("MAX", found.max.map(u64::from)),
            number("COUNT", found.count),
            number("MODSEQ", found.mod_seq.map(|mod_seq| mod_seq.0)),
        ];
        for (name, value) in parts.into_iter().flatten() {
            self.print(format_args!(" {name} {value}"));
        }
        if let Some(all) = found.all.as_ref().filter(|all| !all.is_empty()) {
            self.print(format_args!(" ALL {all}"));
        }
        self.raw("\r\n");
    }

    /// `* QUOTA root (resource usage limit …)` (RFC 9208 §4.2.1)
    pub fn quota(&mut self, root: &str, resources: &[QuotaResource]) {
        self.raw("* QUOTA ");
        self.astring(root.as_bytes());
        self.raw(" (");
        for (i, resource) in resources.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            self.print(format_args!("{space}{} {} {}", resource.name, resource.usage, resource.limit));
        }
        self.raw(")\r\n");
    }

    /// `* QUOTAROOT mailbox root …` (RFC 9208 §4.2.2)
    pub fn quota_root(&mut self, mailbox: &Mailbox, roots: &[&str]) {
        self.raw("* QUOTAROOT ");
        self.mailbox(mailbox);
        for root in roots {
            self.raw(" ");
            self.astring(root.as_bytes());
        }
        self.raw("\r\n");
    }

    /// Begins `* n FETCH (…)`; the writer prints the items, and [`FetchWriter::finish`] ends the line.
    pub fn fetch(&mut self, number: u32) -> FetchWriter<'_> {
        FetchWriter::new(self, number)
    }

    fn name(&self, name: &str) -> String {
        match self.dialect {
            Dialect::Ascii => utf7::encode(name),
            Dialect::Utf8 => name.to_owned(),
        }
    }

    /// `mailbox`, in modified UTF-7 or UTF-8.
    pub(super) fn mailbox(&mut self, mailbox: &Mailbox) {
        let name = self.name(mailbox.as_str());
        self.astring(name.as_bytes());
    }

    /// `astring`: an atom where it can be one (and is not taken for NIL), else a string.
    pub(super) fn astring(&mut self, text: &[u8]) {
        let atom = !text.is_empty() && text.iter().copied().all(chars::is_astring);
        if atom && text.len() <= QUOTED_MAX && !text.eq_ignore_ascii_case(b"NIL") {
            self.out.copy(text);
        } else {
            self.string(text);
        }
    }

    /// `string`: quoted where it can be, else a literal.
    pub(super) fn string(&mut self, text: &[u8]) {
        // Without branches, so that many bytes are looked at together.
        let odd = |b: u8| !(b' '..=b'~').contains(&b) || b == b'"' || b == b'\\';
        let odd = text.iter().fold(false, |found, b| found | odd(*b));
        if !odd && text.len() <= QUOTED_MAX {
            self.raw("\"");
            self.out.copy(text);
            return self.raw("\"");
        }
        let bad = text.iter().any(|b| matches!(b, 0 | b'\r' | b'\n'));
        let utf8 = || self.dialect == Dialect::Utf8 && std::str::from_utf8(text).is_ok();
        if bad || text.len() > QUOTED_MAX || !(text.is_ascii() || utf8()) {
            self.print(format_args!("{{{}}}\r\n", text.len()));
            return self.out.copy(text);
        }
        self.raw("\"");
        self.escaped(text);
        self.raw("\"");
    }

    fn escaped(&mut self, text: &[u8]) {
        for run in text.split_inclusive(|b| matches!(b, b'"' | b'\\')) {
            match run.split_last() {
                Some((special @ (b'"' | b'\\'), before)) => {
                    self.out.copy(before);
                    self.out.copy(&[b'\\', *special]);
                }
                _ => self.out.copy(run),
            }
        }
    }

    /// `nstring = string / nil`
    pub(super) fn nstring(&mut self, text: Option<&[u8]>) {
        match text {
            Some(text) => self.string(text),
            None => self.raw("NIL"),
        }
    }
}

#[cfg(test)]
mod second_opinion;
#[cfg(test)]
mod tests;
