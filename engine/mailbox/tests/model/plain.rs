//! The mailboxes of an account as plain maps: the simplest thing that answers as the machine must.

use estafette_mailbox::{
    Action, Delivered, DeliveryId, FlagChange, Flags, Imported, MailboxName, NewMessage, Refusal, Response,
    SpecialUse, SystemFlags, Target,
};
use estafette_storage::BodyHash;
use estafette_types::{EmailId, MailboxId, ModSeq, Uid, UidSet, UidValidity};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) arrival: u64,
    pub(crate) modseq: u64,
    pub(crate) system: SystemFlags,
    pub(crate) keywords: BTreeSet<String>,
    pub(crate) date: i64,
    pub(crate) saved: u64,
    pub(crate) size: u64,
    pub(crate) body: BodyHash,
    pub(crate) email: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    pub(crate) id: u32,
    pub(crate) validity: u32,
    pub(crate) next: u32,
    pub(crate) modseq: u64,
    pub(crate) messages: BTreeMap<u32, Message>,
    pub(crate) gone: Vec<(u64, u32)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    pub(crate) exists: bool,
    pub(crate) deleted: bool,
    pub(crate) names: BTreeMap<String, (Option<Mailbox>, Option<SpecialUse>)>,
    pub(crate) subscribed: BTreeSet<String>,
    seen: BTreeMap<(bool, DeliveryId), Delivered>,
    next_mailbox: u32,
    next_email: u64,
    last_validity: u32,
}

type Outcome = Result<Response, Refusal>;

fn uids(numbers: impl IntoIterator<Item = u32>) -> UidSet {
    numbers.into_iter().filter_map(Uid::new).collect()
}

fn words(flags: &Flags) -> BTreeSet<String> {
    flags.keywords.iter().map(|keyword| keyword.as_str().to_lowercase()).collect()
}

impl Account {
    pub(crate) fn bytes(&self) -> u64 {
        self.mailboxes().flat_map(|mailbox| mailbox.messages.values()).map(|message| message.size).sum()
    }

    pub(crate) fn mailboxes(&self) -> impl Iterator<Item = &Mailbox> {
        self.names.values().filter_map(|(mailbox, _)| mailbox.as_ref())
    }

    fn mailbox(&mut self, id: MailboxId) -> Result<&mut Mailbox, Refusal> {
        let all = self.names.values_mut().filter_map(|(mailbox, _)| mailbox.as_mut());
        all.into_iter().find(|mailbox| mailbox.id == id.0).ok_or(Refusal::NoMailbox)
    }

    fn named(&self, name: &str) -> Option<u32> {
        self.names.get(name)?.0.as_ref().map(|mailbox| mailbox.id)
    }

    pub(crate) fn apply(&mut self, time_ms: u64, action: &Action) -> Response {
        let before = self.clone();
        let outcome = self.run(time_ms, action);
        outcome.unwrap_or_else(|refusal| {
            *self = before;
            Response::Refused(refusal)
        })
    }

    fn run(&mut self, now: u64, action: &Action) -> Outcome {
        if matches!(action, Action::DeleteAccount) {
            *self = Account { exists: true, deleted: true, ..Account::default() };
            return Ok(Response::Purged { more: false });
        }
        if matches!(action, Action::Purge) {
            return Ok(Response::Purged { more: false });
        }
        if self.deleted {
            return Err(Refusal::NoAccount);
        }
        if !self.exists {
            self.exists = true;
            (self.next_mailbox, self.next_email) = (1, 1);
            for (name, special_use) in [
                ("INBOX", None),
                ("Drafts", Some(SpecialUse::Drafts)),
                ("Sent", Some(SpecialUse::Sent)),
                ("Junk", Some(SpecialUse::Junk)),
                ("Trash", Some(SpecialUse::Trash)),
            ] {
                self.make(now, name, special_use);
                self.subscribed.insert(name.to_owned());
            }
        }
        match action {
            Action::Ensure | Action::DeleteAccount | Action::Purge => Ok(Response::Done),
            Action::Deliver { id, target, message, quota } => self.deliver(now, *id, target, message, *quota),
            Action::Append { mailbox, messages, quota } => self.append(now, *mailbox, messages, *quota),
            Action::Import { name, messages, quota } => self.import(now, name, messages, *quota),
            Action::Copy { from, to, uids, quota } => self.copy(now, *from, *to, uids, Some(*quota)),
            Action::Move { from, to, uids } => self.copy(now, *from, *to, uids, None),
            Action::Store { mailbox, uids, change, flags, unchanged_since } => {
                self.store(*mailbox, uids, *change, flags, *unchanged_since)
            }
            Action::Expunge { mailbox, uids, only_deleted } => self.expunge(*mailbox, uids, *only_deleted),
            Action::Create { name, special_use } => self.create(now, name.as_str(), *special_use),
            Action::Delete { name } => self.delete(name.as_str()),
            Action::Rename { from, to } => self.rename(now, from.as_str(), to.as_str()),
            Action::Subscribe { name, subscribed } => {
                match subscribed {
                    true => self.subscribed.insert(name.to_string()),
                    false => self.subscribed.remove(name.as_str()),
                };
                Ok(Response::Done)
            }
            Action::SetSpecialUse { name, special_use } => self.set_use(name.as_str(), *special_use),
            // Between shards: tests/moves.rs.
            Action::Install { .. }
            | Action::Seal { .. }
            | Action::Unseal { .. }
            | Action::Adopt { .. }
            | Action::Clear { .. } => Err(Refusal::NotMoving),
        }
    }

    fn make(&mut self, now: u64, name: &str, special_use: Option<SpecialUse>) -> u32 {
        let levels: Vec<&str> = name.split('/').collect();
        for count in 1..levels.len() {
            let parent = levels[..count].join("/");
            if !self.names.contains_key(&parent) {
                self.make(now, &parent, None);
            }
        }
        let id = self.next_mailbox;
        self.next_mailbox += 1;
        self.last_validity = u32::try_from(now / 1000).unwrap().max(self.last_validity + 1);
        let mailbox = Mailbox {
            id,
            validity: self.last_validity,
            next: 1,
            modseq: 1,
            messages: BTreeMap::new(),
            gone: Vec::new(),
        };
        self.names.insert(name.to_owned(), (Some(mailbox), special_use));
        id
    }

    fn new_message(&mut self, now: u64, message: &NewMessage) -> Message {
        self.next_email += 1;
        Message {
            arrival: 0,
            modseq: 0,
            system: message.flags.system,
            keywords: words(&message.flags),
            date: message.internal_date_ms.unwrap_or(i64::try_from(now).unwrap()),
            saved: now,
            size: message.size,
            body: message.body,
            email: self.next_email - 1,
        }
    }

    fn within(&self, more: u64, quota: Option<u64>) -> Result<(), Refusal> {
        if quota.is_some_and(|quota| self.bytes() + more > quota) { Err(Refusal::OverQuota) } else { Ok(()) }
    }

    fn target(&mut self, now: u64, target: &Target) -> u32 {
        match target {
            Target::Inbox => {}
            Target::Use(special_use) => {
                let found = self.names.values().find(|(_, use_)| *use_ == Some(*special_use));
                if let Some((Some(mailbox), _)) = found {
                    return mailbox.id;
                }
                let name = special_use.default_name();
                let id = self.named_or_made(now, name);
                let entry = self.names.get_mut(name).unwrap();
                entry.1 = entry.1.or(Some(*special_use));
                return id;
            }
            Target::Name { name, create: true } => return self.named_or_made(now, name.as_str()),
            Target::Name { name, create: false } => {
                if let Some(id) = self.named(name.as_str()) {
                    return id;
                }
            }
        }
        self.named("INBOX").unwrap()
    }

    fn named_or_made(&mut self, now: u64, name: &str) -> u32 {
        self.named(name).unwrap_or_else(|| {
            self.subscribed.insert(name.to_owned());
            self.make(now, name, None)
        })
    }

    fn add(&mut self, id: u32, message: Message) -> Delivered {
        let email = EmailId(message.email);
        let mailbox = self.mailbox(MailboxId(id)).unwrap();
        mailbox.modseq += 1;
        let uid = mailbox.push(message);
        Delivered {
            mailbox: MailboxId(id),
            uid_validity: mailbox.uid_validity(),
            uid: Uid::new(uid).unwrap(),
            email,
        }
    }

    fn deliver(
        &mut self,
        now: u64,
        id: DeliveryId,
        target: &Target,
        message: &NewMessage,
        quota: Option<u64>,
    ) -> Outcome {
        if let Some(before) = self.seen.get(&(false, id)) {
            return Ok(Response::Duplicate(*before));
        }
        self.within(message.size, quota)?;
        let mailbox = self.target(now, target);
        let message = self.new_message(now, message);
        let delivered = self.add(mailbox, message);
        self.seen.insert((false, id), delivered);
        Ok(Response::Delivered(delivered))
    }

    fn import(
        &mut self,
        now: u64,
        name: &MailboxName,
        messages: &[(DeliveryId, NewMessage)],
        quota: Option<u64>,
    ) -> Outcome {
        let mailbox = self.named_or_made(now, name.as_str());
        let mut imported = Vec::new();
        for (id, message) in messages {
            let before = self.seen.get(&(true, *id)).copied();
            let delivered = match before {
                Some(delivered) => delivered,
                None => {
                    self.within(message.size, quota)?;
                    let message = self.new_message(now, message);
                    self.add(mailbox, message)
                }
            };
            self.seen.insert((true, *id), delivered);
            imported.push(Imported { delivered, duplicate: before.is_some() });
        }
        Ok(Response::Imported(imported))
    }

    fn append(&mut self, now: u64, id: MailboxId, messages: &[NewMessage], quota: Option<u64>) -> Outcome {
        self.mailbox(id)?;
        self.within(messages.iter().map(|message| message.size).sum(), quota)?;
        let messages: Vec<Message> = messages.iter().map(|one| self.new_message(now, one)).collect();
        let mailbox = self.mailbox(id)?;
        mailbox.modseq += u64::from(!messages.is_empty());
        let added: Vec<u32> = messages.into_iter().map(|message| mailbox.push(message)).collect();
        Ok(Response::Appended { uid_validity: mailbox.uid_validity(), uids: uids(added) })
    }

    /// Without a quota: a move.
    fn copy(
        &mut self,
        now: u64,
        from: MailboxId,
        to: MailboxId,
        set: &UidSet,
        quota: Option<Option<u64>>,
    ) -> Outcome {
        let source = self.mailbox(from)?;
        let picked = source.pick(set);
        let originals: Vec<Message> = picked.iter().map(|uid| source.messages[uid].clone()).collect();
        self.mailbox(to)?;
        if let Some(quota) = quota {
            self.within(originals.iter().map(|message| message.size).sum(), quota)?;
        }
        let target = self.mailbox(to)?;
        target.modseq += u64::from(!picked.is_empty());
        let added: Vec<u32> =
            originals.into_iter().map(|message| target.push(Message { saved: now, ..message })).collect();
        let uid_validity = target.uid_validity();
        let source = self.mailbox(from)?;
        if quota.is_none() {
            source.remove(&picked);
        }
        let source_modseq = ModSeq(source.modseq);
        Ok(Response::Copied { uid_validity, from: uids(picked), to: uids(added), source_modseq })
    }

    fn store(
        &mut self,
        id: MailboxId,
        set: &UidSet,
        change: FlagChange,
        flags: &Flags,
        since: Option<ModSeq>,
    ) -> Outcome {
        let mailbox = self.mailbox(id)?;
        let next = mailbox.modseq + 1;
        let (mut changed, mut modified) = (Vec::new(), Vec::new());
        for uid in mailbox.pick(set) {
            let message = mailbox.messages.get_mut(&uid).unwrap();
            if since.is_some_and(|since| message.modseq > since.0) {
                modified.push(uid);
                continue;
            }
            let (system, keywords) = match change {
                FlagChange::Add => (message.system.with(flags.system), &message.keywords | &words(flags)),
                FlagChange::Remove => {
                    (message.system.without(flags.system), &message.keywords - &words(flags))
                }
                FlagChange::Replace => (flags.system, words(flags)),
            };
            if (system, &keywords) != (message.system, &message.keywords) {
                (message.system, message.keywords, message.modseq) = (system, keywords, next);
                changed.push(uid);
            }
        }
        mailbox.modseq += u64::from(!changed.is_empty());
        Ok(Response::Stored {
            modseq: ModSeq(mailbox.modseq),
            changed: uids(changed),
            modified: uids(modified),
        })
    }

    fn expunge(&mut self, id: MailboxId, set: &UidSet, only_deleted: bool) -> Outcome {
        let mailbox = self.mailbox(id)?;
        let mut picked = mailbox.pick(set);
        picked.retain(|uid| !only_deleted || mailbox.messages[uid].system.has(SystemFlags::DELETED));
        mailbox.remove(&picked);
        Ok(Response::Expunged { modseq: ModSeq(mailbox.modseq), uids: uids(picked) })
    }

    fn use_free(&self, special_use: Option<SpecialUse>) -> Result<(), Refusal> {
        let taken = special_use.is_some() && self.names.values().any(|(_, use_)| *use_ == special_use);
        if taken { Err(Refusal::UseTaken) } else { Ok(()) }
    }

    fn create(&mut self, now: u64, name: &str, special_use: Option<SpecialUse>) -> Outcome {
        if self.named(name).is_some() {
            return Err(Refusal::Exists);
        }
        self.use_free(special_use)?;
        let id = self.make(now, name, special_use);
        let uid_validity = self.mailbox(MailboxId(id))?.uid_validity();
        Ok(Response::Created { mailbox: MailboxId(id), uid_validity })
    }

    fn delete(&mut self, name: &str) -> Outcome {
        if name == "INBOX" {
            return Err(Refusal::Inbox);
        }
        let Some((mailbox, _)) = self.names.get(name) else { return Err(Refusal::NoMailbox) };
        let below = format!("{name}/");
        let children = self.names.keys().any(|other| other.starts_with(&below));
        match (mailbox, children) {
            (None, true) => return Err(Refusal::HasChildren),
            (Some(_), true) => drop(self.names.insert(name.to_owned(), (None, None))),
            (_, false) => drop(self.names.remove(name)),
        }
        Ok(Response::Purged { more: false })
    }

    fn rename(&mut self, now: u64, from: &str, to: &str) -> Outcome {
        if !self.names.contains_key(from) {
            return Err(Refusal::NoMailbox);
        }
        if self.names.contains_key(to) {
            return Err(Refusal::Exists);
        }
        let below = format!("{from}/");
        if from != "INBOX" && to.starts_with(&below) {
            return Err(Refusal::BadName);
        }
        if from == "INBOX" {
            let inbox = self.names["INBOX"].0.as_ref().unwrap().id;
            let new = self.make(now, to, None);
            let all = UidSet::range(Uid::MIN, Uid::MAX);
            return self.copy(now, MailboxId(inbox), MailboxId(new), &all, None).map(|_| Response::Done);
        }
        if let Some((parent, _)) = to.rsplit_once('/')
            && !self.names.contains_key(parent)
        {
            self.make(now, parent, None);
        }
        let family: Vec<String> =
            self.names.keys().filter(|name| *name == from || name.starts_with(&below)).cloned().collect();
        for old in family {
            let new = format!("{to}{}", &old[from.len()..]);
            let row = self.names.remove(&old).unwrap();
            self.names.insert(new.clone(), row);
            if self.subscribed.remove(&old) {
                self.subscribed.insert(new);
            }
        }
        Ok(Response::Done)
    }

    fn set_use(&mut self, name: &str, special_use: Option<SpecialUse>) -> Outcome {
        let Some((Some(_), now)) = self.names.get(name) else { return Err(Refusal::NoMailbox) };
        if *now == special_use {
            return Ok(Response::Done);
        }
        if name == "INBOX" {
            return Err(Refusal::Inbox);
        }
        self.use_free(special_use)?;
        self.names.get_mut(name).unwrap().1 = special_use;
        Ok(Response::Done)
    }
}

impl Mailbox {
    fn uid_validity(&self) -> UidValidity {
        UidValidity(self.validity.try_into().unwrap())
    }

    fn push(&mut self, message: Message) -> u32 {
        self.messages.insert(self.next, Message { arrival: self.modseq, modseq: self.modseq, ..message });
        self.next += 1;
        self.next - 1
    }

    fn pick(&self, set: &UidSet) -> Vec<u32> {
        self.messages.keys().copied().filter(|uid| set.contains(Uid::new(*uid).unwrap())).collect()
    }

    fn remove(&mut self, picked: &[u32]) {
        self.modseq += u64::from(!picked.is_empty());
        for uid in picked {
            self.messages.remove(uid);
            self.gone.push((self.modseq, *uid));
        }
    }
}
