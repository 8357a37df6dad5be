//! What sets of UIDs can tell of a search before any message is read.

use super::super::moment::{Moment, Stop};
use super::ROWS_AT_ONCE;
use estafette_imap::session::{Criterion, SystemFlags};
use estafette_mailbox::{MailboxRef, read};
use estafette_types::{ModSeq, UidSet};

/// Criteria that are looked at here; further ones are asked of each message.
const CRITERIA_MAX: usize = 16;

/// The messages of `among` that can still match, and what remains to be asked of each.
pub(super) fn narrow(
    moment: &Moment<'_>,
    at: MailboxRef,
    among: UidSet,
    criterion: Criterion,
) -> Result<(UidSet, Criterion), Stop> {
    let criteria = match criterion {
        Criterion::And(all) => all,
        one => vec![one],
    };
    let (mut candidates, mut left) = (among, Vec::new());
    for (index, one) in criteria.into_iter().enumerate() {
        let narrowed = if index < CRITERIA_MAX { by_sets(moment, at, &candidates, &one)? } else { None };
        match narrowed {
            Some(narrowed) => candidates = narrowed,
            None => left.push(one),
        }
    }
    let criterion = match left.len() {
        0 => Criterion::Anything,
        1 => left.swap_remove(0),
        _ => Criterion::And(left),
    };
    Ok((candidates, criterion))
}

/// Those of the candidates for which a criterion holds; `None` when sets alone do not tell. What is read for
/// a set is as long as the mailbox makes it, so few candidates are rather judged by their own rows.
fn by_sets(
    moment: &Moment<'_>,
    at: MailboxRef,
    candidates: &UidSet,
    criterion: &Criterion,
) -> Result<Option<UidSet>, Stop> {
    let few = candidates.len() <= ROWS_AT_ONCE;
    Ok(match criterion {
        Criterion::Anything => Some(candidates.clone()),
        Criterion::Never => Some(UidSet::new()),
        Criterion::Uids(uids) => Some(candidates.intersection(uids)),
        Criterion::Flags(SystemFlags::DELETED) if !few => {
            Some(candidates.intersection(&read::deleted(&moment.view, at)?))
        }
        Criterion::ModSeqFrom(ModSeq(from)) => match from.checked_sub(1) {
            None => Some(candidates.clone()),
            Some(_) if few => None,
            Some(before) => {
                let row = moment.mailbox(at)?;
                let all = moment.uids(at, &row)?;
                Some(candidates.intersection(&read::changed_since(&moment.view, at, &all, ModSeq(before))?))
            }
        },
        Criterion::Not(one)
            if matches!(**one, Criterion::Uids(_) | Criterion::Flags(SystemFlags::DELETED)) =>
        {
            by_sets(moment, at, candidates, one)?.map(|holds| candidates.difference(&holds))
        }
        _ => None,
    })
}
