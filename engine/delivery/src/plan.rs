//! Where the recipients of a message lead: mailboxes by shard, and addresses elsewhere.
//!
//! A mailbox or address that several recipients lead to gets the message once.

use crate::accept::Problem;
use crate::queue::NewRecipient;
use estafette_directory::{Directory, Targets};
use estafette_types::{
    AccountId, Address, Domain, DsnNotify, Envelope, ForwardPath, LocalPart, Recipient, ReversePath, ShardId,
};
use std::collections::{BTreeMap, HashMap};

/// Which recipients of the envelope something belongs to, by their places.
pub(crate) type Owners = Vec<usize>;

/// A mailbox that gets the message.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    pub(crate) account: AccountId,
    pub(crate) quota: Option<u64>,
    pub(crate) owners: Owners,
}

/// Where a message goes.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) mailboxes: BTreeMap<ShardId, Vec<Mailbox>>,
    pub(crate) outside: Vec<(NewRecipient, Owners)>,
    /// One for each recipient of the envelope: why it cannot have the message.
    pub(crate) problems: Vec<Option<Problem>>,
    known_mailboxes: HashMap<AccountId, (ShardId, usize)>,
    known_addresses: HashMap<Address, usize>,
}

impl Plan {
    pub(crate) fn new(recipients: usize) -> Plan {
        Plan { problems: vec![None; recipients], ..Plan::default() }
    }

    /// The first problem of a recipient stays.
    pub(crate) fn settle(&mut self, owners: &[usize], problem: Option<Problem>) {
        let Some(problem) = problem else { return };
        for owner in owners {
            if let Some(place) = self.problems.get_mut(*owner) {
                place.get_or_insert_with(|| problem.clone());
            }
        }
    }

    /// Adds the targets of a recipient. Quotas are held for one that leads to a single mailbox, if
    /// `strict`.
    pub(crate) fn place(
        &mut self,
        owner: usize,
        recipient: &Recipient,
        targets: &Targets,
        directory: &Directory,
        strict: bool,
    ) {
        let strict = strict && targets.mailboxes.len() == 1 && targets.outside.is_empty();
        for target in &targets.mailboxes {
            let quota =
                if strict { directory.account(target.account).and_then(|a| a.quota_bytes) } else { None };
            self.mailbox(target.shard, target.account, quota, owner);
        }
        for target in &targets.outside {
            self.address(&target.address, true, recipient, owner);
        }
        if let (true, ForwardPath::Address(address)) =
            (targets.mailboxes.is_empty() && targets.outside.is_empty(), &recipient.path)
        {
            self.address(address, false, recipient, owner);
        }
    }

    fn mailbox(&mut self, shard: ShardId, account: AccountId, quota: Option<u64>, owner: usize) {
        let known = self.known_mailboxes.get(&account).copied();
        let found = known.and_then(|(shard, place)| self.mailboxes.get_mut(&shard)?.get_mut(place));
        if let Some(mailbox) = found {
            mailbox.owners.push(owner);
            return;
        }
        let of_shard = self.mailboxes.entry(shard).or_default();
        self.known_mailboxes.insert(account, (shard, of_shard.len()));
        of_shard.push(Mailbox { account, quota, owners: vec![owner] });
    }

    fn address(&mut self, address: &Address, forwarded: bool, recipient: &Recipient, owner: usize) {
        let known = self.known_addresses.get(address).copied();
        if let Some((_, owners)) = known.and_then(|place| self.outside.get_mut(place)) {
            owners.push(owner);
            return;
        }
        self.known_addresses.insert(address.clone(), self.outside.len());
        // RFC 3461 §5.2.1: without ORCPT, the address that the sender wrote may take its place.
        let written = || match &recipient.path {
            ForwardPath::Address(written) if forwarded => {
                let kind = if written.to_string().is_ascii() { "rfc822" } else { "utf-8" };
                Some((kind.to_owned(), written.to_string()))
            }
            _ => None,
        };
        let new = NewRecipient {
            address: address.clone(),
            local: None,
            notify: recipient.notify,
            original: recipient.original.clone().or_else(written),
            forwarded,
        };
        self.outside.push((new, vec![owner]));
    }
}

/// A mailbox as a recipient of the queue: one whose shard cannot take it now, or whose sender wants to know.
pub(crate) fn queued(
    mailbox: &Mailbox,
    owner: usize,
    envelope: &Envelope,
    directory: &Directory,
) -> Option<NewRecipient> {
    let recipient = envelope.recipients.get(owner)?;
    let address = match &recipient.path {
        ForwardPath::Address(address) => address.clone(),
        ForwardPath::Postmaster => {
            let own =
                directory.account(mailbox.account).and_then(|account| directory.primary_address(account));
            own.or_else(postmaster)?
        }
    };
    Some(NewRecipient {
        address,
        local: Some(mailbox.account),
        notify: recipient.notify,
        original: recipient.original.clone(),
        forwarded: false,
    })
}

fn postmaster() -> Option<Address> {
    Some(Address { local: LocalPart::parse("postmaster").ok()?, domain: Domain::parse("localhost").ok()? })
}

/// True when the sender wants to hear that this recipient has the message.
pub(crate) fn wants_success(envelope: &Envelope, owner: usize) -> bool {
    let notify = envelope.recipients.get(owner).and_then(|recipient| recipient.notify);
    envelope.reverse_path != ReversePath::Null && matches!(notify, Some(DsnNotify::On { success: true, .. }))
}
