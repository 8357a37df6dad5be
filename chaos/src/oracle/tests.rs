//! Histories good and bad, each with the verdict that it has to get.

use super::*;

const VALIDITY: u32 = 77;

fn digest(id: u64) -> Digest {
    Digest::of(&id.to_be_bytes())
}

fn sent(id: u64, told: &[(Account, Told)]) -> Sent {
    Sent { id: MessageId(id), digest: digest(id), after_mark: false, told: told.to_vec() }
}

fn ours(uid: u32, id: u64) -> Found {
    Found { uid, content: Content::Ours(MessageId(id), digest(id)), state: None }
}

fn read(account: Account, uid_next: u32, found: Vec<Found>) -> Outcome {
    Outcome::Read(Reading {
        account,
        uid_validity: VALIDITY,
        uid_next: Some(uid_next),
        highest_modseq: None,
        found,
    })
}

/// Messages 1 to 4 were sent to account 0: acknowledged, unanswered, refused, unfinished.
fn oracle() -> Oracle {
    let mut oracle = Oracle::default();
    oracle.record([
        sent(1, &[(0, Told::Acknowledged)]),
        sent(2, &[(0, Told::Unanswered)]),
        sent(3, &[(0, Told::Refused(550))]),
        sent(4, &[(0, Told::Unfinished)]),
        sent(5, &[(0, Told::PutOff(451))]),
    ]);
    oracle
}

fn violations(oracle: &Oracle, outcome: Outcome) -> Vec<Violation> {
    oracle.judge(&[outcome], Tolerance::None).violations
}

/// An oracle that has seen message 1 as UID 5.
fn seen() -> Oracle {
    let mut oracle = oracle();
    let outcome = read(0, 6, vec![ours(5, 1)]);
    assert_eq!(violations(&oracle, outcome.clone()), []);
    oracle.absorb(&[outcome]);
    oracle
}

#[test]
fn good_histories() {
    let oracle = oracle();
    assert_eq!(violations(&oracle, read(0, 2, vec![ours(1, 1)])), []);
    assert_eq!(violations(&oracle, read(0, 9, vec![ours(3, 2), ours(7, 1), ours(8, 5)])), []);
    let counts = oracle.judge(&[read(0, 3, vec![ours(1, 1), ours(2, 2)])], Tolerance::None).counts;
    assert_eq!(
        counts,
        judge::Counts { acknowledged: 1, unsure_there: 1, unsure_absent: 1, ..judge::Counts::default() }
    );
    let listed = Found { uid: 5, content: Content::Listed, state: None };
    assert_eq!(violations(&seen(), read(0, 7, vec![listed, ours(6, 2)])), []);
}

#[test]
fn lost_and_doubled() {
    let oracle = oracle();
    assert_eq!(violations(&oracle, read(0, 1, vec![])), [Violation::Lost { account: 0, id: MessageId(1) }]);
    for id in [1, 2] {
        let twice = [ours(1, id), ours(2, id), ours(3, 1)].into_iter().take(if id == 1 { 2 } else { 3 });
        assert_eq!(
            violations(&oracle, read(0, 4, twice.collect())),
            [Violation::Doubled { account: 0, id: MessageId(id), count: 2 }]
        );
    }
    let mut group = Oracle::default();
    group.record([sent(1, &[(0, Told::Acknowledged), (1, Told::Acknowledged)])]);
    let outcomes = [read(0, 2, vec![ours(1, 1)]), read(1, 1, vec![])];
    assert_eq!(
        group.judge(&outcomes, Tolerance::None).violations,
        [Violation::Lost { account: 1, id: MessageId(1) }]
    );
}

#[test]
fn what_was_refused_or_never_sent_is_not_there() {
    let oracle = oracle();
    for id in [3, 4] {
        assert_eq!(
            violations(&oracle, read(0, 3, vec![ours(1, 1), ours(2, id)])),
            [Violation::Unwanted { account: 0, id: MessageId(id) }]
        );
    }
    assert_eq!(
        violations(&oracle, read(0, 3, vec![ours(1, 1), ours(2, 99)])),
        [Violation::Foreign { account: 0, uid: 2 }]
    );
    let mut other = oracle.clone();
    other.record([sent(6, &[(1, Told::Acknowledged)])]);
    let outcomes = [read(0, 3, vec![ours(1, 1), ours(2, 6)]), read(1, 2, vec![ours(1, 6)])];
    assert_eq!(
        other.judge(&outcomes, Tolerance::None).violations,
        [Violation::Misdelivered { account: 0, id: MessageId(6) }]
    );
}

#[test]
fn damaged_or_in_part() {
    let oracle = oracle();
    let wrong = Found { uid: 1, content: Content::Ours(MessageId(1), digest(2)), state: None };
    let damaged = [Violation::Damaged { account: 0, id: MessageId(1), uid: 1 }];
    assert_eq!(violations(&oracle, read(0, 2, vec![wrong.clone()])), damaged);
    let size = Found { uid: 1, content: Content::WrongSize(MessageId(1)), state: None };
    assert_eq!(violations(&oracle, read(0, 2, vec![size])), damaged);
    // Damage is never excused, not even where errors are.
    assert_eq!(oracle.judge(&[read(0, 2, vec![wrong])], Tolerance::Errors).violations, damaged);
    let headless = Found { uid: 2, content: Content::Foreign, state: None };
    assert_eq!(
        violations(&oracle, read(0, 3, vec![ours(1, 1), headless])),
        [Violation::Foreign { account: 0, uid: 2 }]
    );
}

#[test]
fn numbers_never_go_back() {
    let oracle = seen();
    assert_eq!(
        violations(&oracle, read(0, 5, vec![])),
        [
            Violation::UidNextFell { account: 0, before: 6, now: 5 },
            Violation::Vanished { account: 0, id: MessageId(1), uid: 5 },
            Violation::Lost { account: 0, id: MessageId(1) },
        ]
    );
    assert_eq!(
        violations(&oracle, read(0, 7, vec![ours(4, 2), ours(5, 1)])),
        [Violation::UidBelowNext { account: 0, uid: 4, uid_next: 6 }]
    );
    assert_eq!(
        violations(&oracle, read(0, 7, vec![ours(5, 2), ours(6, 1)])),
        [Violation::UidReused { account: 0, uid: 5, before: MessageId(1), now: MessageId(2) }]
    );
    assert_eq!(
        violations(&oracle, read(0, 6, vec![ours(5, 1), ours(6, 2)])),
        [Violation::UidNotBelowNext { account: 0, uid: 6, uid_next: 6 }]
    );
    assert_eq!(
        violations(&oracle, read(0, 9, vec![ours(5, 1), ours(8, 2), ours(7, 5)])),
        [Violation::UidOrder { account: 0, uid: 7 }]
    );
    let Outcome::Read(mut reading) = read(0, 6, vec![ours(5, 1)]) else { unreachable!() };
    reading.uid_validity = 78;
    assert_eq!(
        violations(&oracle, Outcome::Read(reading)),
        [Violation::UidValidity { account: 0, before: VALIDITY, now: 78 }]
    );
}

#[test]
fn what_was_seen_stays_even_when_it_was_never_acknowledged() {
    let mut oracle = seen();
    oracle.absorb(&[read(0, 8, vec![ours(5, 1), ours(7, 2)])]);
    assert_eq!(
        violations(&oracle, read(0, 8, vec![ours(5, 1)])),
        [Violation::Vanished { account: 0, id: MessageId(2), uid: 7 }]
    );
    // Without UIDNEXT (POP3) the highest UID stands for it.
    let Outcome::Read(mut reading) = read(0, 0, vec![ours(5, 1), ours(6, 5), ours(7, 2)]) else {
        unreachable!()
    };
    reading.uid_next = None;
    assert_eq!(
        violations(&oracle, Outcome::Read(reading)),
        [Violation::UidBelowNext { account: 0, uid: 6, uid_next: 8 }]
    );
}

#[test]
fn errors_count_only_where_files_are_whole() {
    let oracle = seen();
    let unreadable = |uid| Found { uid, content: Content::Unreadable, state: None };
    let outcome = [read(0, 6, vec![unreadable(5)])];
    assert_eq!(
        oracle.judge(&outcome, Tolerance::None).violations,
        [Violation::Unreadable { account: 0, uid: 5 }]
    );
    let verdict = oracle.judge(&outcome, Tolerance::Errors);
    assert_eq!((verdict.violations, verdict.counts.unreadable), (vec![], 1));
    // A message that is silently gone is lost all the same.
    assert_eq!(oracle.judge(&[read(0, 6, vec![])], Tolerance::Errors).violations.len(), 2);
    let refused = [Outcome::Refused(0, "NO".to_owned())];
    assert_eq!(oracle.judge(&refused, Tolerance::None).violations.len(), 1);
    assert_eq!(oracle.judge(&refused, Tolerance::Errors).violations, []);
    assert_eq!(oracle.judge(&[], Tolerance::Errors).violations, [Violation::Unread { account: 0 }]);
    // One that was not seen before may be the one that cannot be read, but only one.
    let mut fresh = super::tests::oracle();
    fresh.record([sent(6, &[(0, Told::Acknowledged)])]);
    let verdict = fresh.judge(&[read(0, 9, vec![unreadable(1)])], Tolerance::Errors);
    assert_eq!(verdict.violations, [Violation::Lost { account: 0, id: MessageId(6) }]);
}

fn erased(uid: u32, id: u64, sure: bool) -> [Erased; 1] {
    [Erased { account: 0, uid, id: MessageId(id), sure, after_mark: false }]
}

#[test]
fn what_was_removed_stays_away() {
    let mut oracle = seen();
    oracle.record_erased(erased(5, 1, true));
    assert_eq!(violations(&oracle, read(0, 6, vec![])), []);
    assert_eq!(
        violations(&oracle, read(0, 6, vec![ours(5, 1)])),
        [Violation::Returned { account: 0, id: MessageId(1), uid: 5 }]
    );
    // Nor may its UID go to another, or UIDNEXT fall.
    assert_eq!(violations(&oracle, read(0, 6, vec![ours(5, 2)])).len(), 2);
    assert_eq!(
        violations(&oracle, read(0, 5, vec![])),
        [Violation::UidNextFell { account: 0, before: 6, now: 5 }]
    );
    // One that was never read before it was removed.
    oracle.record_erased(erased(6, 2, true));
    assert_eq!(violations(&oracle, read(0, 7, vec![])), []);
}

#[test]
fn a_removal_without_an_answer_is_settled_once_it_is_gone() {
    let mut oracle = seen();
    oracle.record_erased(erased(5, 1, false));
    let (there, gone) = (read(0, 6, vec![ours(5, 1)]), read(0, 6, vec![]));
    assert_eq!(violations(&oracle, there.clone()), []);
    assert_eq!(violations(&oracle, gone.clone()), []);
    let mut after = oracle.clone();
    after.absorb(std::slice::from_ref(&there));
    assert_eq!(violations(&after, there.clone()), []);
    assert_eq!(violations(&after, gone.clone()), []);
    let mut after = oracle;
    after.absorb(std::slice::from_ref(&gone));
    assert_eq!(violations(&after, gone), []);
    assert_eq!(violations(&after, there).len(), 1);
}

fn flags(text: &str) -> Flags {
    Flags::parse(text)
}

/// Message 1 of [`oracle`] as UID 5.
fn with_state(highest_modseq: u64, flags: Flags, modseq: u64) -> Outcome {
    let found = Found { state: Some(State { flags, modseq }), ..ours(5, 1) };
    let Outcome::Read(reading) = read(0, 6, vec![found]) else { unreachable!() };
    Outcome::Read(Reading { highest_modseq: Some(highest_modseq), ..reading })
}

fn stored(text: &str, sure: bool) -> [Stored; 1] {
    [Stored { account: 0, uid: 5, flags: flags(text), sure }]
}

#[test]
fn flags_are_as_they_were_told() {
    let (seen, flagged) = (flags("\\Seen"), flags("\\Flagged \\Recent"));
    assert_eq!(seen.to_string(), "\\Seen");
    let mut oracle = oracle();
    oracle.absorb(&[with_state(9, Flags::default(), 9)]);
    let lost = |oracle: &Oracle, outcome| violations(oracle, outcome).len();
    assert_eq!(lost(&oracle, with_state(9, Flags::default(), 9)), 0);
    // Nobody asked for it.
    assert_eq!(lost(&oracle, with_state(12, seen, 12)), 1);
    oracle.record_stored(stored("\\Flagged", false));
    assert_eq!(lost(&oracle, with_state(9, Flags::default(), 9)), 0);
    assert_eq!(lost(&oracle, with_state(12, flagged, 12)), 0);
    oracle.record_stored(stored("\\Seen", true));
    assert_eq!(lost(&oracle, with_state(12, seen, 12)), 0);
    // One without an answer may take effect late.
    assert_eq!(lost(&oracle, with_state(12, flagged, 12)), 0);
    assert_eq!(lost(&oracle, with_state(12, Flags::default(), 12)), 1);
    oracle.absorb(&[with_state(12, seen, 12)]);
    assert_eq!(lost(&oracle, with_state(14, flagged, 14)), 0);
    assert_eq!(lost(&oracle, with_state(14, Flags::default(), 14)), 1);
}

#[test]
fn modification_sequences_only_grow() {
    let seen = flags("\\Seen");
    let mut oracle = oracle();
    oracle.absorb(&[with_state(9, Flags::default(), 9)]);
    let fell = Violation::ModSeqFell { account: 0, before: 9, now: 8 };
    assert_eq!(violations(&oracle, with_state(8, Flags::default(), 9)), [fell]);
    oracle.record_stored(stored("\\Seen", true));
    let stale = Violation::ModSeqStale { account: 0, uid: 5, modseq: 9, before: 9 };
    assert_eq!(violations(&oracle, with_state(10, seen, 9)), [stale]);
    assert_eq!(violations(&oracle, with_state(10, seen, 10)), []);
    // What a session was told counts too.
    let glimpse = Glimpse { account: 0, uid_validity: VALIDITY, uid_next: 6, highest_modseq: 20 };
    oracle.record_glimpses([glimpse]);
    let fell = Violation::ModSeqFell { account: 0, before: 20, now: 10 };
    assert_eq!(violations(&oracle, with_state(10, seen, 10)), [fell]);
}

#[test]
fn nodes_that_differ_are_named() {
    let (one, other) = ([with_state(9, Flags::default(), 9)], [with_state(9, flags("\\Seen"), 9)]);
    assert_eq!(differences((1, &one), (2, &one)), []);
    assert_eq!(differences((1, &one), (2, &other)).len(), 1);
    assert_eq!(differences((1, &one), (3, &[with_state(10, Flags::default(), 9)])).len(), 1);
    assert_eq!(differences((1, &one), (3, &[read(0, 6, vec![])])).len(), 1);
    assert_eq!(differences((1, &[read(0, 6, vec![])]), (3, &[read(0, 6, vec![ours(5, 1)])])).len(), 1);
}
