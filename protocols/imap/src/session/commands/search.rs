//! SEARCH (RFC 9051 §6.4.4) with ESEARCH (RFC 4731), SEARCHRES (RFC 5182), WITHIN (RFC 5032),
//! MODSEQ (RFC 7162 §3.1.5). The engine judges messages; here sets become UIDs and back.

use super::super::ask::{Answer, Ask, ModSeqOf};
use super::super::core::{Core, Next, Outcome, refused, sequence_numbers, uid_numbers};
use super::super::criteria::{Criterion, Folded};
use super::super::flags::SystemFlags;
use super::super::view::{NoSuchMessage, View};
use super::{Open, fetch};
use crate::codec::command::Tag;
use crate::codec::response::{Code, ESearch};
use crate::codec::search::{EnvelopeField, Search, SearchFlag, SearchKey, SearchReturn};
use crate::codec::sequence::NumberSet;
use estafette_types::{ModSeq, UidSet};

/// The engine searches.
#[derive(Debug)]
pub(crate) struct Searching {
    tag: Tag,
    by_uid: bool,
    returns: Option<SearchReturn>,
    modseq: bool,
}

pub(super) fn start(core: &mut Core, tag: Tag, by_uid: bool, search: Search) -> Next {
    if search.charset && core.enabled.utf8 {
        // Everything is UTF-8 already (RFC 6855 §3).
        return Outcome::bad("No CHARSET with UTF8=ACCEPT").of(tag);
    }
    let modseq = search.key.uses_mod_seq();
    if modseq {
        core.enable_condstore();
    }
    let now = core.unix_seconds();
    let Some(view) = &mut core.view else { return Outcome::bad("No mailbox selected").of(tag) };
    let Ok(criterion) = criterion(view, now, search.key) else {
        return Outcome::bad("There is no message of this number").of(tag);
    };
    if search.returns.is_some_and(|returns| returns.save) {
        // Should the search fail, nothing is saved (RFC 5182 §2.1).
        view.saved = UidSet::new();
    }
    let modseq_of = match search.returns {
        _ if !modseq => ModSeqOf::Nobody,
        Some(returns) if !returns.all && !returns.count && (returns.min || returns.max) => {
            ModSeqOf::Ends { first: returns.min, last: returns.max }
        }
        _ => ModSeqOf::All,
    };
    let (mailbox, among, criterion) = (view.id, view.uids().clone(), Box::new(criterion));
    let searching = Searching { tag, by_uid, returns: search.returns, modseq };
    Next::Ask(Ask::Search { mailbox, among, criterion, modseq_of }, Open::Search(searching))
}

impl Searching {
    pub(super) fn answered(self, core: &mut Core, answer: Answer) -> Next {
        let Answer::Found { uids, found_modseq, modseq } = answer else { return self.failed(&answer) };
        let Some(view) = &mut core.view else { return Outcome::bad("No mailbox selected").of(self.tag) };
        view.note(modseq);
        let uids = uids.intersection(view.uids());
        let numbers = if self.by_uid { uid_numbers(&uids) } else { sequence_numbers(view, &uids) };
        let mod_seq = found_modseq.filter(|found| self.modseq && *found > ModSeq(0));
        if let Some(returns) = self.returns.filter(|returns| returns.save) {
            view.saved = saved(returns, uids);
        }
        match self.returns {
            None if !core.enabled.rev2 => core.encoder.search(numbers.iter(), mod_seq),
            returns => {
                let all = SearchReturn { all: true, ..SearchReturn::default() };
                let returns = returns.unwrap_or(all);
                // With SAVE alone there is nothing to tell (RFC 5182 §2.1).
                if returns.min || returns.max || returns.all || returns.count {
                    let found = summary(returns, numbers, mod_seq);
                    core.encoder.esearch(&self.tag, self.by_uid, &found);
                }
            }
        }
        let text = "SEARCH completed";
        Next::Finish(Outcome::ok(text).finished(self.tag).holding_expunges(!self.by_uid))
    }

    fn failed(self, answer: &Answer) -> Next {
        match refused(self.tag, answer) {
            Next::Finish(mut finished) if self.returns.is_some_and(|returns| returns.save) => {
                finished.outcome.code = Some(Code::NotSaved);
                Next::Finish(finished)
            }
            next => next,
        }
    }
}

/// What `$` holds after it (RFC 5182 §2.4).
fn saved(returns: SearchReturn, uids: UidSet) -> UidSet {
    if returns.all || returns.count || !(returns.min || returns.max) {
        return uids;
    }
    let first = uids.first().filter(|_| returns.min);
    let last = uids.last().filter(|_| returns.max);
    first.into_iter().chain(last).collect()
}

fn summary(returns: SearchReturn, numbers: NumberSet, mod_seq: Option<ModSeq>) -> ESearch {
    ESearch {
        min: numbers.first().filter(|_| returns.min),
        max: numbers.last().filter(|_| returns.max),
        count: returns.count.then(|| numbers.len()),
        mod_seq,
        all: returns.all.then_some(numbers),
    }
}

/// The key with its sets resolved. Recursion is as deep as the parser lets keys nest.
fn criterion(view: &View, now: i64, key: SearchKey) -> Result<Criterion, NoSuchMessage> {
    let each = |keys: Vec<SearchKey>| {
        keys.into_iter().map(|key| criterion(view, now, key)).collect::<Result<Vec<_>, _>>()
    };
    let header =
        |name: &str, text: &str| Criterion::Header { name: name.to_owned(), text: Folded::new(text) };
    Ok(match key {
        SearchKey::All | SearchKey::Old | SearchKey::SaveDateSupported => Criterion::Anything,
        // No message is ever `\Recent` here, and none has a THREADID.
        SearchKey::New | SearchKey::Recent | SearchKey::ThreadId(_) => Criterion::Never,
        SearchKey::And(keys) => Criterion::all_of(each(keys)?),
        SearchKey::Or(keys) => Criterion::any_of(each(keys)?),
        SearchKey::Not(key) => criterion(view, now, *key)?.negated(),
        SearchKey::Sequence(set) => Criterion::Uids(view.resolve(&set, false)?),
        SearchKey::Uid(set) => Criterion::Uids(view.resolve(&set, true)?),
        SearchKey::Flag(flag) => Criterion::Flags(match flag {
            SearchFlag::Answered => SystemFlags::ANSWERED,
            SearchFlag::Deleted => SystemFlags::DELETED,
            SearchFlag::Draft => SystemFlags::DRAFT,
            SearchFlag::Flagged => SystemFlags::FLAGGED,
            SearchFlag::Seen => SystemFlags::SEEN,
        }),
        SearchKey::Keyword(keyword) => Criterion::Keyword(keyword),
        SearchKey::Envelope(field, text) => match field {
            EnvelopeField::Bcc => header("Bcc", &text),
            EnvelopeField::Cc => header("Cc", &text),
            EnvelopeField::From => header("From", &text),
            EnvelopeField::To => header("To", &text),
            EnvelopeField::Subject => header("Subject", &text),
        },
        SearchKey::Header(name, text) => header(&name, &text),
        SearchKey::Body(text) => Criterion::Body(Folded::new(&text)),
        SearchKey::Text(text) => Criterion::Text(Folded::new(&text)),
        SearchKey::Internal(when, date) => Criterion::Internal(when, date),
        SearchKey::Sent(when, date) => Criterion::Sent(when, date),
        SearchKey::Saved(when, date) => Criterion::Saved(when, date),
        SearchKey::Larger(bytes) => Criterion::LargerThan(bytes),
        SearchKey::Smaller(bytes) => Criterion::SmallerThan(bytes),
        SearchKey::Older(seconds) => {
            Criterion::At { unix_seconds: now.saturating_sub(seconds.into()), or_later: false }
        }
        SearchKey::Younger(seconds) => {
            Criterion::At { unix_seconds: now.saturating_sub(seconds.into()), or_later: true }
        }
        SearchKey::ModSeq(modseq) => Criterion::ModSeqFrom(modseq),
        SearchKey::EmailId(id) => fetch::parse_email_id(&id).map_or(Criterion::Never, Criterion::EmailId),
    })
}
