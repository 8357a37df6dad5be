//! The engine: mailboxes in memory.

use super::subject::Subject;
use super::uid;
use crate::codec::command::{Mailbox, Secret, StoreAction};
use crate::codec::date::DateTime;
use crate::codec::flag::SpecialUse;
use crate::codec::framer::PART_BYTES;
use crate::session::ask::{
    BodyKey, Changed, Changes, Counts, Failure, MailboxInfo, Message, ModSeqOf, Quota, Refusal, Selected,
    Want,
};
use crate::session::{Answer, Ask, Flags, SystemFlags};
use bytes::Bytes;
use estafette_machine::Deposit;
use estafette_mime::Structure;
use estafette_types::{EmailId, MailboxId, ModSeq, Uid, UidSet, UidValidity};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// A message of the engine.
#[derive(Clone, Debug)]
pub(in crate::session) struct Mail {
    pub(in crate::session) flags: Flags,
    pub(super) modseq: ModSeq,
    pub(super) date: DateTime,
    pub(super) body: Bytes,
    pub(super) email_id: EmailId,
    pub(super) structure: Arc<Structure>,
}

/// A mailbox of the engine.
#[derive(Debug, Default)]
pub(in crate::session) struct Folder {
    id: u32,
    modseq: u64,
    next: u32,
    pub(in crate::session) mails: BTreeMap<u32, Mail>,
    special_use: Vec<SpecialUse>,
    no_select: bool,
}

/// What it keeps of a message on its way.
#[derive(Default)]
struct Kept {
    text: Vec<u8>,
    alive: Option<Arc<()>>,
}

/// The engine.
#[derive(Debug, Default)]
pub(in crate::session) struct World {
    pub(in crate::session) folders: BTreeMap<String, Folder>,
    subscriptions: Vec<String>,
    ids: u32,
    emails: u64,
    pub(in crate::session) quota: Quota,
    /// The questions that were put, by name.
    pub(in crate::session) asked: Vec<String>,
    /// The most bytes that one answer held.
    pub(in crate::session) largest_answer: u64,
    /// Held by whatever is kept of messages on their way.
    pub(in crate::session) alive: Arc<()>,
    /// Answered to the next question in place of what is so.
    pub(in crate::session) fail_next: Option<Failure>,
    /// Bodies of messages that were handed out; they can be read when the messages are gone.
    handed_out: Vec<(BodyKey, Bytes)>,
}

impl Folder {
    fn uids(&self) -> UidSet {
        self.mails.keys().map(|value| uid(*value)).collect()
    }

    fn counts(&self) -> Counts {
        let with = |flag| self.mails.values().filter(|mail| mail.flags.system.has(flag)).count() as u32;
        let size = |mails: &dyn Fn(&&Mail) -> bool| {
            self.mails.values().filter(|mail| mails(mail)).map(|mail| mail.body.len() as u64).sum()
        };
        Counts {
            messages: self.mails.len() as u32,
            unseen: self.mails.len() as u32 - with(SystemFlags::SEEN),
            deleted: with(SystemFlags::DELETED),
            size_bytes: size(&|_| true),
            deleted_bytes: size(&|mail| mail.flags.system.has(SystemFlags::DELETED)),
            uid_next: uid(self.next),
            uid_validity: validity(self.id),
            highest_modseq: ModSeq(self.modseq),
        }
    }
}

fn validity(id: u32) -> UidValidity {
    UidValidity(NonZeroU32::new(1000 + id).unwrap())
}

impl World {
    pub(in crate::session) fn new() -> World {
        let mut world = World::default();
        world.folder("INBOX");
        world.folder("Drafts").special_use = vec![SpecialUse::Drafts];
        world
    }

    pub(in crate::session) fn folder(&mut self, name: &str) -> &mut Folder {
        if !self.folders.contains_key(name) {
            self.ids += 1;
            let folder = Folder { id: self.ids, modseq: 1, next: 1, ..Folder::default() };
            self.folders.insert(name.to_owned(), folder);
        }
        self.folders.get_mut(name).unwrap()
    }

    pub(in crate::session) fn deliver(&mut self, name: &str, body: &[u8]) -> Uid {
        self.add(name, Flags::default(), DateTime::utc(1_000_000), Bytes::copy_from_slice(body))
    }

    fn add(&mut self, name: &str, flags: Flags, date: DateTime, body: Bytes) -> Uid {
        self.emails += 1;
        let email_id = EmailId(self.emails);
        let folder = self.folder(name);
        folder.modseq += 1;
        let structure = Arc::new(Structure::of([&body]));
        let mail = Mail { flags, modseq: ModSeq(folder.modseq), date, body, email_id, structure };
        let value = folder.next;
        folder.mails.insert(value, mail);
        folder.next += 1;
        uid(value)
    }

    fn by_id(&mut self, id: MailboxId) -> &mut Folder {
        self.folders.values_mut().find(|folder| folder.id == id.0).unwrap()
    }

    pub(in crate::session) fn answer(&mut self, ask: Ask) -> Answer {
        let text = format!("{ask:?}");
        self.asked.push(text.split([' ', '(']).next().unwrap_or_default().to_owned());
        if let Some(failure) = self.fail_next.take() {
            return Answer::Failed(failure);
        }
        match ask {
            Ask::Authenticate { user, password, authorization, .. } => {
                login(&user, &password, &authorization)
            }
            Ask::Mailboxes { counts, .. } => self.mailboxes(counts),
            Ask::Create { name, special_use } => self.create(name.as_str(), special_use),
            Ask::Delete { name } => match self.folders.remove(name.as_str()) {
                Some(_) => Answer::Done,
                None => Answer::Failed(Failure::NonExistent),
            },
            Ask::Rename { from, to } => self.rename(from.as_str(), to.as_str()),
            Ask::Subscribe { name, subscribed } => {
                self.subscriptions.retain(|one| one != name.as_str());
                if subscribed {
                    self.subscriptions.push(name.as_str().to_owned());
                }
                Answer::Done
            }
            Ask::Status { name, .. } => match self.folders.get(name.as_str()) {
                Some(folder) => Answer::Status(MailboxId(folder.id), folder.counts()),
                None => Answer::Failed(Failure::NonExistent),
            },
            Ask::Select { name, read_only } => self.select(&name, read_only),
            Ask::Part { deposit, size, pieces } => {
                let mut kept = deposit.map_or_else(Default::default, |kept| *kept.open::<Kept>().unwrap());
                kept.text.extend_from_slice(&pieces.concat());
                kept.alive.get_or_insert_with(|| Arc::clone(&self.alive));
                assert!(pieces.concat().len() >= PART_BYTES && (kept.text.len() as u64) < size);
                Answer::Kept(Deposit::new(kept))
            }
            Ask::Append { name, flags, date, deposit, mut body } => {
                if let Some(kept) = deposit.and_then(Deposit::open::<Kept>) {
                    body.insert(0, kept.text.into());
                }
                if !self.folders.contains_key(name.as_str()) {
                    return Answer::Failed(Failure::NonExistent);
                }
                let date = date.unwrap_or(DateTime::utc(2_000_000));
                let added = self.add(name.as_str(), flags, date, body.concat().into());
                Answer::Appended { uid_validity: validity(self.folder(name.as_str()).id), uid: added }
            }
            Ask::Quota { .. } => Answer::Quota(self.quota),
            other => self.answer_selected(other),
        }
    }

    fn answer_selected(&mut self, ask: Ask) -> Answer {
        if let Ask::Fetch { mailbox, .. }
        | Ask::Store { mailbox, .. }
        | Ask::Copy { mailbox, .. }
        | Ask::Expunge { mailbox, .. }
        | Ask::Search { mailbox, .. } = &ask
            && !self.folders.values().any(|folder| folder.id == mailbox.0)
        {
            return Answer::Failed(Failure::MailboxGone);
        }
        match ask {
            Ask::Fetch { mailbox, uids, want, budget_bytes } => {
                self.fetch(mailbox, &uids, want, budget_bytes)
            }
            Ask::Read { ranges } => {
                let cut = |(key, range): (BodyKey, std::ops::Range<u64>)| {
                    let (_, body) = self.handed_out.iter().find(|(of, _)| *of == key).unwrap();
                    vec![body.slice(range.start as usize..range.end as usize)]
                };
                let parts: Vec<Vec<Bytes>> = ranges.into_iter().map(cut).collect();
                let size = parts.iter().flatten().map(|bytes| bytes.len() as u64).sum();
                self.largest_answer = self.largest_answer.max(size);
                Answer::Read(parts)
            }
            Ask::Store { mailbox, uids, how, flags, unchanged_since } => {
                self.store(mailbox, &uids, how, &flags, unchanged_since)
            }
            Ask::Copy { mailbox, uids, to, remove } => self.copy(mailbox, &uids, to.as_str(), remove),
            Ask::Expunge { mailbox, uids } => {
                let folder = self.by_id(mailbox);
                let deleted = |value: &u32, mail: &Mail| {
                    uids.contains(uid(*value)) && mail.flags.system.has(SystemFlags::DELETED)
                };
                let gone: UidSet =
                    folder.mails.iter().filter(|(v, m)| deleted(v, m)).map(|(v, _)| uid(*v)).collect();
                folder.mails.retain(|value, _| !gone.contains(uid(*value)));
                folder.modseq += u64::from(!gone.is_empty());
                Answer::Expunged { uids: gone, modseq: ModSeq(folder.modseq) }
            }
            Ask::Search { mailbox, among, criterion, modseq_of } => {
                let folder = self.by_id(mailbox);
                let hits: Vec<(Uid, ModSeq)> = folder
                    .mails
                    .iter()
                    .filter(|(value, _)| among.contains(uid(**value)))
                    .filter(|(value, mail)| criterion.matches(&mut Subject(uid(**value), mail)).unwrap())
                    .map(|(value, mail)| (uid(*value), mail.modseq))
                    .collect();
                let found_modseq = match modseq_of {
                    ModSeqOf::Nobody => None,
                    ModSeqOf::All => hits.iter().map(|hit| hit.1).max(),
                    ModSeqOf::Ends { first, last } => {
                        let first = hits.first().filter(|_| first);
                        first.into_iter().chain(hits.last().filter(|_| last)).map(|hit| hit.1).max()
                    }
                };
                let uids = hits.iter().map(|hit| hit.0).collect();
                Answer::Found { uids, found_modseq, modseq: ModSeq(folder.modseq) }
            }
            Ask::Changes { mailbox, since, known, limit, .. } => self.changes(mailbox, since, &known, limit),
            _ => Answer::Failed(Failure::Internal),
        }
    }

    fn mailboxes(&self, counts: bool) -> Answer {
        let mut all: Vec<MailboxInfo> = self
            .folders
            .iter()
            .map(|(name, folder)| MailboxInfo {
                id: Some(MailboxId(folder.id)),
                name: Mailbox::new(name).unwrap(),
                special_use: folder.special_use.clone(),
                subscribed: self.subscriptions.contains(name),
                no_select: folder.no_select,
                counts: counts.then(|| folder.counts()),
            })
            .collect();
        let only = self.subscriptions.iter().filter(|name| !self.folders.contains_key(*name));
        all.extend(only.map(|name| MailboxInfo {
            id: None,
            name: Mailbox::new(name).unwrap(),
            special_use: Vec::new(),
            subscribed: true,
            no_select: false,
            counts: None,
        }));
        Answer::Mailboxes(all)
    }

    fn create(&mut self, name: &str, special_use: Vec<SpecialUse>) -> Answer {
        if self.folders.contains_key(name) {
            return Answer::Failed(Failure::AlreadyExists);
        }
        let folder = self.folder(name);
        folder.special_use = special_use;
        Answer::Created(MailboxId(folder.id))
    }

    fn rename(&mut self, from: &str, to: &str) -> Answer {
        if self.folders.contains_key(to) {
            return Answer::Failed(Failure::AlreadyExists);
        }
        if from == "INBOX" {
            let inbox = self.folder(from);
            inbox.modseq += 1;
            let mails = std::mem::take(&mut inbox.mails);
            self.folder(to).mails = mails;
            return Answer::Done;
        }
        match self.folders.remove(from) {
            Some(folder) => {
                self.folders.insert(to.to_owned(), folder);
                Answer::Done
            }
            None => Answer::Failed(Failure::NonExistent),
        }
    }

    fn select(&self, name: &Mailbox, read_only: bool) -> Answer {
        let Some(folder) = self.folders.get(name.as_str()) else {
            return Answer::Failed(Failure::NonExistent);
        };
        let unseen = folder.mails.iter().find(|(_, mail)| !mail.flags.system.has(SystemFlags::SEEN));
        Answer::Selected(Box::new(Selected {
            id: MailboxId(folder.id),
            name: name.clone(),
            uid_validity: validity(folder.id),
            uid_next: uid(folder.next),
            highest_modseq: ModSeq(folder.modseq),
            uids: Arc::new(folder.uids()),
            first_unseen: unseen.map(|(value, _)| uid(*value)),
            keywords: Vec::new(),
            keywords_grow: true,
            read_only,
            special_use: folder.special_use.clone(),
        }))
    }

    fn fetch(&mut self, mailbox: MailboxId, uids: &UidSet, want: Want, budget: u64) -> Answer {
        let folder = self.folders.values().find(|folder| folder.id == mailbox.0).unwrap();
        let (mut messages, mut through, mut bytes) = (Vec::new(), uids.first().unwrap(), 0);
        for of in uids.iter() {
            if let Some(mail) = folder.mails.get(&of.value())
                && want.changed_since.is_none_or(|since| mail.modseq > since)
            {
                let size = mail.body.len() as u64;
                let fits = want.body && size <= budget;
                if fits && bytes + size > budget {
                    break;
                }
                bytes += if fits { size } else { 0 };
                let body_key = key_of(self.handed_out.len());
                self.handed_out.push((body_key, mail.body.clone()));
                messages.push(Message {
                    uid: of,
                    flags: mail.flags.clone(),
                    modseq: mail.modseq,
                    internal_date: mail.date,
                    size_bytes: size,
                    email_id: mail.email_id,
                    save_date: None,
                    structure: want.structure.then(|| mail.structure.clone()),
                    body_key,
                    body: fits.then(|| vec![mail.body.clone()]),
                });
            }
            through = of;
        }
        let modseq = ModSeq(folder.modseq);
        self.largest_answer = self.largest_answer.max(bytes);
        Answer::Fetched { messages, through, modseq }
    }

    fn store(
        &mut self,
        mailbox: MailboxId,
        uids: &UidSet,
        how: StoreAction,
        flags: &Flags,
        unchanged_since: Option<ModSeq>,
    ) -> Answer {
        let folder = self.by_id(mailbox);
        let next = ModSeq(folder.modseq + 1);
        let (mut messages, mut modified, mut own_modseq) = (Vec::new(), UidSet::new(), None);
        for of in uids.iter() {
            let Some(mail) = folder.mails.get_mut(&of.value()) else { continue };
            if unchanged_since.is_some_and(|since| mail.modseq > since) {
                modified.insert(of);
                continue;
            }
            let mut now = if how == StoreAction::Replace { Flags::default() } else { mail.flags.clone() };
            if how == StoreAction::Remove {
                now.system = now.system.without(flags.system);
                now.keywords.retain(|keyword| !flags.keywords.contains(keyword));
            } else {
                now.system = now.system.with(flags.system);
                flags.keywords.iter().for_each(|keyword| now.add_keyword(keyword.clone()));
            }
            if now != mail.flags {
                mail.flags = now;
                mail.modseq = next;
                own_modseq = Some(next);
            }
            messages.push(Changed { uid: of, flags: mail.flags.clone(), modseq: mail.modseq });
        }
        folder.modseq = own_modseq.map_or(folder.modseq, |own| own.0);
        let modseq = ModSeq(folder.modseq);
        Answer::Stored { messages, modified, own_modseq, modseq }
    }

    fn copy(&mut self, mailbox: MailboxId, uids: &UidSet, to: &str, remove: bool) -> Answer {
        if !self.folders.contains_key(to) {
            return Answer::Failed(Failure::NonExistent);
        }
        let (mut source, mut target) = (UidSet::new(), UidSet::new());
        for of in uids.iter() {
            let Some(mail) = self.by_id(mailbox).mails.get(&of.value()).cloned() else { continue };
            let into = self.folder(to);
            into.modseq += 1;
            let value = into.next;
            into.next += 1;
            into.mails.insert(value, Mail { modseq: ModSeq(into.modseq), ..mail });
            source.insert(of);
            target.insert(uid(value));
        }
        let uid_validity = validity(self.folder(to).id);
        let folder = self.by_id(mailbox);
        if remove && !source.is_empty() {
            folder.mails.retain(|value, _| !source.contains(uid(*value)));
            folder.modseq += 1;
        }
        Answer::Copied { uid_validity, source, target, modseq: ModSeq(folder.modseq) }
    }

    fn changes(&mut self, mailbox: MailboxId, since: ModSeq, known: &UidSet, limit: u32) -> Answer {
        let Some(folder) = self.folders.values().find(|folder| folder.id == mailbox.0) else {
            return Answer::Failed(Failure::MailboxGone);
        };
        let uids = folder.uids();
        let mut changed: Vec<Changed> = folder
            .mails
            .iter()
            .filter(|(value, mail)| mail.modseq > since && known.contains(uid(**value)))
            .map(|(value, mail)| Changed { uid: uid(*value), flags: mail.flags.clone(), modseq: mail.modseq })
            .collect();
        changed.sort_by_key(|one| one.modseq);
        let more = changed.len() > limit as usize;
        let arrived = known.last().map_or_else(|| uids.clone(), |last| uids.after(last));
        if more {
            // Whole moments only.
            let first = changed[0].modseq;
            let cut = changed[limit as usize].modseq;
            changed.retain(|one| one.modseq < cut || one.modseq == first);
            let through = changed.last().unwrap().modseq;
            return Answer::Changed(Changes { changed, through, more, ..Changes::default() });
        }
        let vanished = known.difference(&uids);
        Answer::Changed(Changes { changed, vanished, arrived, through: ModSeq(folder.modseq), more })
    }
}

fn login(user: &str, password: &Secret, authorization: &str) -> Answer {
    if !authorization.is_empty() && authorization != user {
        return Answer::Refused(Refusal::Authorization);
    }
    match (user, &password.0[..]) {
        ("user", b"secret") => Answer::LoggedIn { append_limit: 1_000_000 },
        ("late", _) => Answer::Failed(Failure::Unavailable),
        _ => Answer::Refused(Refusal::Credentials),
    }
}

/// The key of what is handed out next.
fn key_of(number: usize) -> BodyKey {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(number as u64).to_be_bytes());
    BodyKey(key)
}
