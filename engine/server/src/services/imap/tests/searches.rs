//! Searches over a real store.

use super::*;
use estafette_imap::codec::date::Date;
use estafette_imap::codec::flag::Keyword;
use estafette_imap::codec::search::When;
use estafette_imap::session::ask::ModSeqOf;
use estafette_imap::session::{Criterion, Folded};
use estafette_storage::{Batch, Direction, Family, Read};

impl Client {
    async fn search(&mut self, criterion: Criterion, modseq_of: ModSeqOf) -> (String, Option<ModSeq>) {
        self.search_among(range(1, 100_000), criterion, modseq_of).await
    }

    async fn search_among(
        &mut self,
        among: UidSet,
        criterion: Criterion,
        modseq_of: ModSeqOf,
    ) -> (String, Option<ModSeq>) {
        let (mailbox, among) = (self.id(), Arc::new(among));
        match self.ask(Ask::Search { mailbox, among, criterion: Box::new(criterion), modseq_of }).await {
            Answer::Found { uids, found_modseq, .. } => (uids.to_string(), found_modseq),
            other => panic!("{other:?}"),
        }
    }

    async fn found(&mut self, criterion: Criterion) -> String {
        self.search(criterion, ModSeqOf::Nobody).await.0
    }
}

fn body(text: &str) -> Criterion {
    Criterion::Body(Folded::new(text))
}

fn text(text: &str) -> Criterion {
    Criterion::Text(Folded::new(text))
}

fn header(name: &str, text: &str) -> Criterion {
    Criterion::Header { name: name.to_owned(), text: Folded::new(text) }
}

const LATIN: &str = "Subject: =?iso-8859-1?q?Gr=FC=DFe?=\r\nDate: Tue, 1 Jul 2003 10:52:37 +0200\r\n\
    Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
    aus K=F6ln, wo =\r\nes regnet\r\n";
const PARTS: &str = "Subject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
    Content-Type: text/html\r\nContent-Disposition: inline; filename=needle.html\r\n\r\n<p>markup</p>\r\n\
    --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: the inner one\r\n\r\ninner text\r\n--b\r\n\
    Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nc2VjcmV0\r\n--b--\r\n";

async fn world() -> (World, Client) {
    let world = World::new().await;
    let mut client = world.session();
    client.append("INBOX", Flags::default(), LATIN).await;
    client.append("INBOX", seen(), PARTS).await;
    let mut flags = deleted();
    flags.add_keyword(Keyword::new("$Work").unwrap());
    // A header that is too long to be kept beside the structure.
    let filler = format!("X-Filler: {}\r\n", "long ".repeat(100)).repeat(200);
    client.append("INBOX", flags, &format!("{filler}Subject: after long\r\n\r\nend\r\n")).await;
    client.select("INBOX").await;
    (world, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_found_decoded() {
    let (world, mut client) = world().await;
    let cases = [
        (header("SUBJECT", "grüße"), "1"),
        (header("subject", ""), "1:3"),
        (header("subject", "after long"), "3"),
        (header("x-filler", "long long"), "3"),
        (header("from", ""), ""),
        (body("köln, wo es"), "1"),
        (body("KO\u{308}LN"), "1"),
        (body("=F6"), ""),
        (body("grüße"), ""),
        (text("grüße"), "1"),
        (body("inner text"), "2"),
        (body("the inner one"), "2"),
        (text("needle.html"), "2"),
        (body("needle.html"), ""),
        (text("subject: after"), "3"),
        (body("secret"), ""),
        (body("c2VjcmV0"), ""),
        (text(""), "1:3"),
    ];
    for (criterion, expected) in cases {
        // Few are judged on the thread of the session as far as their headers are in memory: none at first,
        // never the third.
        let few = client.search_among(range(1, 100), criterion.clone(), ModSeqOf::Nobody).await.0;
        assert_eq!(few, expected, "{criterion:?}");
        assert_eq!(client.found(criterion.clone()).await, expected, "{criterion:?}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_sets_are_searched() {
    let (world, mut client) = world().await;
    let uids = |uids: &[u32]| Criterion::Uids(set(uids));
    let is_deleted = Criterion::Flags(SystemFlags::DELETED);
    let july = Date::new(2003, 7, 1).unwrap();
    let cases = [
        (Criterion::Anything, "1:3"),
        (Criterion::Never, ""),
        (uids(&[2, 9]), "2"),
        (uids(&[2, 9]).negated(), "1,3"),
        (is_deleted.clone(), "3"),
        (is_deleted.clone().negated(), "1:2"),
        (Criterion::Flags(SystemFlags::SEEN).negated(), "1,3"),
        (Criterion::Keyword(Keyword::new("$work").unwrap()), "3"),
        (Criterion::Sent(When::On, july), "1"),
        (Criterion::Sent(When::On, july).negated(), "2:3"),
        (Criterion::LargerThan(50_000), "3"),
        (
            Criterion::all_of(vec![is_deleted.clone().negated(), header("subject", "parts"), uids(&[1, 2])]),
            "2",
        ),
        (Criterion::any_of(vec![is_deleted.clone(), body("köln")]), "1,3"),
        (Criterion::all_of(vec![is_deleted, Criterion::Never]), ""),
        (Criterion::Internal(When::Since, july), "1:3"),
        (Criterion::Saved(When::Before, july), ""),
    ];
    for (criterion, expected) in cases {
        assert_eq!(client.found(criterion.clone()).await, expected, "{criterion:?}");
    }
    let (_, modseq) = client.store(set(&[1]), StoreAction::Add, seen()).await;
    let found = client.search(Criterion::ModSeqFrom(modseq), ModSeqOf::All).await;
    assert_eq!(found, ("1".to_owned(), Some(modseq)));
    assert_eq!(client.found(Criterion::ModSeqFrom(ModSeq(0))).await, "1:3");
    let third = client.fetch(set(&[3]), Want::default(), 1).await.0[0].modseq;
    let last = ModSeqOf::Ends { first: false, last: true };
    assert_eq!(client.search(Criterion::Anything, last).await.1, Some(third));
    assert_eq!(client.search(Criterion::Never, last).await.1, None);
    world.end().await;
}

/// A search of few messages, on the thread of the session, went through all rows of the mailbox that say what is
/// deleted or has changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_of_few_reads_no_row_of_others() {
    let (world, mut client) = world().await;
    client.store(set(&[1]), StoreAction::Add, seen()).await;
    // Whoever goes through those rows meets one that cannot be read.
    let store = &world.engine.store;
    let rows = store.scan(Family::Row, Vec::new()..Vec::new(), Direction::Forward).unwrap();
    let mut batch = Batch::new();
    let mut spoilt = 0;
    for row in rows {
        let key = row.unwrap().key;
        // Kinds of rows: changes and deleted messages.
        if let Some(20 | 22) = key.get(16) {
            let longer = [&key[..], &[0xFF; 9]].concat();
            batch.put(Family::Row, longer, [1]);
            spoilt += 1;
        }
    }
    assert_eq!(spoilt, 2);
    store.apply_batch(batch).unwrap();
    let is_deleted = Criterion::Flags(SystemFlags::DELETED);
    let cases =
        [(is_deleted.clone(), "3"), (is_deleted.negated(), "1:2"), (Criterion::ModSeqFrom(ModSeq(1)), "1:3")];
    for among in [range(1, 3), range(1, 100_000)] {
        for (criterion, expected) in cases.clone() {
            let (found, _) = client.search_among(among.clone(), criterion, ModSeqOf::All).await;
            assert_eq!(found, expected);
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_mailbox_is_searched_in_slices() {
    let world = World::new().await;
    world.fill(5).await;
    let mut client = world.session();
    client.select("INBOX").await;
    let needle = client.append("INBOX", seen(), "Subject: needle\r\n\r\n").await;
    assert_eq!(client.found(header("subject", "needle")).await, needle.to_string());
    assert_eq!(client.found(Criterion::Flags(SystemFlags::SEEN).negated()).await, "1:10240");
    // Far apart: read one by one.
    let some: UidSet = (0..20).filter_map(|n| Uid::new(n * 500 + 1)).collect();
    let criterion = Criterion::all_of(vec![Criterion::Uids(some.clone()), body("sand")]);
    assert_eq!(client.found(criterion).await, some.to_string());
    // So many that sets are asked.
    let (_, modseq) = client.store(set(&[3, 9000]), StoreAction::Add, deleted()).await;
    let is_deleted = Criterion::Flags(SystemFlags::DELETED);
    assert_eq!(client.found(is_deleted.clone()).await, "3,9000");
    assert_eq!(client.found(is_deleted.negated()).await, "1:2,4:8999,9001:10241");
    assert_eq!(client.search(Criterion::ModSeqFrom(modseq), ModSeqOf::All).await.0, "3,9000");
    world.end().await;
}
