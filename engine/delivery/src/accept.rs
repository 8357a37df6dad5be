//! The way of a message in: from its envelope to every mailbox and queue it belongs to.
//!
//! Invariant: a recipient's [`Outcome::Done`] is given only when all that it leads to is committed.
//! Bodies are the same bytes for all recipients of a message, so a node stores them once.

use crate::queue::{NewItem, NewRecipient, QueueHandle};
use crate::{Error, Shards};
use bytes::Bytes;
use estafette_directory::{Resolution, Targets, View};
use estafette_mailbox::{Action, Command, DeliveryId, Flags, NewMessage, Refusal, Response, Target};
use estafette_raft::NewBody;
use estafette_storage::BodyHash;
use estafette_types::{AccountId, Envelope, ForwardPath, Recipient, ReversePath, ShardId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A message that a session has taken in, not yet answered for.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// MAIL and RCPT.
    pub envelope: Envelope,
    /// The whole message as it will be stored, with the fields that were added.
    pub body: Vec<Bytes>,
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

/// Takes messages in.
#[derive(Clone)]
pub struct Acceptor {
    directory: View,
    shards: Shards,
    queue: QueueHandle,
}

/// Which recipient an action belongs to; several may share one.
type Owners = Vec<usize>;

#[derive(Default)]
struct Plan {
    mailboxes: BTreeMap<ShardId, Vec<(AccountId, Option<u64>, Owners)>>,
    outside: Vec<(NewRecipient, Owners)>,
    outcomes: Vec<Option<Problem>>,
}

impl Acceptor {
    /// For a node.
    pub fn new(directory: View, shards: Shards, queue: QueueHandle) -> Acceptor {
        Acceptor { directory, shards, queue }
    }

    /// Where a recipient leads, or why nowhere. `relay`: mail for other domains is taken.
    ///
    /// # Errors
    /// Why the recipient is to be refused at RCPT.
    pub fn route(&self, path: &ForwardPath, relay: bool) -> Result<Targets, Problem> {
        let directory = self.directory.read();
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
        let plan = self.plan(&incoming);
        let mut outcomes: Vec<Option<Problem>> = plan.outcomes;
        let size: u64 = incoming.body.iter().map(|piece| piece.len() as u64).sum();
        let body = NewBody { hash: BodyHash::of(&incoming.body), chunks: incoming.body.clone() };
        let mut message = [0; 16];
        if getrandom::fill(&mut message).is_err() {
            return incoming.envelope.recipients.iter().map(|_| Outcome::Failed(Problem::Suspended)).collect();
        }
        let mut number = 0;
        for (shard, targets) in plan.mailboxes {
            let mut commands = Vec::with_capacity(targets.len());
            for (account, quota, _) in &targets {
                let id = DeliveryId { message, recipient: number };
                number += 1;
                commands.push(deliver(*account, id, size, body.hash, *quota));
            }
            match self.shards.mailboxes(shard, commands, vec![body.clone()]).await {
                Ok(answers) => {
                    for ((account, _, owners), answer) in targets.iter().zip(answers) {
                        settle(&mut outcomes, owners, problem(answer));
                        metrics::counter!("estafette_deliveries_total").increment(1);
                        tracing::debug!(account = account.0, shard = shard.0, "delivered");
                    }
                }
                Err(error) => {
                    let problem = fault(error);
                    for (_, _, owners) in &targets {
                        settle(&mut outcomes, owners, Some(problem.clone()));
                    }
                }
            }
        }
        if !plan.outside.is_empty() {
            self.enqueue(&incoming, size, message, body, plan.outside, &mut outcomes).await;
        }
        outcomes.into_iter().map(|problem| problem.map_or(Outcome::Done, Outcome::Failed)).collect()
    }

    async fn enqueue(
        &self,
        incoming: &Incoming,
        size: u64,
        message: [u8; 16],
        body: NewBody,
        outside: Vec<(NewRecipient, Owners)>,
        outcomes: &mut [Option<Problem>],
    ) {
        let (recipients, owners): (Vec<_>, Vec<_>) = outside.into_iter().unzip();
        let envelope = &incoming.envelope;
        let item = NewItem {
            message,
            reverse_path: envelope.reverse_path.clone(),
            recipients,
            body: body.hash,
            size,
            body_type: envelope.body_type,
            smtputf8: envelope.smtputf8,
            dsn_return: envelope.dsn_return,
            dsn_envelope_id: envelope.dsn_envelope_id.clone(),
            submitter: incoming.submitter,
        };
        let outcome = self.queue.enqueue(item, vec![body]).await.err().map(fault);
        for owners in owners {
            settle(outcomes, &owners, outcome.clone());
        }
    }

    fn plan(&self, incoming: &Incoming) -> Plan {
        let recipients = &incoming.envelope.recipients;
        let mut plan = Plan { outcomes: vec![None; recipients.len()], ..Plan::default() };
        for (index, recipient) in recipients.iter().enumerate() {
            match self.route(&recipient.path, incoming.submitter.is_some()) {
                Ok(targets) => self.place(&mut plan, index, recipient, targets, incoming),
                Err(problem) => {
                    if let Some(outcome) = plan.outcomes.get_mut(index) {
                        *outcome = Some(problem);
                    }
                }
            }
        }
        plan
    }

    /// Adds the targets of a recipient; a mailbox or address that several lead to gets the message once.
    fn place(&self, plan: &mut Plan, index: usize, recipient: &Recipient, targets: Targets, incoming: &Incoming) {
        let alone = targets.mailboxes.len() == 1 && targets.outside.is_empty();
        let strict = alone && (incoming.strict_quota || incoming.envelope.recipients.len() == 1);
        for target in &targets.mailboxes {
            let quota = if strict { self.quota(target.account) } else { None };
            let of_shard = plan.mailboxes.entry(target.shard).or_default();
            match of_shard.iter_mut().find(|(account, ..)| *account == target.account) {
                Some((_, _, owners)) => owners.push(index),
                None => of_shard.push((target.account, quota, vec![index])),
            }
        }
        let mut outside = |address: &estafette_types::Address, forwarded: bool| {
            match plan.outside.iter_mut().find(|(known, _)| known.address == *address) {
                Some((_, owners)) => owners.push(index),
                None => plan.outside.push((
                    NewRecipient {
                        address: address.clone(),
                        notify: recipient.notify,
                        original: recipient.original.clone(),
                        forwarded,
                    },
                    vec![index],
                )),
            }
        };
        for target in &targets.outside {
            outside(&target.address, true);
        }
        if let (true, ForwardPath::Address(address)) =
            (targets.mailboxes.is_empty() && targets.outside.is_empty(), &recipient.path)
        {
            outside(address, false);
        }
    }

    fn quota(&self, account: AccountId) -> Option<u64> {
        self.directory.read().account(account).and_then(|account| account.quota_bytes)
    }
}

fn deliver(account: AccountId, id: DeliveryId, size: u64, body: BodyHash, quota: Option<u64>) -> Command {
    let message = NewMessage { flags: Flags::default(), internal_date_ms: None, size, body };
    Command { account, action: Action::Deliver { id, target: Target::Inbox, message, quota } }
}

fn problem(answer: Response) -> Option<Problem> {
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

/// The first problem of a recipient stays.
fn settle(outcomes: &mut [Option<Problem>], owners: &[usize], problem: Option<Problem>) {
    if let Some(problem) = problem {
        for owner in owners {
            if let Some(outcome) = outcomes.get_mut(*owner) {
                outcome.get_or_insert_with(|| problem.clone());
            }
        }
    }
}

/// The sender for the Return-Path field.
pub(crate) fn return_path(path: &ReversePath) -> String {
    format!("Return-Path: <{path}>\r\n")
}
