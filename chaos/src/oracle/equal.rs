//! Whether two nodes show the same of an account.

use super::{Found, Outcome, Reading, Violation};
use std::collections::BTreeMap;

/// How the readings of one node differ from those of another, taken while nothing changed.
pub(crate) fn differences(one: (usize, &[Outcome]), other: (usize, &[Outcome])) -> Vec<Violation> {
    let readings = |outcomes: &[Outcome]| -> BTreeMap<usize, Reading> {
        let read = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Read(reading) => Some((reading.account, reading.clone())),
            Outcome::Refused(..) => None,
        });
        read.collect()
    };
    let others = readings(other.1);
    let mut found = Vec::new();
    for (account, mine) in readings(one.1) {
        if let Some(what) = others.get(&account).and_then(|theirs| difference(&mine, theirs)) {
            found.push(Violation::Differs { account, one: one.0, other: other.0, what });
        }
    }
    found
}

fn difference(one: &Reading, other: &Reading) -> Option<String> {
    let numbers = |reading: &Reading| {
        let Reading { uid_validity, uid_next, highest_modseq, .. } = reading;
        format!("UIDVALIDITY {uid_validity}, UIDNEXT {uid_next:?}, HIGHESTMODSEQ {highest_modseq:?}")
    };
    if numbers(one) != numbers(other) {
        return Some(format!("{}; {}", numbers(one), numbers(other)));
    }
    let message = |found: Option<&Found>| match found {
        None => "nothing".to_owned(),
        Some(Found { uid, state: Some(state), .. }) => {
            format!("UID {uid}, MODSEQ {}, flags ({})", state.modseq, state.flags)
        }
        Some(Found { uid, state: None, .. }) => format!("UID {uid}"),
    };
    let longer = one.found.len().max(other.found.len());
    let pairs = (0..longer).map(|at| (message(one.found.get(at)), message(other.found.get(at))));
    pairs.into_iter().find(|(one, other)| one != other).map(|(one, other)| format!("{one}; {other}"))
}
