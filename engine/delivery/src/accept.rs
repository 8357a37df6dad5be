//! The way of a message in: from its envelope to every mailbox and queue it belongs to.
//!
//! Invariants:
//! - A recipient's [`Outcome::Done`] is given only when all that it leads to is committed.
//! - A delivery is named by message and account, so a repetition adds nothing, wherever it comes from.
//! - Bodies are the same bytes for all recipients of a message, so a node stores them once.
//!
//! Copies of a byte of a message from the session's pieces to the disk, in user space (docs/decisions/008-large-messages.md):
//! of one that lies in memory, one into a chunk (none if the chunk is one piece), one into the write batch, and RocksDB's
//! into its memory; of one that is staged (`intake`) the same, as it comes. It is hashed in one pass over what it is
//! copied from or to.

use crate::plan::{self, Mailbox, Owners, Plan};
use crate::queue::{ItemId, NewItem, NewRecipient, QueueHandle};
use crate::reach::Wait;
use crate::{Error, Homes, Shards};
use estafette_directory::{Resolution, Targets, View};
use estafette_mailbox::{
    AccountRef, Action, Command, DeliveryId, Flags, NewMessage, Refusal, Response, Target,
};
use estafette_raft::NewBody;
use estafette_storage::BodyHash;
use estafette_types::{AccountId, Envelope, ForwardPath, ShardId};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A message that a session has taken in, not yet answered for.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// MAIL and RCPT.
    pub envelope: Envelope,
    /// The whole message as it will be stored, with the fields that were added.
    pub body: NewBody,
    /// Who submitted it, when it came from a login.
    pub submitter: Option<AccountId>,
    /// Refuse over quota here too (LMTP), not only at RCPT.
    pub strict_quota: bool,
}

/// What became of a recipient.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Durable wherever it leads.
    Done,
    /// Nothing of it was kept.
    Failed(Problem),
}

/// Why a recipient cannot have a message.
#[derive(Clone, Debug)]
pub enum Problem {
    /// No such name (5.1.1).
    Unknown,
    /// Mail for other domains is not taken from this sender (5.7.1).
    NotLocal,
    /// Switched off (5.2.1).
    Disabled,
    /// The domain is suspended (4.2.1).
    Suspended,
    /// An alias that refuses mail (5.7.1).
    Bounce,
    /// A loop of aliases, or too many of them (5.4.6).
    Loop,
    /// Over quota (4.2.2).
    OverQuota,
    /// The mailbox takes no more messages (4.2.2).
    MailboxFull,
    /// The disk is nearly full (4.3.1).
    DiskFull,
    /// A fault that passes, or one that an operator has to deal with (4.3.0).
    Fault(Arc<Error>),
}

impl Problem {
    /// True when trying again later may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Problem::Unknown | Problem::NotLocal | Problem::Disabled | Problem::Bounce | Problem::Loop => {
                false
            }
            Problem::Suspended | Problem::OverQuota | Problem::MailboxFull | Problem::DiskFull => true,
            Problem::Fault(_) => true,
        }
    }
}

/// Takes messages in.
#[derive(Clone)]
pub struct Acceptor {
    homes: Homes,
    queue: QueueHandle,
}

/// On what terms a message is taken.
struct Terms {
    message: ItemId,
    /// Mail for other domains is taken.
    relay: bool,
    /// Quotas are held.
    quotas: bool,
    /// The shard whose queue takes what goes elsewhere.
    shard: Option<ShardId>,
    /// All of it is done by then.
    wait: Wait,
}

/// A message under way, shared by all of its deliveries.
struct Parcel<'a> {
    envelope: &'a Envelope,
    submitter: Option<AccountId>,
    body: NewBody,
    terms: Terms,
}

impl Parcel<'_> {
    fn delivery(&self, to: &Mailbox) -> Action {
        delivery(self.terms.message.0, to.account, self.body.len(), self.body.hash(), to.quota)
    }
}

/// A shard's mailboxes and what became of them.
type Delivered = (ShardId, Vec<Mailbox>, Result<Vec<Response>, Error>);

impl Acceptor {
    /// For a node.
    pub fn new(homes: Homes) -> Acceptor {
        let queue = QueueHandle::new(homes.shards().clone());
        Acceptor { homes, queue }
    }

    pub(crate) fn homes(&self) -> &Homes {
        &self.homes
    }

    pub(crate) fn directory(&self) -> &View {
        self.homes.directory()
    }

    pub(crate) fn shards(&self) -> &Shards {
        self.homes.shards()
    }

    /// Where a recipient leads, or why nowhere. `relay`: mail for other domains is taken.
    ///
    /// # Errors
    /// Why the recipient is to be refused at RCPT.
    pub fn route(&self, path: &ForwardPath, relay: bool) -> Result<Targets, Problem> {
        let directory = self.directory().read();
        let resolution = match path {
            ForwardPath::Postmaster => directory.resolve_postmaster(),
            ForwardPath::Address(address) => directory.resolve(address),
        };
        match resolution {
            Resolution::Deliver(targets) => Ok(targets),
            Resolution::NotLocal if relay => Ok(Targets::default()),
            Resolution::NotLocal => Err(Problem::NotLocal),
            Resolution::Unknown => Err(Problem::Unknown),
            Resolution::Disabled => Err(Problem::Disabled),
            Resolution::Suspended => Err(Problem::Suspended),
            Resolution::Bounce => Err(Problem::Bounce),
            Resolution::Loop | Resolution::TooMany => Err(Problem::Loop),
        }
    }

    /// Delivers and queues a message; one outcome for each recipient of the envelope, in order.
    pub async fn accept(&self, incoming: Incoming) -> Vec<Outcome> {
        let mut message = [0; 16];
        if getrandom::fill(&mut message).is_err() {
            let problem = Problem::Fault(Arc::new(Error::Random));
            return vec![Outcome::Failed(problem); incoming.envelope.recipients.len()];
        }
        self.accept_as(ItemId(message), incoming).await
    }

    /// The same for a message that is known by a name: where it was delivered before, a repetition adds
    /// nothing.
    pub async fn accept_as(&self, message: ItemId, incoming: Incoming) -> Vec<Outcome> {
        let submitter =
            incoming.submitter.and_then(|account| self.directory().read().account(account)?.shard);
        let (relay, wait) = (incoming.submitter.is_some(), self.shards().wait());
        self.take(incoming, Terms { message, relay, quotas: true, shard: submitter, wait }).await
    }

    /// Takes a notice of this server: to anybody, past quotas. `shard`: whose queue takes it, if it has to.
    pub(crate) async fn notice(&self, message: ItemId, shard: ShardId, incoming: Incoming) -> Vec<Outcome> {
        let (shard, wait) = (Some(shard), self.shards().wait());
        self.take(incoming, Terms { message, relay: true, quotas: false, shard, wait }).await
    }

    async fn take(&self, incoming: Incoming, terms: Terms) -> Vec<Outcome> {
        let mut plan = self.plan(&incoming, &terms);
        let Incoming { envelope, submitter, body, .. } = incoming;
        let parcel = Parcel { envelope: &envelope, submitter, body, terms };
        let mut mailboxes = std::mem::take(&mut plan.mailboxes);
        if parcel.body.is_staged() {
            self.leave_out_the_full(parcel.body.len(), &mut mailboxes, &mut plan);
        }
        let delivered = join_all(mailboxes.into_iter().map(|of_shard| self.deliver(&parcel, of_shard))).await;
        let delivered = delivered.into_iter().flatten().collect();
        let (failing, queued) = self.settle(&parcel, delivered, &mut plan);
        let queued: Vec<_> = std::mem::take(&mut plan.outside).into_iter().chain(queued).collect();
        if !queued.is_empty() {
            self.enqueue(&parcel, queued, &failing, &mut plan).await;
        }
        plan.problems.into_iter().map(|problem| problem.map_or(Outcome::Done, Outcome::Failed)).collect()
    }

    fn plan(&self, incoming: &Incoming, terms: &Terms) -> Plan {
        let recipients = &incoming.envelope.recipients;
        let strict = terms.quotas && (incoming.strict_quota || recipients.len() == 1);
        let mut plan = Plan::new(recipients.len());
        for (index, recipient) in recipients.iter().enumerate() {
            match self.route(&recipient.path, terms.relay) {
                Ok(targets) => {
                    plan.place(index, recipient, &targets, &self.directory().read(), strict);
                }
                Err(problem) => plan.settle(&[index], Some(problem)),
            }
        }
        plan
    }

    /// Does not propose a large message to mailboxes that are over quota already: it would lie in the store until it is
    /// collected. What counts is still decided where it is applied.
    fn leave_out_the_full(
        &self,
        size: u64,
        mailboxes: &mut BTreeMap<ShardId, Vec<Mailbox>>,
        plan: &mut Plan,
    ) {
        for (shard, of_shard) in mailboxes.iter_mut() {
            of_shard.retain(|mailbox| {
                let at = AccountRef { shard: *shard, account: mailbox.account };
                let full = mailbox.quota.is_some_and(|quota| {
                    let used = estafette_mailbox::read::usage(self.homes.store(), at);
                    used.is_ok_and(|(used, _)| used.saturating_add(size) > quota)
                });
                if full {
                    plan.settle(&mailbox.owners, Some(Problem::OverQuota));
                }
                !full
            });
        }
        mailboxes.retain(|_, of_shard| !of_shard.is_empty());
    }

    async fn deliver(&self, parcel: &Parcel<'_>, of_shard: (ShardId, Vec<Mailbox>)) -> Vec<Delivered> {
        let (shard, mailboxes) = of_shard;
        let commands =
            mailboxes.iter().map(|mailbox| Command::new(mailbox.account, parcel.delivery(mailbox))).collect();
        let bodies = vec![parcel.body.clone()];
        let answers = match self.shards().deliveries(shard, commands, bodies, parcel.terms.wait).await {
            Ok(answers) => answers,
            Err(error) => return vec![(shard, mailboxes, Err(error))],
        };
        let is_moved = |(_, answer): &(Mailbox, Response)| *answer == Response::Refused(Refusal::Moved);
        let (moved, here): (Vec<_>, Vec<_>) = mailboxes.into_iter().zip(answers).partition(is_moved);
        let (mailboxes, answers) = here.into_iter().unzip();
        let moved =
            join_all(moved.into_iter().map(|(mailbox, _)| self.deliver_after(parcel, shard, mailbox)));
        std::iter::once((shard, mailboxes, Ok(answers))).chain(moved.await).collect()
    }

    /// Delivers to an account that is on its way to another shard.
    async fn deliver_after(&self, parcel: &Parcel<'_>, shard: ShardId, mailbox: Mailbox) -> Delivered {
        let at = AccountRef { shard, account: mailbox.account };
        let (action, bodies) = (parcel.delivery(&mailbox), vec![parcel.body.clone()]);
        let answer = self.homes.mailbox_within(at, action, bodies, parcel.terms.wait).await;
        (shard, vec![mailbox], answer.map(|(_, answer)| vec![answer]))
    }

    /// What became of the deliveries; gives the shards that could not take their part, and what the queue
    /// has to take: those parts (DESIGN 3.5), and those of whom the sender wants to hear.
    fn settle(
        &self,
        parcel: &Parcel<'_>,
        delivered: Vec<Delivered>,
        plan: &mut Plan,
    ) -> (Vec<ShardId>, Vec<(NewRecipient, Owners)>) {
        let (mut failing, mut queued) = (Vec::new(), Vec::new());
        let directory = self.directory().read();
        for (shard, mailboxes, result) in delivered {
            match result {
                Ok(answers) => {
                    for (mailbox, answer) in mailboxes.iter().zip(answers) {
                        let problem = problem(&answer);
                        let done = problem.is_none();
                        plan.settle(&mailbox.owners, problem);
                        metrics::counter!("estafette_deliveries_total").increment(1);
                        tracing::debug!(message = %parcel.terms.message, account = mailbox.account.0, done, "delivery");
                        let asks = |owner: &&usize| done && plan::wants_success(parcel.envelope, **owner);
                        let asking = mailbox.owners.iter().find(asks);
                        let asking = asking
                            .and_then(|owner| plan::queued(mailbox, *owner, parcel.envelope, &directory));
                        // Nobody's outcome hangs on it: the message is in its mailbox.
                        queued.extend(asking.map(|recipient| (recipient, Owners::new())));
                    }
                }
                Err(error) if error.is_of_the_shard() => {
                    tracing::warn!(message = %parcel.terms.message, %shard, %error, "handed to the queue of another shard");
                    failing.push(shard);
                    for mailbox in mailboxes {
                        let first = mailbox.owners.first().copied().unwrap_or(0);
                        let recipient = plan::queued(&mailbox, first, parcel.envelope, &directory);
                        queued.extend(recipient.map(|recipient| (recipient, mailbox.owners)));
                    }
                }
                Err(error) => {
                    let problem = fault(error);
                    for mailbox in &mailboxes {
                        plan.settle(&mailbox.owners, Some(problem.clone()));
                    }
                }
            }
        }
        (failing, queued)
    }

    async fn enqueue(
        &self,
        parcel: &Parcel<'_>,
        queued: Vec<(NewRecipient, Owners)>,
        failing: &[ShardId],
        plan: &mut Plan,
    ) {
        let (recipients, owners): (Vec<_>, Vec<_>) = queued.into_iter().unzip();
        let envelope = parcel.envelope;
        let item = NewItem {
            message: parcel.terms.message.0,
            shard: parcel.terms.shard,
            reverse_path: envelope.reverse_path.clone(),
            recipients,
            body: parcel.body.hash(),
            size: parcel.body.len(),
            body_type: envelope.body_type,
            smtputf8: envelope.smtputf8,
            require_tls: envelope.require_tls,
            dsn_return: envelope.dsn_return,
            dsn_envelope_id: envelope.dsn_envelope_id.clone(),
            submitter: parcel.submitter,
        };
        let bodies = vec![parcel.body.clone()];
        let result = self.queue.enqueue_past(item, bodies, failing, parcel.terms.wait).await;
        if let Err(error) = &result {
            tracing::warn!(message = %parcel.terms.message, %error, "the queue could not take a message");
        }
        let problem = result.err().map(fault);
        for owners in owners {
            plan.settle(&owners, problem.clone());
        }
    }
}

/// A delivery into INBOX. Its name says the account, not a place among recipients, so it is the same
/// whatever way leads there.
pub(crate) fn delivery(
    message: [u8; 16],
    account: AccountId,
    size: u64,
    body: BodyHash,
    quota: Option<u64>,
) -> Action {
    // Deliveries are remembered by account, so the low half of its number is more than enough.
    let recipient = u32::try_from(account.0 & u64::from(u32::MAX)).unwrap_or(0);
    let id = DeliveryId { message, recipient };
    let message = NewMessage { flags: Flags::default(), internal_date_ms: None, size, body };
    Action::Deliver { id, target: Target::Inbox, message, quota }
}

pub(crate) fn problem(answer: &Response) -> Option<Problem> {
    match answer {
        Response::Refused(Refusal::OverQuota) => Some(Problem::OverQuota),
        Response::Refused(Refusal::NoAccount) => Some(Problem::Unknown),
        Response::Refused(_) => Some(Problem::MailboxFull),
        _ => None,
    }
}

fn fault(error: Error) -> Problem {
    if error.is_disk_full() { Problem::DiskFull } else { Problem::Fault(Arc::new(error)) }
}
