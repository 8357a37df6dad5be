//! Who works on an item, as the log decides it.

use super::*;

const FIRST: u64 = 1;
const SECOND: u64 = 2;

fn claim(token: u64, items: &[(u8, Option<u64>)]) -> Command {
    let items = items.iter().map(|(id, over)| (ItemId([*id; 16]), *over)).collect();
    Command::Claim { node: token * 10, token, items }
}

/// Applies a command as the entry of this index.
fn run_at(store: &Store, index: u64, command: &Command) -> Answer {
    let mut tx = store.transaction();
    let context = Context { time_ms: 5000, index, ordinal: 0, seed: [0; 16] };
    let answer = apply(SHARD, &context, &command.encode(), &[BodyHash([1; 32])], &mut tx).unwrap();
    store.apply(tx).unwrap();
    checked(store);
    Answer::decode(&answer).unwrap()
}

fn holder(store: &Store, id: u8) -> Option<(u64, u64)> {
    let row = read::claim(store, SHARD, ItemId([id; 16])).unwrap();
    assert!(row.is_none_or(|row| row.node == row.token * 10));
    row.map(|row| (row.token, row.index))
}

fn pending(store: &Store, id: u8) -> usize {
    read::item(store, SHARD, ItemId([id; 16])).unwrap().map_or(0, |item| item.pending().count())
}

#[test]
fn an_item_is_one_nodes_until_another_takes_that_very_claim() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for id in [1, 2] {
        run(&store, 0, &enqueue(id, 1));
    }
    run_at(&store, 7, &claim(FIRST, &[(1, None), (2, None), (9, None)]));
    assert_eq!([1, 2, 9].map(|id| holder(&store, id)), [Some((FIRST, 7)), Some((FIRST, 7)), None]);
    // Who does not know of it, or of an older one, has it not.
    run_at(&store, 8, &claim(SECOND, &[(1, None), (2, Some(6))]));
    assert_eq!([1, 2].map(|id| holder(&store, id)), [Some((FIRST, 7)); 2]);
    // The holder renews; a claim that was not renewed can be taken over, but once.
    run_at(&store, 9, &claim(FIRST, &[(1, None)]));
    run_at(&store, 10, &claim(SECOND, &[(1, Some(7)), (2, Some(7))]));
    assert_eq!([1, 2].map(|id| holder(&store, id)), [Some((FIRST, 9)), Some((SECOND, 10))]);
    run_at(&store, 11, &claim(FIRST, &[(2, Some(7))]));
    assert_eq!(holder(&store, 2), Some((SECOND, 10)));
}

#[test]
fn a_claim_goes_with_the_end_of_its_attempt_or_of_the_item() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    run(&store, 0, &enqueue(1, 3));
    run_at(&store, 1, &claim(FIRST, &[(1, None)]));
    let part = |place, state, ends| attempted(1, 1, 9000, vec![result(place, state)]).by(FIRST, ends);
    run_at(&store, 2, &part(0, State::Relayed, false));
    assert_eq!(holder(&store, 1), Some((FIRST, 1)));
    run_at(&store, 3, &part(1, State::Pending, true));
    assert_eq!((holder(&store, 1), pending(&store, 1)), (None, 2));
    run_at(&store, 4, &claim(SECOND, &[(1, None)]));
    run_at(&store, 5, &Command::Remove { id: ItemId([1; 16]), notice: false });
    assert_eq!(holder(&store, 1), None);
    assert_eq!(run_at(&store, 6, &claim(SECOND, &[(1, None)])), Answer::Changed);
    assert_eq!(holder(&store, 1), None);
}

#[test]
fn of_a_claim_that_was_lost_only_what_was_delivered_counts() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    run(&store, 0, &enqueue(1, 4));
    run_at(&store, 1, &claim(FIRST, &[(1, None)]));
    run_at(&store, 2, &claim(SECOND, &[(1, Some(1))]));
    let states = [State::Relayed, State::Pending, State::Failed, State::Expired];
    let results = (0..).zip(states).map(|(place, state)| result(place, state)).collect();
    run_at(&store, 3, &attempted(1, 7, 90_000, results).by(FIRST, true));
    let item = read::item(&store, SHARD, ItemId([1; 16])).unwrap().unwrap();
    assert_eq!((item.attempts, item.next_ms), (0, 0), "when it is tried again is the holder's to say");
    let states: Vec<State> = item.recipients.iter().map(|recipient| recipient.state).collect();
    assert_eq!(states, [State::Relayed, State::Pending, State::Pending, State::Pending]);
    assert_eq!(holder(&store, 1), Some((SECOND, 2)));
}
