//! Which messages match.
//!
//! A search is split in two: what sets of UIDs alone can tell ([`narrow`]), and what has to be asked of
//! each message that is left, the cheap things first. It runs in slices on a thread where it may take
//! its time: after each slice a session that has gone ends it, and others get their turn. All slices
//! look at one view. What is asked of the rows of a few messages, or of headers that are in memory, is
//! answered at once.

mod narrow;
mod sent;
mod subject;

use self::narrow::narrow;
use self::subject::Subject;
use super::aside;
use super::convert::Keywords;
use super::moment::{Moment, Stop};
use crate::engine::Engine;
use estafette_imap::session::ask::{Failure, ModSeqOf};
use estafette_imap::session::{Answer, Criterion, Reach};
use estafette_mailbox::MailboxRef;
use estafette_mailbox::read::{self, Message};
use estafette_storage::View;
use estafette_types::{ModSeq, Uid, UidSet};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Searches that run at the same time; others wait.
const SEARCHES_MAX: usize = 8;
/// Messages of a slice.
const SLICE_MESSAGES: u32 = 4096;
/// Messages whose rows, and headers in memory, are looked at on the thread of the session.
const ROWS_AT_ONCE: u32 = 512;
/// Bytes of headers in memory that are searched there, up to those of one message more.
const BYTES_AT_ONCE: u64 = 512 << 10;
/// Keys about headers that a search there may have: each goes through the header anew.
const LOOKS_AT_ONCE: usize = 4;
const _: () = assert!(ROWS_AT_ONCE <= SLICE_MESSAGES);
/// Bytes of messages after which a slice ends.
const SLICE_BYTES: u64 = 8 << 20;
/// Messages are read by a scan when it would pass over no more than this many others for each.
const SCAN_WASTE: u32 = 4;

static PLACES: Semaphore = Semaphore::const_new(SEARCHES_MAX);

/// Searches a mailbox.
pub(super) async fn run(
    engine: &Arc<Engine>,
    at: MailboxRef,
    among: Arc<UidSet>,
    criterion: Criterion,
    modseq_of: ModSeqOf,
) -> Result<Answer, Stop> {
    let engine = Arc::clone(engine);
    let light = among.len() <= ROWS_AT_ONCE
        && criterion.reach() <= Reach::Header
        && criterion.looks() <= LOOKS_AT_ONCE;
    let begin = move || Search::begin(engine, at, &among, criterion, modseq_of);
    if light {
        let search = begin.clone()()?.slice(Pace::AtOnce)?;
        if search.rest.is_empty() {
            return Ok(search.answer());
        }
        // It begins anew: a view is not held while others are waited for.
    }
    let _place = PLACES.acquire().await.map_err(|_| Stop::Told(Failure::Unavailable))?;
    let mut search = aside(begin).await?;
    while !search.rest.is_empty() {
        search = aside(move || search.slice(Pace::Aside)).await?;
    }
    Ok(search.answer())
}

/// Where a slice runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// On the thread of the session: nothing but rows and what is in memory is looked at.
    AtOnce,
    /// On a thread where it may take its time.
    Aside,
}

/// A search under way.
struct Search {
    engine: Arc<Engine>,
    view: View,
    at: MailboxRef,
    keywords: Keywords,
    /// What each message of `rest` is asked.
    criterion: Criterion,
    /// Not looked at yet.
    rest: UidSet,
    found: UidSet,
    modseq_of: ModSeqOf,
    /// Of the first found, of the last, and the highest.
    first: Option<ModSeq>,
    last: Option<ModSeq>,
    highest: Option<ModSeq>,
    mailbox_modseq: ModSeq,
}

impl Search {
    fn begin(
        engine: Arc<Engine>,
        at: MailboxRef,
        among: &UidSet,
        criterion: Criterion,
        modseq_of: ModSeqOf,
    ) -> Result<Search, Stop> {
        let moment = Moment::of(&engine);
        let row = moment.mailbox(at)?;
        let keywords = moment.keywords(at)?;
        let there = among.intersection(&*moment.uids(at, &row)?);
        let (candidates, criterion) = narrow(&moment, at, there, criterion)?;
        // Nothing is left to ask of the messages themselves.
        let known = criterion == Criterion::Anything && modseq_of == ModSeqOf::Nobody;
        let (found, rest) = if known { (candidates, UidSet::new()) } else { (UidSet::new(), candidates) };
        let view = moment.view.clone();
        Ok(Search {
            engine,
            view,
            at,
            keywords,
            criterion,
            rest,
            found,
            modseq_of,
            first: None,
            last: None,
            highest: None,
            mailbox_modseq: row.highest_modseq,
        })
    }

    /// Judges some messages.
    fn slice(mut self, pace: Pace) -> Result<Search, Stop> {
        let slice = self.rest.split_off_first(SLICE_MESSAGES);
        let engine = Arc::clone(&self.engine);
        let moment = Moment::at(&engine, self.view.clone());
        let bytes_max = if pace == Pace::AtOnce { BYTES_AT_ONCE } else { SLICE_BYTES };
        let in_memory = pace == Pace::AtOnce && self.criterion.reach() == Reach::Header;
        let mut bytes = 0;
        for message in rows(&moment, self.at, &slice)? {
            let message = message?;
            let mut subject = Subject::new(&moment, &self.keywords, message);
            if in_memory && !subject.is_at_hand() {
                // Nothing of this slice counts.
                self.rest = slice.clone();
                break;
            }
            let hit = self.criterion.matches(&mut subject)?;
            bytes += subject.bytes_read();
            if hit {
                self.note(message);
            }
            if bytes > bytes_max {
                // The others of this slice come with the next one.
                self.rest = slice.after(message.uid).union(&self.rest);
                break;
            }
        }
        Ok(self)
    }

    fn note(&mut self, message: Message) {
        self.found.insert(message.uid);
        let modseq = message.row.modseq;
        self.first = self.first.or(Some(modseq));
        self.last = Some(modseq);
        self.highest = self.highest.max(Some(modseq));
    }

    fn answer(self) -> Answer {
        let found_modseq = match self.modseq_of {
            ModSeqOf::Nobody => None,
            ModSeqOf::All => self.highest,
            ModSeqOf::Ends { first, last } => self.first.filter(|_| first).max(self.last.filter(|_| last)),
        };
        Answer::Found { uids: self.found, found_modseq, modseq: self.mailbox_modseq }
    }
}

/// The messages of a set: by a scan where they lie together, else one by one.
fn rows<'a>(
    moment: &'a Moment<'_>,
    at: MailboxRef,
    uids: &'a UidSet,
) -> Result<Box<dyn Iterator<Item = Result<Message, Stop>> + 'a>, Stop> {
    let (Some(first), Some(last)) = (uids.first(), uids.last()) else {
        return Ok(Box::new(std::iter::empty()));
    };
    let span = last.value() - first.value();
    if span / SCAN_WASTE <= uids.len() {
        let all = read::messages(&moment.view, at, first..=last)?;
        let wanted = move |message: &Result<Message, _>| match message {
            Ok(message) => uids.contains(message.uid),
            Err(_) => true,
        };
        return Ok(Box::new(all.filter(wanted).map(|message| Ok(message?))));
    }
    let wanted: Vec<Uid> = uids.iter().collect();
    Ok(Box::new(read::messages_of(&moment.view, at, &wanted)?.into_iter().map(Ok)))
}
