//! The FETCH response of one message.
//!
//! Items come in the order in which they were asked for, but those that are streamed come last.

use super::super::super::core::Core;
use super::source::{self, Located, Source};
use super::{Plan, email_id};
use crate::codec::date::DateTime;
use crate::codec::fetch::{FetchAttribute, Section, SectionText};
use crate::codec::fetch_encode::FetchWriter;
use crate::codec::rope::Rope;
use bytes::Bytes;
use estafette_mime::Structure;
use estafette_types::Uid;
use std::ops::Range;

/// What ends a FETCH response.
const END: &[u8] = b")\r\n";

/// A piece of a response.
#[derive(Debug)]
pub(super) enum Piece {
    /// To be sent.
    Ready(Bytes),
    /// To be read from this message, then sent.
    Raw(Uid, Range<u64>),
}

/// An item whose bytes are streamed: what stands before them, and which they are.
type Streamed = (String, Range<u64>);

/// The response, and whether a part of it could not be decoded.
pub(super) fn response(
    core: &Core,
    plan: &Plan,
    source: &Source<'_>,
    newly_seen: bool,
) -> (Vec<Piece>, bool) {
    let message = source.message;
    let Some(number) = core.view.as_ref().and_then(|view| view.uids().sequence_of(message.uid)) else {
        return (Vec::new(), false);
    };
    let mut encoder = core.fresh_encoder();
    let mut line = encoder.fetch(number);
    let mut streamed: Vec<Streamed> = Vec::new();
    let mut undecodable = false;
    if plan.by_uid && !plan.attributes.contains(&FetchAttribute::Uid) {
        line.uid(message.uid);
    }
    if newly_seen && !plan.attributes.contains(&FetchAttribute::Flags) {
        line.flags(&message.flags.to_list(), false);
        if core.enabled.condstore && !plan.attributes.contains(&FetchAttribute::ModSeq) {
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
    line.finish();
    let mut pieces: Vec<Piece> = encoder.into_pieces().into_iter().map(Piece::Ready).collect();
    if !streamed.is_empty() {
        stream(&mut pieces, message.uid, streamed);
    }
    (pieces, undecodable)
}

/// Opens the finished line again and puts the streamed items at its end.
fn stream(pieces: &mut Vec<Piece>, uid: Uid, streamed: Vec<Streamed>) {
    let mut first = false;
    if let Some(Piece::Ready(last)) = pieces.last_mut() {
        last.truncate(last.len().saturating_sub(END.len()));
        first = last.ends_with(b"(");
    }
    for (head, range) in streamed {
        let space = if std::mem::take(&mut first) { "" } else { " " };
        let size = range.end - range.start;
        // A literal8 may hold NUL, and nobody has looked.
        let tilde = if head.starts_with("BINARY") { "~" } else { "" };
        pieces.push(Piece::Ready(format!("{space}{head} {tilde}{{{size}}}\r\n").into()));
        pieces.push(Piece::Raw(uid, range));
    }
    pieces.push(Piece::Ready(Bytes::from_static(END)));
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
        FetchAttribute::Flags => line.flags(&message.flags.to_list(), false),
        FetchAttribute::Uid => line.uid(message.uid),
        FetchAttribute::InternalDate => line.internal_date(message.internal_date),
        FetchAttribute::Rfc822Size => line.size(message.size_bytes),
        FetchAttribute::ModSeq => line.mod_seq(message.modseq),
        FetchAttribute::EmailId => line.email_id(&email_id(message.email_id)),
        FetchAttribute::ThreadId => line.thread_id(None),
        FetchAttribute::SaveDate => line.save_date(message.save_date.map(DateTime::utc)),
        FetchAttribute::Envelope => {
            if let Some(envelope) = message.structure.as_deref().and_then(Structure::envelope) {
                line.envelope(envelope);
            }
        }
        FetchAttribute::Body => message.structure.iter().for_each(|structure| line.body(structure)),
        FetchAttribute::BodyStructure => {
            message.structure.iter().for_each(|structure| line.body_structure(structure));
        }
        _ => {}
    }
}
