//! The FETCH response of one message.
//!
//! Items come in the order in which they were asked for, but those that are streamed come last.

use super::super::super::ask::BodyKey;
use super::super::super::core::Core;
use super::source::{self, Located, Source};
use super::{Plan, email_id};
use crate::codec::date::DateTime;
use crate::codec::fetch::{FetchAttribute, Section, SectionText};
use crate::codec::fetch_encode::FetchWriter;
use crate::codec::rope::Rope;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;

/// What ends a FETCH response.
const END: &[u8] = b")\r\n";

/// A piece of a response.
#[derive(Debug)]
pub(super) enum Piece {
    /// To be sent.
    Ready(Bytes),
    /// To be read from this body, then sent.
    Raw(BodyKey, Range<u64>),
}

/// An item whose bytes are streamed: what stands before them, and which they are.
type Streamed = (String, Range<u64>);

/// What printing a response left to be done.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// What comes after the part that was printed; nothing when that was the whole.
    pub(super) streamed: VecDeque<Piece>,
    /// A part of it could not be decoded.
    pub(super) undecodable: bool,
}

/// Prints the response, up to the first item that is to be streamed.
pub(super) fn response(core: &mut Core, plan: &Plan, source: &Source<'_>, newly_seen: bool) -> Rest {
    let message = source.message;
    let Some(number) = core.view.as_ref().and_then(|view| view.uids().sequence_of(message.uid)) else {
        return Rest::default();
    };
    let condstore = core.enabled.condstore;
    let mut line = core.encoder.fetch(number);
    let mut streamed: Vec<Streamed> = Vec::new();
    let mut undecodable = false;
    if plan.by_uid && !plan.attributes.contains(&FetchAttribute::Uid) {
        line.uid(message.uid);
    }
    if newly_seen && !plan.attributes.contains(&FetchAttribute::Flags) {
        line.flags(message.flags.names(), false);
        if condstore && !plan.attributes.contains(&FetchAttribute::ModSeq) {
            line.mod_seq(message.modseq);
        }
    }
    for attribute in &plan.attributes {
        if let Some((located, partial)) = source::locate(plan, message, attribute) {
            undecodable |= located == Located::Undecodable;
            let content = source.content(&located, partial);
            match (located, content) {
                (Located::Raw(range), _) if matches!(attribute, FetchAttribute::BinarySize(_)) => {
                    size_item(&mut line, attribute, range.end - range.start);
                }
                (Located::Raw(range), None) => {
                    streamed.push((head(attribute), source::clip(&range, partial)));
                }
                (_, content) => bytes_item(&mut line, attribute, content),
            }
        } else {
            plain_item(&mut line, attribute, source);
        }
    }
    Rest { streamed: finish(line, message.body_key, streamed), undecodable }
}

/// Ends the line, unless there are items to be streamed: then all after the head of the first of them is
/// given back.
fn finish(line: FetchWriter<'_>, body: BodyKey, streamed: Vec<Streamed>) -> VecDeque<Piece> {
    let mut items = streamed.into_iter();
    let Some((head, range)) = items.next() else {
        line.finish();
        return VecDeque::new();
    };
    line.announce(&announced(&head, &range));
    let mut pieces = VecDeque::from([Piece::Raw(body, range)]);
    for (head, range) in items {
        pieces.push_back(Piece::Ready(format!(" {}", announced(&head, &range)).into()));
        pieces.push_back(Piece::Raw(body, range));
    }
    pieces.push_back(Piece::Ready(Bytes::from_static(END)));
    pieces
}

/// What stands before the bytes of a streamed item.
fn announced(head: &str, range: &Range<u64>) -> String {
    // A literal8 may hold NUL, and nobody has looked.
    let tilde = if head.starts_with("BINARY") { "~" } else { "" };
    format!("{head} {tilde}{{{}}}\r\n", range.end - range.start)
}

/// What stands before the literal of a streamed item. It is never one with names of fields, since
/// these are not streamed.
fn head(attribute: &FetchAttribute) -> String {
    let (name, partial) = match attribute {
        FetchAttribute::Section(fetch) => (format!("BODY[{}]", spec(&fetch.section)), fetch.partial),
        FetchAttribute::Binary(fetch) => (format!("BINARY[{}]", fetch.part), fetch.partial),
        FetchAttribute::Rfc822Header => ("RFC822.HEADER".to_owned(), None),
        FetchAttribute::Rfc822Text => ("RFC822.TEXT".to_owned(), None),
        _ => ("RFC822".to_owned(), None),
    };
    match partial {
        Some(partial) => format!("{name}<{}>", partial.offset),
        None => name,
    }
}

fn spec(section: &Section) -> String {
    let text = match section.text {
        None => return section.part.to_string(),
        Some(SectionText::Header) => "HEADER",
        Some(SectionText::Mime) => "MIME",
        Some(_) => "TEXT",
    };
    if section.part.is_root() { text.to_owned() } else { format!("{}.{text}", section.part) }
}

/// An item that shows bytes of the message.
fn bytes_item(line: &mut FetchWriter<'_>, attribute: &FetchAttribute, content: Option<Rope>) {
    match attribute {
        FetchAttribute::Section(fetch) => line.section(&fetch.section, fetch.partial, content),
        FetchAttribute::Binary(fetch) => line.binary(&fetch.part, fetch.partial, content),
        FetchAttribute::BinarySize(_) => {
            size_item(line, attribute, content.map_or(0, |content| content.len() as u64));
        }
        FetchAttribute::Rfc822 => line.rfc822("RFC822", content),
        FetchAttribute::Rfc822Header => line.rfc822("RFC822.HEADER", content),
        FetchAttribute::Rfc822Text => line.rfc822("RFC822.TEXT", content),
        _ => {}
    }
}

fn size_item(line: &mut FetchWriter<'_>, attribute: &FetchAttribute, bytes: u64) {
    if let FetchAttribute::BinarySize(part) = attribute {
        line.binary_size(part, bytes);
    }
}

/// An item that shows what is known of the message.
fn plain_item(line: &mut FetchWriter<'_>, attribute: &FetchAttribute, source: &Source<'_>) {
    let message = source.message;
    match attribute {
        FetchAttribute::Flags => line.flags(message.flags.names(), false),
        FetchAttribute::Uid => line.uid(message.uid),
        FetchAttribute::InternalDate => line.internal_date(message.internal_date),
        FetchAttribute::Rfc822Size => line.size(message.size_bytes),
        FetchAttribute::ModSeq => line.mod_seq(message.modseq),
        FetchAttribute::EmailId => line.email_id(&email_id(message.email_id)),
        FetchAttribute::ThreadId => line.thread_id(None),
        FetchAttribute::SaveDate => line.save_date(message.save_date.map(DateTime::utc)),
        FetchAttribute::Envelope => message.structure.iter().for_each(|structure| line.envelope(structure)),
        FetchAttribute::Body => message.structure.iter().for_each(|structure| line.body(structure)),
        FetchAttribute::BodyStructure => {
            message.structure.iter().for_each(|structure| line.body_structure(structure));
        }
        _ => {}
    }
}
