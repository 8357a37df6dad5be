//! What is asked of shards, wherever they are: on this node by its rows, else on a node that has them.
//!
//! Only what is read. Commands go to a shard's group, sessions are handed over.
//! On the wire: a byte for the version, then postcard. A question is about one shard.

use crate::engine::{Engine, EngineError};
use bytes::Bytes;
use estafette_delivery::Error;
use estafette_delivery::queue::{Counters, ItemId, ItemInfo, ItemKey, read};
use estafette_mailbox::AccountRef;
use estafette_mailbox::read::{self as mailboxes, Listed};
use estafette_types::{AccountId, ShardId};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const VERSION: u8 = 1;
/// How long one node may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// Accounts in one question.
const ACCOUNTS_MAX: usize = 4096;

/// A mailbox as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailboxInfo {
    pub(crate) name: String,
    pub(crate) special_use: Option<String>,
    pub(crate) subscribed: bool,
    pub(crate) selectable: bool,
    pub(crate) messages: u64,
    pub(crate) unseen: u64,
    pub(crate) bytes: u64,
    pub(crate) uid_validity: Option<u32>,
    pub(crate) uid_next: Option<u32>,
    pub(crate) highest_modseq: Option<u64>,
}

impl From<Listed> for MailboxInfo {
    fn from(listed: Listed) -> MailboxInfo {
        let row = listed.mailbox.map(|(_, row)| row);
        MailboxInfo {
            name: listed.name.as_str().to_owned(),
            special_use: listed.special_use.map(|special_use| special_use.attribute().to_string()),
            subscribed: listed.subscribed,
            selectable: row.is_some(),
            messages: row.as_ref().map_or(0, |row| row.exists.into()),
            unseen: row.as_ref().map_or(0, |row| row.unseen.into()),
            bytes: row.as_ref().map_or(0, |row| row.bytes),
            uid_validity: row.as_ref().map(|row| row.uid_validity.0.get()),
            uid_next: row.as_ref().map(|row| row.uid_next.value()),
            highest_modseq: row.as_ref().map(|row| row.highest_modseq.0),
        }
    }
}

/// Bytes and messages of an account.
pub(crate) type Usage = (u64, u64);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Ask {
    /// Of accounts.
    Usage(Vec<AccountId>),
    /// Of an account, once the rows hold all that was told to anybody.
    Mailboxes(AccountId),
    QueueCount,
    QueuePage {
        after: Option<ItemId>,
        limit: u32,
    },
    QueueItem(ItemId),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Question {
    shard: ShardId,
    ask: Ask,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Answer {
    Usage(Vec<Usage>),
    Mailboxes(Vec<MailboxInfo>, Usage),
    QueueCount(Counters),
    QueuePage(Vec<ItemInfo>),
    QueueItem(Option<ItemInfo>),
    /// The shard is not here, or its rows cannot be read now.
    Not,
}

impl Engine {
    /// Bytes and messages of accounts, in their order; `None` where nobody who has the shard answers.
    pub(crate) async fn usage(self: &Arc<Self>, accounts: &[AccountRef]) -> Vec<Option<Usage>> {
        let mut of_shard: BTreeMap<ShardId, Vec<AccountId>> = BTreeMap::new();
        for at in accounts {
            of_shard.entry(at.shard).or_default().push(at.account);
        }
        let parts =
            of_shard.iter().flat_map(|(shard, all)| all.chunks(ACCOUNTS_MAX).map(|some| (*shard, some)));
        let answers =
            parts.map(async |(shard, some)| match self.ask(shard, Ask::Usage(some.to_vec())).await {
                Ok(Answer::Usage(usage)) => some.iter().copied().zip(usage).collect(),
                Ok(_) => Vec::new(),
                Err(error) => {
                    tracing::warn!(%shard, %error, "it is not known what accounts hold");
                    Vec::new()
                }
            });
        let known: BTreeMap<AccountId, Usage> = join_all(answers).await.into_iter().flatten().collect();
        accounts.iter().map(|at| known.get(&at.account).copied()).collect()
    }

    /// The mailboxes of an account, and what it holds.
    pub(crate) async fn mailboxes(
        self: &Arc<Self>,
        at: AccountRef,
    ) -> Result<(Vec<MailboxInfo>, Usage), EngineError> {
        match self.ask(at.shard, Ask::Mailboxes(at.account)).await? {
            Answer::Mailboxes(mailboxes, usage) => Ok((mailboxes, usage)),
            _ => Err(Error::NoShard(at.shard).into()),
        }
    }

    /// What waits in the queue of a shard.
    pub(crate) async fn queue_count(self: &Arc<Self>, shard: ShardId) -> Result<Counters, EngineError> {
        match self.ask(shard, Ask::QueueCount).await? {
            Answer::QueueCount(counters) => Ok(counters),
            _ => Err(Error::NoShard(shard).into()),
        }
    }

    /// Items of the queue of a shard, from the one after `after`.
    pub(crate) async fn queue_page(
        self: &Arc<Self>,
        shard: ShardId,
        after: Option<ItemId>,
        limit: usize,
    ) -> Result<Vec<ItemInfo>, EngineError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        match self.ask(shard, Ask::QueuePage { after, limit }).await? {
            Answer::QueuePage(items) => Ok(items),
            _ => Err(Error::NoShard(shard).into()),
        }
    }

    /// One item of the queue.
    pub(crate) async fn queue_item(self: &Arc<Self>, key: ItemKey) -> Result<Option<ItemInfo>, EngineError> {
        match self.ask(key.shard, Ask::QueueItem(key.id)).await? {
            Answer::QueueItem(item) => Ok(item),
            _ => Err(Error::NoShard(key.shard).into()),
        }
    }

    /// Asks this node, or the first that has the shard and answers.
    async fn ask(self: &Arc<Self>, shard: ShardId, ask: Ask) -> Result<Answer, EngineError> {
        let asked = Question { shard, ask };
        if self.shards.is_here(shard) || !self.cluster.is_joined() {
            return self.answer(asked).await;
        }
        let question = encode(&asked);
        for node in self.cluster.hosts_of(&self.directory, shard) {
            let told = self.cluster.link.ask(node, vec![question.clone()]);
            let told = tokio::time::timeout(ANSWER_WAIT, told).await.ok().and_then(Result::ok);
            match told.as_deref().and_then(decode) {
                Some(Answer::Not) | None => {}
                Some(answer) => return Ok(answer),
            }
        }
        // Nobody else tells: what is here is better than nothing.
        if self.shards.is_open(shard) {
            return self.answer(asked).await;
        }
        Err(Error::NoShard(shard).into())
    }

    /// Answers from the rows here.
    async fn answer(self: &Arc<Self>, question: Question) -> Result<Answer, EngineError> {
        let Question { shard, ask } = question;
        if self.shards.group(shard).is_ok_and(|group| group.status().leader.is_some()) {
            // Without a leader, what is here is told.
            let _ = self.shards.fresh(shard).await;
        }
        if let Ask::Mailboxes(account) = ask {
            let at = self.fresh(AccountRef { shard, account }).await?;
            if at.shard != shard {
                return Ok(Answer::Not);
            }
        }
        let view = self.store.view();
        let work = move || -> Result<Answer, EngineError> {
            let at = |account| AccountRef { shard, account };
            Ok(match ask {
                Ask::Usage(accounts) => {
                    let usage = accounts.into_iter().map(|account| mailboxes::usage(&view, at(account)));
                    Answer::Usage(usage.collect::<Result<_, _>>()?)
                }
                Ask::Mailboxes(account) => {
                    let listed = mailboxes::mailboxes(&view, at(account))?;
                    let usage = mailboxes::usage(&view, at(account))?;
                    Answer::Mailboxes(listed.into_iter().map(MailboxInfo::from).collect(), usage)
                }
                Ask::QueueCount => Answer::QueueCount(read::counters(&view, shard)?),
                Ask::QueuePage { after, limit } => {
                    let items =
                        read::list(&view, shard, after, usize::try_from(limit).unwrap_or(usize::MAX))?;
                    let info = |(id, item)| ItemInfo::new(ItemKey { shard, id }, &item);
                    Answer::QueuePage(items.into_iter().map(info).collect())
                }
                Ask::QueueItem(id) => {
                    let key = ItemKey { shard, id };
                    Answer::QueueItem(read::item(&view, shard, id)?.map(|item| ItemInfo::new(key, &item)))
                }
            })
        };
        // It only fails to come back when it panicked, which has been logged.
        tokio::task::spawn_blocking(work).await.unwrap_or(Ok(Answer::Not))
    }
}

/// Answers another node.
pub(super) async fn answer(engine: &Arc<Engine>, question: &[u8]) -> Bytes {
    let question: Option<Question> = decode(question);
    let answer = match question.filter(|question| engine.shards.is_here(question.shard)) {
        Some(question) => engine.answer(question).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a question of another node cannot be answered");
            Answer::Not
        }),
        None => Answer::Not,
    };
    encode(&answer)
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    // Writing plain values into memory cannot fail; what is empty is no answer.
    postcard::to_extend(value, vec![VERSION]).unwrap_or_default().into()
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Option<T> {
    let (version, rest) = bytes.split_first()?;
    postcard::from_bytes(rest).ok().filter(|_| *version == VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_as_they_were_put() {
        let question = Question { shard: ShardId(7), ask: Ask::Usage(vec![AccountId(1), AccountId(900)]) };
        let bytes = encode(&question);
        assert_eq!(&bytes[..], [1, 7, 0, 2, 1, 0x84, 7]);
        let read: Question = decode(&bytes).unwrap();
        assert!(matches!(read.ask, Ask::Usage(accounts) if accounts == [AccountId(1), AccountId(900)]));
        assert!(decode::<Question>(&[]).is_none() && decode::<Question>(&[2, 7, 0, 0]).is_none());
    }
}
