//! Reading: what a session on a node would see, held against what is known.

use super::breach::Rule;
use super::cluster::Cluster;
use super::history::{History, Reached, Told};
use super::node::{Live, group_of};
use estafette_mailbox::read::Message;
use estafette_mailbox::{AccountRef, MailboxRef, MailboxRow, read};
use estafette_storage::{BodyHash, Read};
use estafette_types::Uid;

/// The mailboxes of an account, as this node shows them.
pub(super) fn mailboxes(live: &Live, account: AccountRef) -> Vec<MailboxRef> {
    rows(&live.store, account).into_iter().map(|(at, _)| at).collect()
}

fn rows(view: &impl Read, account: AccountRef) -> Vec<(MailboxRef, MailboxRow)> {
    let listed = read::mailboxes(view, account).unwrap_or_default();
    listed.into_iter().filter_map(|listed| listed.mailbox).collect()
}

/// The messages of a mailbox, as this node shows them.
pub(super) fn messages(live: &Live, at: MailboxRef) -> Vec<Message> {
    messages_of(&live.store, at)
}

pub(super) fn messages_of(view: &impl Read, at: MailboxRef) -> Vec<Message> {
    let found = read::messages(view, at, Uid::MIN..=Uid::MAX);
    found.map(|found| found.filter_map(Result::ok).collect()).unwrap_or_default()
}

/// What a mailbox has reached on this node.
pub(super) fn reached(live: &Live, at: MailboxRef) -> Reached {
    read::mailbox(&live.store, at).ok().flatten().map(|row| Reached::of(&row)).unwrap_or_default()
}

/// Reads an account on a node: `fresh` as a session at its start would, else as it goes on.
pub(super) async fn read(cluster: &Cluster, live: &Live, account: AccountRef, fresh: bool, bodies: bool) {
    let floors = cluster.history().reached();
    if fresh {
        let Ok(group) = live.shards.group(account.shard) else { return };
        match live.ask(group.fresh()).await {
            Some(Ok(())) => {}
            Some(Err(error)) if error.is_fatal() => {
                let what = format!("{:?} on node {}: {error}", group_of(account.shard), live.id);
                return cluster.history().breach(Rule::Fatal, what);
            }
            _ => return,
        }
    }
    let view = live.store.view();
    let mut history = cluster.history();
    history.counts.reads += 1;
    for (at, row) in rows(&view, account) {
        let floor = floors.get(&at).copied().filter(|_| fresh);
        history.read_row(live.name(), at, &row, floor);
        for message in messages_of(&view, at) {
            let hash = message.row.body;
            history.uid(at, message.uid, hash);
            if bodies {
                check_body(&mut history, live, hash, message.row.size);
            }
            match history.messages.get(&hash).map(|sent| (sent.account, sent.there)) {
                Some((owner, there)) if owner == account && there > Told::No => {}
                other => {
                    let what = format!("{hash} in {at:?} on node {}: {other:?}", live.id);
                    history.breach(Rule::Unwanted, what);
                }
            }
        }
    }
}

/// The bytes behind a message.
fn check_body(history: &mut History, live: &Live, hash: BodyHash, size: u64) {
    let body = live.store.body_of(hash, size);
    let wrong = match body.all() {
        Ok(pieces) if BodyHash::of(&pieces) == hash => return,
        // Named by a snapshot, and on its way. Whether it comes is seen at the end.
        Err(estafette_storage::Error::Missing { .. }) => {
            history.counts.absent += 1;
            return;
        }
        Ok(_) => "its bytes are others".to_owned(),
        Err(error) => error.to_string(),
    };
    history.breach(Rule::Damaged, format!("{hash} on node {}: {wrong}", live.id));
}
