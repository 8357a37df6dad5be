//! Commands about messages: FETCH, STORE, COPY, MOVE, APPEND, and sets of them.

use super::cursor::{Cursor, Parsed};
use super::mailbox::{argument, mailbox};
use crate::codec::chars;
use crate::codec::command::{Append, AppendMessage, Fetch, Mailbox, Store, StoreAction};
use crate::codec::date::DateTime;
use crate::codec::fault::Fault;
use crate::codec::fetch::{
    BinaryFetch, FetchAttribute, PART_DEPTH_MAX, Part, Partial, Section, SectionFetch, SectionText,
};
use crate::codec::flag::Flag;
use crate::codec::sequence::{RANGES_MAX, SequenceNumber, SequenceRange, SequenceSet};

/// How many attributes one FETCH may have.
pub(super) const ATTRIBUTES_MAX: usize = 200;
/// How many names HEADER.FIELDS may have.
const FIELDS_MAX: usize = 500;
/// How many flags one STORE or APPEND may have.
const FLAGS_MAX: usize = 200;
/// How many modifiers a command may have.
const MODIFIERS_MAX: usize = 10;
/// How many messages one APPEND may have.
const MESSAGES_MAX: usize = 100;

/// `sequence-set`
pub(super) fn sequence_set(cursor: &mut Cursor<'_>) -> Parsed<SequenceSet> {
    if cursor.eat(b'$') {
        return Ok(SequenceSet::Saved);
    }
    let mut ranges = Vec::new();
    loop {
        if ranges.len() == RANGES_MAX {
            return Err(Fault::TooMany("ranges"));
        }
        let from = sequence_number(cursor)?;
        let to = if cursor.eat(b':') { sequence_number(cursor)? } else { from };
        ranges.push(SequenceRange { from, to });
        if !cursor.eat(b',') {
            return Ok(SequenceSet::Ranges(ranges));
        }
    }
}

fn sequence_number(cursor: &mut Cursor<'_>) -> Parsed<SequenceNumber> {
    if cursor.eat(b'*') { Ok(SequenceNumber::Last) } else { cursor.nz_number().map(SequenceNumber::Value) }
}

/// `known-sequence-set`, `known-uid-set` (RFC 7162 §7): without `*` and `$`.
pub(super) fn known_set(cursor: &mut Cursor<'_>) -> Parsed<SequenceSet> {
    let set = sequence_set(cursor)?;
    let star = |range: &SequenceRange| [range.from, range.to].contains(&SequenceNumber::Last);
    match &set {
        SequenceSet::Ranges(ranges) if !ranges.iter().any(star) => Ok(set),
        _ => Err(Fault::Expected("a set without '*' and '$'")),
    }
}

/// `SP sequence-set SP mailbox`
pub(super) fn set_and_mailbox(cursor: &mut Cursor<'_>) -> Parsed<(SequenceSet, Mailbox)> {
    cursor.space()?;
    let set = sequence_set(cursor)?;
    Ok((set, argument(cursor)?))
}

/// `SP sequence-set SP (macro / fetch-att / "(" fetch-att *(SP fetch-att) ")") [SP modifiers]`
pub(super) fn fetch(uid: bool, cursor: &mut Cursor<'_>) -> Parsed<Fetch> {
    cursor.space()?;
    let set = sequence_set(cursor)?;
    cursor.space()?;
    let mut attributes = Vec::new();
    let mut add = |cursor: &mut Cursor<'_>| {
        let attribute = attribute(cursor)?;
        if !attributes.contains(&attribute) {
            attributes.push(attribute);
        }
        Ok(())
    };
    if cursor.peek() == Some(b'(') {
        cursor.list(ATTRIBUTES_MAX, "attributes", false, add)?;
    } else if let Some(expanded) = fetch_macro(cursor) {
        attributes = expanded;
    } else {
        add(cursor)?;
    }
    let mut fetch = Fetch { uid, set, attributes, changed_since: None, vanished: false };
    if cursor.more() {
        cursor.space()?;
        fetch_modifiers(cursor, &mut fetch)?;
    }
    Ok(fetch)
}

/// `"ALL" / "FULL" / "FAST"`
fn fetch_macro(cursor: &mut Cursor<'_>) -> Option<Vec<FetchAttribute>> {
    use FetchAttribute::{Body, Envelope, Flags, InternalDate, Rfc822Size};
    if cursor.eat_text("ALL") {
        Some(vec![Flags, InternalDate, Rfc822Size, Envelope])
    } else if cursor.eat_text("FULL") {
        Some(vec![Flags, InternalDate, Rfc822Size, Envelope, Body])
    } else if cursor.eat_text("FAST") {
        Some(vec![Flags, InternalDate, Rfc822Size])
    } else {
        None
    }
}

/// `"(" "CHANGEDSINCE" SP mod-sequence-value [SP "VANISHED"] ")"` (RFC 7162 §7)
fn fetch_modifiers(cursor: &mut Cursor<'_>, fetch: &mut Fetch) -> Parsed<()> {
    cursor.list(MODIFIERS_MAX, "modifiers", false, |cursor| {
        match cursor.atom("a modifier")?.to_ascii_uppercase().as_str() {
            "CHANGEDSINCE" => {
                cursor.space()?;
                fetch.changed_since = Some(cursor.mod_seq()?);
            }
            "VANISHED" => fetch.vanished = true,
            _ => return Err(Fault::Expected("CHANGEDSINCE or VANISHED")),
        }
        Ok(())
    })?;
    if fetch.vanished && !(fetch.uid && fetch.changed_since.is_some()) {
        return Err(Fault::Expected("UID FETCH and CHANGEDSINCE beside VANISHED"));
    }
    Ok(())
}

fn attribute(cursor: &mut Cursor<'_>) -> Parsed<FetchAttribute> {
    let name = cursor.word(|b| b.is_ascii_alphanumeric() || b == b'.', "an attribute")?.to_ascii_uppercase();
    let section = cursor.peek() == Some(b'[');
    Ok(match name.as_str() {
        "FLAGS" => FetchAttribute::Flags,
        "UID" => FetchAttribute::Uid,
        "INTERNALDATE" => FetchAttribute::InternalDate,
        "RFC822.SIZE" => FetchAttribute::Rfc822Size,
        "ENVELOPE" => FetchAttribute::Envelope,
        "BODY" if !section => FetchAttribute::Body,
        "BODYSTRUCTURE" => FetchAttribute::BodyStructure,
        "MODSEQ" => FetchAttribute::ModSeq,
        "BODY" | "BODY.PEEK" => {
            let (section, peek) = (bracketed(cursor, section_spec)?, name.ends_with("PEEK"));
            FetchAttribute::Section(SectionFetch { section, partial: partial(cursor)?, peek })
        }
        "BINARY" | "BINARY.PEEK" => {
            let (part, peek) = (bracketed(cursor, binary_part)?, name.ends_with("PEEK"));
            FetchAttribute::Binary(BinaryFetch { part, partial: partial(cursor)?, peek })
        }
        "BINARY.SIZE" => FetchAttribute::BinarySize(bracketed(cursor, binary_part)?),
        "RFC822" => FetchAttribute::Rfc822,
        "RFC822.HEADER" => FetchAttribute::Rfc822Header,
        "RFC822.TEXT" => FetchAttribute::Rfc822Text,
        "PREVIEW" => FetchAttribute::Preview { lazy: cursor.eat_text(" (LAZY)") },
        "EMAILID" => FetchAttribute::EmailId,
        "THREADID" => FetchAttribute::ThreadId,
        "SAVEDATE" => FetchAttribute::SaveDate,
        _ => return Err(Fault::Expected("an attribute of FETCH")),
    })
}

fn bracketed<'a, T>(cursor: &mut Cursor<'a>, inner: impl FnOnce(&mut Cursor<'a>) -> Parsed<T>) -> Parsed<T> {
    cursor.expect(b'[', "'['")?;
    let inner = inner(cursor)?;
    cursor.expect(b']', "']'")?;
    Ok(inner)
}

/// `[section-part]`, and whether a dot came after it.
fn part(cursor: &mut Cursor<'_>) -> Parsed<(Part, bool)> {
    let mut numbers = Vec::new();
    while cursor.peek().is_some_and(|b| b.is_ascii_digit()) {
        if numbers.len() == PART_DEPTH_MAX {
            return Err(Fault::TooMany("levels"));
        }
        numbers.push(cursor.nz_number()?);
        if !cursor.eat(b'.') {
            return Ok((Part(numbers), false));
        }
    }
    let dot = !numbers.is_empty();
    Ok((Part(numbers), dot))
}

fn binary_part(cursor: &mut Cursor<'_>) -> Parsed<Part> {
    match part(cursor)? {
        (_, true) => Err(Fault::Expected("a number after '.'")),
        (part, false) => Ok(part),
    }
}

fn section_spec(cursor: &mut Cursor<'_>) -> Parsed<Section> {
    const WHAT: Fault = Fault::Expected("HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME");
    let (part, dot) = part(cursor)?;
    let word = cursor.run(|b| b.is_ascii_alphabetic() || b == b'.').to_ascii_uppercase();
    let text = match word.as_str() {
        "" if !dot => return Ok(Section { part, text: None }),
        // A part without a dot before the word, such as `1TEXT`.
        _ if dot == part.is_root() => return Err(WHAT),
        "HEADER" => SectionText::Header,
        "HEADER.FIELDS" => SectionText::HeaderFields(field_names(cursor)?),
        "HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(field_names(cursor)?),
        "TEXT" => SectionText::Text,
        "MIME" if !part.is_root() => SectionText::Mime,
        _ => return Err(WHAT),
    };
    Ok(Section { part, text: Some(text) })
}

/// `SP "(" header-fld-name *(SP header-fld-name) ")"`
fn field_names(cursor: &mut Cursor<'_>) -> Parsed<Vec<String>> {
    cursor.space()?;
    cursor.list(FIELDS_MAX, "fields", false, Cursor::text)
}

/// `["<" number64 "." nz-number64 ">"]`
fn partial(cursor: &mut Cursor<'_>) -> Parsed<Option<Partial>> {
    if !cursor.eat(b'<') {
        return Ok(None);
    }
    let offset = cursor.number64()?;
    cursor.expect(b'.', "'.'")?;
    let length = cursor.number64()?;
    cursor.expect(b'>', "'>'")?;
    if length == 0 {
        Err(Fault::Expected("a number that is not 0"))
    } else {
        Ok(Some(Partial { offset, length }))
    }
}

/// `SP sequence-set [SP "(" modifiers ")"] SP ["+" / "-"] "FLAGS" [".SILENT"] SP flags`
pub(super) fn store(uid: bool, cursor: &mut Cursor<'_>) -> Parsed<Store> {
    cursor.space()?;
    let set = sequence_set(cursor)?;
    cursor.space()?;
    let mut unchanged_since = None;
    if cursor.peek() == Some(b'(') {
        cursor.list(MODIFIERS_MAX, "modifiers", false, |cursor| {
            if !cursor.eat_text("UNCHANGEDSINCE ") {
                return Err(Fault::Expected("UNCHANGEDSINCE"));
            }
            unchanged_since = Some(cursor.mod_seq()?);
            Ok(())
        })?;
        cursor.space()?;
    }
    let action = match cursor.peek() {
        Some(b'+') => StoreAction::Add,
        Some(b'-') => StoreAction::Remove,
        _ => StoreAction::Replace,
    };
    let _ = action == StoreAction::Replace || cursor.eat(b'+') || cursor.eat(b'-');
    if !cursor.eat_text("FLAGS") {
        return Err(Fault::Expected("FLAGS, +FLAGS or -FLAGS"));
    }
    let silent = cursor.eat_text(".SILENT");
    cursor.space()?;
    let flags = if cursor.peek() == Some(b'(') { flag_list(cursor)? } else { bare_flags(cursor)? };
    Ok(Store { uid, set, unchanged_since, action, silent, flags })
}

/// `flag-list = "(" [flag *(SP flag)] ")"`
fn flag_list(cursor: &mut Cursor<'_>) -> Parsed<Vec<Flag>> {
    let mut flags = Vec::new();
    cursor.list(FLAGS_MAX, "flags", true, |cursor| flag(cursor, &mut flags))?;
    Ok(flags)
}

/// `flag *(SP flag)`
fn bare_flags(cursor: &mut Cursor<'_>) -> Parsed<Vec<Flag>> {
    let mut flags = Vec::new();
    flag(cursor, &mut flags)?;
    while cursor.more() {
        cursor.space()?;
        flag(cursor, &mut flags)?;
        if flags.len() > FLAGS_MAX {
            return Err(Fault::TooMany("flags"));
        }
    }
    Ok(flags)
}

/// Adds a flag once. `\Recent` is dropped: no client can set it, and many send it with APPEND.
fn flag(cursor: &mut Cursor<'_>, flags: &mut Vec<Flag>) -> Parsed<()> {
    let text = cursor.word(|b| chars::is_atom(b) || b == b'\\', "a flag")?;
    if text.eq_ignore_ascii_case("\\Recent") {
        return Ok(());
    }
    let flag = Flag::parse(text).ok_or(Fault::Expected("a flag that can be set"))?;
    if !flags.contains(&flag) {
        flags.push(flag);
    }
    Ok(())
}

/// `SP mailbox 1*append-message`
pub(super) fn append(cursor: &mut Cursor<'_>) -> Parsed<Append> {
    cursor.space()?;
    let mailbox = mailbox(cursor)?;
    let mut messages = Vec::new();
    loop {
        if messages.len() == MESSAGES_MAX {
            return Err(Fault::TooMany("messages"));
        }
        messages.push(append_message(cursor)?);
        if !cursor.more() {
            return Ok(Append { mailbox, messages });
        }
    }
}

/// `[SP flag-list] [SP date-time] SP (literal / literal8 / "UTF8" SP "(" literal8 ")")`
fn append_message(cursor: &mut Cursor<'_>) -> Parsed<AppendMessage> {
    cursor.space()?;
    let mut flags = Vec::new();
    if cursor.peek() == Some(b'(') {
        flags = flag_list(cursor)?;
        cursor.space()?;
    }
    let mut date = None;
    if cursor.peek() == Some(b'"') {
        let text = cursor.string()?;
        let text = std::str::from_utf8(&text).map_err(|_| Fault::Utf8)?;
        date = Some(DateTime::parse(text).ok_or(Fault::Expected("a date and time"))?);
        cursor.space()?;
    }
    let utf8 = cursor.eat_text("UTF8 (");
    let literal = cursor.literal().ok_or(Fault::Expected("a message as a literal"))?;
    if utf8 {
        cursor.close()?;
        if !literal.literal8 {
            return Err(Fault::Expected("a literal8 after UTF8"));
        }
    }
    let (message, parts) = (literal.body.clone(), literal.parts);
    Ok(AppendMessage { flags, date, message, parts, utf8, binary: literal.literal8 && !utf8 })
}
