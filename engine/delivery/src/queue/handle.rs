//! The queue as others use it: putting items in, looking at them, trying or removing them.

use super::command::{Answer, Command};
use super::info::{ItemInfo, ItemPage};
use super::read::{self, Counters};
use super::{Item, ItemId, ItemKey, Recipient, State};
use crate::clock::now_ms;
use crate::reach::Wait;
use crate::{Error, Shards};
use estafette_raft::NewBody;
use estafette_storage::{BodyHash, Read};
use estafette_types::{AccountId, Address, BodyType, DsnNotify, DsnReturn, ReversePath, ShardId};

/// Recipients of one item; a message for more becomes several items.
pub const RECIPIENTS_MAX: usize = 1000;
/// Items of one page.
pub const PAGE_MAX: usize = 1000;

/// A message for other servers, or for mailboxes whose shard cannot take it now.
#[derive(Clone, Debug)]
pub struct NewItem {
    /// The identifier of the message as it was accepted.
    pub message: [u8; 16],
    /// The shard to take it, when it can: its submitter's.
    pub shard: Option<ShardId>,
    /// The sender.
    pub reverse_path: ReversePath,
    /// To whom.
    pub recipients: Vec<NewRecipient>,
    /// The message.
    pub body: BodyHash,
    /// Its bytes.
    pub size: u64,
    /// BODY of MAIL.
    pub body_type: BodyType,
    /// SMTPUTF8 of MAIL.
    pub smtputf8: bool,
    /// REQUIRETLS of MAIL.
    pub require_tls: bool,
    /// RET of MAIL.
    pub dsn_return: Option<DsnReturn>,
    /// ENVID of MAIL.
    pub dsn_envelope_id: Option<String>,
    /// Who submitted it.
    pub submitter: Option<AccountId>,
}

/// A recipient of an item.
#[derive(Clone, Debug)]
pub struct NewRecipient {
    /// The address.
    pub address: Address,
    /// The account here that it leads to; `None`: it is elsewhere.
    pub local: Option<AccountId>,
    /// NOTIFY of RCPT.
    pub notify: Option<DsnNotify>,
    /// ORCPT of RCPT.
    pub original: Option<(String, String)>,
    /// An alias, group or redirection here leads to it.
    pub forwarded: bool,
}

impl NewRecipient {
    fn recipient(self) -> Recipient {
        Recipient {
            address: self.address,
            local: self.local,
            notify: self.notify,
            original: self.original,
            forwarded: self.forwarded,
            state: State::Pending,
            owed: None,
            last: None,
            last_ms: 0,
        }
    }
}

impl NewItem {
    /// Items of at most [`RECIPIENTS_MAX`] recipients, with their names.
    fn items(mut self) -> Vec<(ItemId, Item)> {
        let mut rest =
            std::mem::take(&mut self.recipients).into_iter().map(NewRecipient::recipient).peekable();
        let mut items = Vec::new();
        while rest.peek().is_some() {
            let recipients: Vec<Recipient> = rest.by_ref().take(RECIPIENTS_MAX).collect();
            let id = match u32::try_from(items.len()) {
                Ok(0) | Err(_) => ItemId(self.message),
                Ok(part) => ItemId(self.message).derived("part", &[part]),
            };
            items.push((id, self.item(recipients)));
        }
        items
    }

    fn item(&self, recipients: Vec<Recipient>) -> Item {
        Item {
            message: self.message,
            reverse_path: self.reverse_path.clone(),
            body_type: self.body_type,
            smtputf8: self.smtputf8,
            require_tls: self.require_tls,
            dsn_return: self.dsn_return,
            dsn_envelope_id: self.dsn_envelope_id.clone(),
            submitter: self.submitter,
            body: self.body,
            size: self.size,
            created_ms: 0,
            attempts: 0,
            next_ms: 0,
            delay_told: false,
            recipients,
        }
    }
}

/// Puts items into the queue, and looks after them.
#[derive(Clone)]
pub struct QueueHandle {
    shards: Shards,
}

impl QueueHandle {
    /// For a node.
    pub fn new(shards: Shards) -> QueueHandle {
        QueueHandle { shards }
    }

    /// Durable when it answers. A repetition with the same identifier adds nothing.
    ///
    /// # Errors
    /// When no shard can take it now.
    pub async fn enqueue(&self, item: NewItem, bodies: Vec<NewBody>) -> Result<(), Error> {
        self.enqueue_past(item, bodies, &[], self.shards.wait()).await
    }

    /// The same; the shards of `failing` are asked last.
    pub(crate) async fn enqueue_past(
        &self,
        item: NewItem,
        bodies: Vec<NewBody>,
        failing: &[ShardId],
        wait: Wait,
    ) -> Result<(), Error> {
        let mut shards = self.shards.everywhere();
        let len = shards.len().max(1);
        let turn = usize::try_from(ItemId(item.message).spread(0)).unwrap_or(0) % len;
        shards.rotate_left(turn);
        shards.sort_by_key(|shard| {
            (failing.contains(shard), Some(*shard) != item.shard, !self.shards.is_here(*shard))
        });
        for (id, mut item) in item.items() {
            item.next_ms = now_ms();
            let command = Command::Enqueue { id, item: Box::new(item) }.encode();
            self.propose_to_any(&shards, &command, &bodies, wait).await?;
        }
        Ok(())
    }

    /// The first that takes it at once; when none does, a leader is waited for.
    async fn propose_to_any(
        &self,
        shards: &[ShardId],
        command: &[u8],
        bodies: &[NewBody],
        wait: Wait,
    ) -> Result<(), Error> {
        let mut problem = Error::NoQueue;
        for one in [wait.for_no_leader(), wait] {
            for shard in shards {
                match self.propose(*shard, command, bodies, one).await {
                    Ok(Answer::Added | Answer::Known) => return Ok(()),
                    Ok(_) => return Err(Error::Queue { what: "an item" }),
                    // Asking another shard could make two items of one.
                    Err(error) if error.is_uncertain() || !error.is_of_the_shard() => return Err(error),
                    Err(error) if wait.is_over() => return Err(error),
                    Err(error) => problem = error,
                }
            }
        }
        Err(problem)
    }

    async fn propose(
        &self,
        shard: ShardId,
        command: &[u8],
        bodies: &[NewBody],
        wait: Wait,
    ) -> Result<Answer, Error> {
        Answer::decode(&self.shards.queue(shard, command, bodies.to_vec(), wait).await?)
    }

    /// Tries an item at once; false: there is no such item.
    ///
    /// # Errors
    /// When the shard cannot take the command now.
    pub async fn retry(&self, key: ItemKey) -> Result<bool, Error> {
        let command = Command::RetryNow { id: key.id }.encode();
        Ok(self.propose(key.shard, &command, &[], self.shards.wait()).await? == Answer::Changed)
    }

    /// Gives an item up, with a notice to its sender or without; false: there is no such item.
    ///
    /// # Errors
    /// When the shard cannot take the command now.
    pub async fn cancel(&self, key: ItemKey, notice: bool) -> Result<bool, Error> {
        let command = Command::Remove { id: key.id, notice }.encode();
        Ok(self.propose(key.shard, &command, &[], self.shards.wait()).await? == Answer::Changed)
    }

    /// Up to `limit` items of all shards (at most [`PAGE_MAX`]), from the one after `after`.
    ///
    /// # Errors
    /// The store's; a damaged row.
    pub fn list<R: Read + ?Sized>(
        &self,
        rows: &R,
        after: Option<ItemKey>,
        limit: usize,
    ) -> Result<ItemPage, Error> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut page = ItemPage::default();
        for shard in self.shards.all() {
            let after = match after {
                Some(after) if shard < after.shard => continue,
                Some(after) if shard == after.shard => Some(after.id),
                _ => None,
            };
            for (id, item) in read::list(rows, shard, after, limit.saturating_sub(page.items.len()))? {
                page.items.push(ItemInfo::new(ItemKey { shard, id }, &item));
            }
            if page.items.len() >= limit {
                page.next = page.items.last().map(|item| item.id.clone());
                break;
            }
        }
        Ok(page)
    }

    /// One item, if it is there.
    ///
    /// # Errors
    /// The store's; a damaged row.
    pub fn item<R: Read + ?Sized>(&self, rows: &R, key: ItemKey) -> Result<Option<ItemInfo>, Error> {
        Ok(read::item(rows, key.shard, key.id)?.map(|item| ItemInfo::new(key, &item)))
    }

    /// What is in the queues of all shards.
    ///
    /// # Errors
    /// The store's; a damaged row.
    pub fn count<R: Read + ?Sized>(&self, rows: &R) -> Result<Counters, Error> {
        let mut sum = Counters::default();
        for shard in self.shards.all() {
            let of_shard = read::counters(rows, shard)?;
            sum.items += of_shard.items;
            sum.recipients += of_shard.recipients;
            sum.bytes += of_shard.bytes;
        }
        Ok(sum)
    }
}
