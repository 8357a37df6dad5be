//! Messages read, changed, copied and removed.

use super::super::change::WORK;
use super::*;
use estafette_imap::codec::date::DateTime;
use estafette_imap::codec::flag::{Flag, Keyword};
use estafette_storage::{Batch, Direction, Family, Read};

const BODY: Want = Want { structure: false, body: true, changed_since: None };

#[tokio::test(flavor = "multi_thread")]
async fn a_message_comes_back_as_it_went_in() {
    let world = World::new().await;
    let mut client = world.session();
    let text = "Subject: one\r\nFrom: a@example.org\r\n\r\nbody\r\n";
    let date = Some(DateTime { unix_seconds: 1_000_000_000, zone_minutes: 120 });
    let flags = Flags::from_list([Flag::Flagged, Flag::Keyword(Keyword::new("$Label1").unwrap())]);
    let body: Vec<Bytes> = text.as_bytes().chunks(7).map(Bytes::copy_from_slice).collect();
    let ask = Ask::Append { name: mailbox("inbox"), flags: flags.clone(), date, deposit: None, body };
    assert!(matches!(client.ask(ask).await, Answer::Appended { uid, .. } if uid.value() == 1));
    let selected = client.select("INBOX").await;
    assert_eq!((selected.uids.len(), selected.first_unseen), (1, Some(uid(1))));
    assert_eq!(selected.keywords, [Keyword::new("$Label1").unwrap()]);
    assert!(selected.keywords_grow && !selected.read_only);
    let want = Want { structure: true, ..BODY };
    let (messages, through) = client.fetch(set(&[1, 5]), want, 1 << 20).await;
    let [message] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(through, uid(5));
    assert_eq!(message.flags, flags);
    assert_eq!(message.internal_date, DateTime::utc(1_000_000_000));
    assert_eq!(message.body.as_ref().unwrap().concat(), text.as_bytes());
    let envelope = message.structure.as_ref().unwrap().envelope().unwrap();
    assert_eq!(envelope.subject.as_deref(), Some(&b"one"[..]));
    let key = message.body_key;
    let ask = Ask::Read { ranges: vec![(key, 9..12), (key, 0..7)] };
    let Answer::Read(parts) = client.ask(ask).await else { panic!() };
    assert_eq!(parts.iter().map(|part| part.concat()).collect::<Vec<_>>(), [&b"one"[..], b"Subject"]);
    world.end().await;
}

/// A large message comes in parts. Its structure and header are known without its body, and of that only what is asked for
/// is read.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_message_only_what_is_asked_for_is_read() {
    let world = World::new().await;
    let mut client = world.session();
    let text = format!("Subject: large\r\n\r\n{}", "0123456789 abcdef\r\n".repeat(80_000));
    let mut deposit = None;
    let pieces: Vec<Bytes> = text.as_bytes().chunks(300_000).map(Bytes::copy_from_slice).collect();
    let (last, first) = pieces.split_last().unwrap();
    for piece in first {
        let ask = Ask::Part { deposit, size: text.len() as u64, pieces: vec![piece.clone()] };
        let Answer::Kept(kept) = client.ask(ask).await else { panic!() };
        deposit = Some(kept);
    }
    let (name, flags) = (mailbox("inbox"), Flags::default());
    let ask = Ask::Append { name, flags, date: None, deposit, body: vec![last.clone()] };
    assert!(matches!(client.ask(ask).await, Answer::Appended { .. }));
    client.select("INBOX").await;
    let key = client.fetch(set(&[1]), Want::default(), 0).await.0[0].body_key;
    let read = |range: std::ops::Range<u64>| Ask::Read { ranges: vec![(key, range)] };
    let Answer::Read(parts) = client.ask(read(0..text.len() as u64)).await else { panic!() };
    assert_eq!(parts[0].concat(), text.as_bytes());
    // All chunks but the third are gone: whoever reads another is told so.
    let store = &world.engine.store;
    let rows = store.scan(Family::Blob, Vec::new()..Vec::new(), Direction::Forward).unwrap();
    let keys: Vec<Bytes> = rows.map(|row| row.unwrap().key).collect();
    let mut batch = Batch::new();
    keys.iter().filter(|key| !key.ends_with(&[0, 0, 0, 2])).for_each(|key| batch.delete(Family::Blob, key));
    store.apply_batch(batch).unwrap();
    let (messages, _) = client.fetch(set(&[1]), Want { structure: true, ..Want::default() }, 1 << 20).await;
    let structure = messages[0].structure.as_ref().unwrap();
    assert_eq!(structure.envelope().unwrap().subject.as_deref(), Some(&b"large"[..]));
    assert!(matches!(structure.header(), estafette_mime::HeaderBlock::Kept(_)));
    let Answer::Read(parts) = client.ask(read(600_000..700_000)).await else { panic!() };
    assert_eq!(parts[0].concat(), text.as_bytes()[600_000..700_000]);
    assert_eq!(client.failure(read(0..10)).await, Failure::Internal);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_out_at_once_is_bounded() {
    let world = World::new().await;
    let mut client = world.session();
    for size in [10, 10, 1000, 10] {
        client.append("INBOX", seen(), &"x".repeat(size)).await;
    }
    client.select("INBOX").await;
    let bodies = |messages: &[Message]| -> Vec<Option<usize>> {
        messages.iter().map(|m| m.body.as_ref().map(|body| body.concat().len())).collect()
    };
    let (messages, through) = client.fetch(range(1, 9), BODY, 15).await;
    assert_eq!((bodies(&messages), through), (vec![Some(10)], uid(1)));
    // One that is larger by itself is left to be read in pieces.
    let (messages, through) = client.fetch(range(2, 9), BODY, 15).await;
    assert_eq!((bodies(&messages), through), (vec![Some(10), None], uid(3)));
    let (messages, through) = client.fetch(range(4, 9), BODY, 15).await;
    assert_eq!((bodies(&messages), through), (vec![Some(10)], uid(9)));
    let want = Want { structure: true, ..Want::default() };
    let (messages, through) = client.fetch(range(1, 9), want, 0).await;
    assert_eq!((messages.len(), through), (1, uid(1)));
    let (_, modseq) = client.store(set(&[2]), StoreAction::Add, deleted()).await;
    let want = Want { changed_since: Some(ModSeq(modseq.0 - 1)), ..Want::default() };
    let (messages, through) = client.fetch(range(1, 9), want, 15).await;
    assert_eq!((messages.len(), through), (1, uid(9)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_goes_after_it_was_handed_out_can_be_read_from_its_beginning() {
    let world = World::new().await;
    let (mut client, mut other) = (world.session(), world.session());
    client.append("INBOX", deleted(), "0123456789").await;
    client.select("INBOX").await;
    let (messages, _) = client.fetch(range(1, 9), BODY, 5).await;
    assert!(messages[0].body.is_none(), "it is to be streamed");
    other.select("INBOX").await;
    assert_eq!(other.expunge(range(1, 9)).await, set(&[1]));
    for (range, text) in [(0..5, b"01234"), (5..10, b"56789")] {
        let ask = Ask::Read { ranges: vec![(messages[0].body_key, range)] };
        let Answer::Read(parts) = client.ask(ask).await else { panic!() };
        assert_eq!(parts.concat().concat(), text);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_are_stored() {
    let world = World::new().await;
    let mut client = world.session();
    for _ in 0..3 {
        client.append("INBOX", Flags::default(), "x").await;
    }
    let before = client.select("INBOX").await.highest_modseq;
    let mailbox = client.id();
    let (messages, modseq) = client.store(set(&[1, 3, 9]), StoreAction::Add, seen()).await;
    assert_eq!(modseq, ModSeq(before.0 + 1));
    assert_eq!(
        messages.iter().map(|m| (m.uid.value(), m.modseq)).collect::<Vec<_>>(),
        [(1, modseq), (3, modseq)]
    );
    let ask = Ask::Store {
        mailbox,
        uids: range(1, 3),
        how: StoreAction::Replace,
        flags: deleted(),
        unchanged_since: Some(before),
    };
    let Answer::Stored { messages, modified, own_modseq, modseq } = client.ask(ask).await else { panic!() };
    assert_eq!((messages.len(), modified, own_modseq), (1, set(&[1, 3]), Some(modseq)));
    assert_eq!(messages[0].flags, deleted());
    // What is so already is told, and changes nothing.
    let (messages, same) = client.store(set(&[2]), StoreAction::Replace, deleted()).await;
    assert_eq!((messages.len(), same), (1, modseq));
    let long = Flags::from_list([Flag::Keyword(Keyword::new(&"k".repeat(200)).unwrap())]);
    let ask =
        Ask::Store { mailbox, uids: range(1, 3), how: StoreAction::Add, flags: long, unchanged_since: None };
    assert_eq!(client.failure(ask).await, Failure::Limit);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_sets_are_copied_moved_and_expunged_in_parts() {
    let world = World::new().await;
    world.fill(2).await;
    let mut client = world.session();
    let total = client.select("INBOX").await.uids.len();
    assert_eq!(total, 2 * WORK);
    let from = client.id();
    let copy = |uids, to, remove| Ask::Copy { mailbox: from, uids, to: mailbox(to), remove };
    assert_eq!(client.failure(copy(range(1, 9), "nowhere", false)).await, Failure::NonExistent);
    let Answer::Copied { source, target, .. } = client.ask(copy(range(1, 9999), "Sent", false)).await else {
        panic!()
    };
    assert_eq!((source, target), (range(1, total), range(1, total)));
    let moved = range(2, WORK + 10);
    let Answer::Copied { source, target, modseq, .. } = client.ask(copy(moved.clone(), "Sent", true)).await
    else {
        panic!()
    };
    assert_eq!((&source, target.len()), (&moved, moved.len()));
    assert_eq!(target.first(), Some(uid(total + 1)));
    let selected = client.select("INBOX").await;
    assert_eq!((selected.uids.len(), selected.highest_modseq), (total - moved.len(), modseq));
    // The session has more messages in hand than there are.
    client.select("Sent").await;
    let all = range(1, 99_999);
    let (messages, _) = client.store(all.clone(), StoreAction::Add, deleted()).await;
    assert_eq!(u32::try_from(messages.len()), Ok(total + moved.len()));
    assert_eq!(client.expunge(all).await.len(), total + moved.len());
    assert!(client.select("Sent").await.uids.is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_mail_and_is_read_on() {
    let settings = estafette_storage::Settings { min_free_bytes: u64::MAX, ..Default::default() };
    let world = World::with(settings).await;
    let mut client = world.session();
    assert!(client.select("INBOX").await.uids.is_empty());
    let body = vec![Bytes::from_static(b"x")];
    let ask = Ask::Append { name: mailbox("INBOX"), flags: seen(), date: None, deposit: None, body };
    assert_eq!(client.failure(ask).await, Failure::Unavailable);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_body_is_an_error_and_not_an_expunge() {
    let world = World::new().await;
    let mut client = world.session();
    for text in ["one", "two"] {
        client.append("INBOX", seen(), text).await;
    }
    let mailbox = client.select("INBOX").await.id;
    let row =
        estafette_mailbox::read::message(&world.engine.store, AT.mailbox(mailbox), uid(2)).unwrap().unwrap();
    let mut batch = Batch::new();
    let mut end = row.body.0.to_vec();
    end.push(0xFF);
    batch.delete_range(Family::Blob, row.body.0.to_vec()..end.clone());
    batch.delete_range(Family::BlobRef, row.body.0.to_vec()..end);
    world.engine.store.apply_batch(batch).unwrap();
    // What lies before it is told.
    let (messages, through) = client.fetch(range(1, 2), BODY, 100).await;
    assert_eq!((messages.len(), through), (1, uid(1)));
    let ask = Ask::Fetch { mailbox, uids: set(&[2]), want: BODY, budget_bytes: 100 };
    assert_eq!(client.failure(ask).await, Failure::Internal);
    assert_eq!(client.fetch(range(1, 2), Want::default(), 100).await.0.len(), 2);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_mailbox_is_as_new_as_its_messages() {
    let world = World::new().await;
    let (mut reader, mut writer) = (world.session(), world.session());
    reader.append("INBOX", seen(), "one").await;
    let before = reader.select("INBOX").await.highest_modseq;
    writer.select("INBOX").await;
    assert_eq!(reader.fetch(set(&[1]), Want::default(), 0).await.0[0].flags, seen());
    for round in 0..20 {
        let keyword = Flag::Keyword(Keyword::new(&format!("$Round{round}")).unwrap());
        let flags = Flags::from_list([keyword]);
        let (_, modseq) = writer.store(set(&[1]), StoreAction::Replace, flags.clone()).await;
        let mailbox = reader.id();
        let ask = Ask::Fetch { mailbox, uids: set(&[1]), want: Want::default(), budget_bytes: 0 };
        let Answer::Fetched { messages, modseq: told, .. } = reader.ask(ask).await else { panic!() };
        assert_eq!(messages[0].flags, flags);
        assert_eq!((messages[0].modseq, told), (modseq, modseq));
        let changes = reader.changes(before, &set(&[1]), 10).await;
        assert_eq!((changes.through, changes.changed.len()), (modseq, 1));
        assert!(reader.changes(modseq, &set(&[1]), 10).await.changed.is_empty());
    }
    let ask = Ask::Delete { name: mailbox("other") };
    reader.done(Ask::Create { name: mailbox("other"), special_use: Vec::new() }).await;
    writer.append("other", seen(), "two").await;
    writer.select("other").await;
    assert_eq!(writer.fetch(set(&[1]), Want::default(), 0).await.0.len(), 1);
    reader.done(ask).await;
    let mailbox = writer.id();
    let ask = Ask::Fetch { mailbox, uids: set(&[1]), want: Want::default(), budget_bytes: 0 };
    assert_eq!(writer.failure(ask).await, Failure::MailboxGone);
    world.end().await;
}
