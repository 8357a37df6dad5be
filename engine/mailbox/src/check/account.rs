//! One account: its own rows come first, then its mailboxes.

use super::mailbox::MailboxCheck;
use super::{Report, prefix};
use crate::apply::FOR_EVER;
use crate::command::Response;
use crate::error::Error;
use crate::key::{AccountRef, Kind, Parsed};
use crate::name::MailboxName;
use crate::rows::{AccountRow, AccountState, Delivered, NameRow};
use estafette_storage::{BodyHash, Read};
use estafette_types::MailboxId;
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct AccountCheck {
    at: AccountRef,
    row: Option<AccountRow>,
    names: BTreeMap<MailboxName, NameRow>,
    /// Mailboxes that a name leads to, and whether their rows were seen.
    named: BTreeMap<MailboxId, bool>,
    doomed: BTreeSet<MailboxId>,
    validities: BTreeSet<u32>,
    bytes: u64,
    messages: u64,
    mailbox: Option<MailboxCheck>,
}

impl AccountCheck {
    pub(super) fn new(at: AccountRef) -> AccountCheck {
        AccountCheck {
            at,
            row: None,
            names: BTreeMap::new(),
            named: BTreeMap::new(),
            doomed: BTreeSet::new(),
            validities: BTreeSet::new(),
            bytes: 0,
            messages: 0,
            mailbox: None,
        }
    }

    pub(super) fn at(&self) -> AccountRef {
        self.at
    }

    pub(super) fn row<R: Read + ?Sized>(
        &mut self,
        rows: &R,
        key: &[u8],
        parsed: Parsed<'_>,
        value: &[u8],
        report: &mut Report,
        reference: &mut dyn FnMut(BodyHash, u64),
    ) -> Result<(), Error> {
        // While they come or go, rows do not fit each other; their references are exact all the same.
        let mut passed_over = Report::default();
        let report = if self.is_partial() { &mut passed_over } else { report };
        if parsed.at.mailbox == MailboxId(0) {
            if self.own_row(key, parsed, value, report).is_none() {
                report.problem(key, format!("the {} row cannot be read", parsed.kind.name()));
            }
            return Ok(());
        }
        if self.mailbox.as_ref().is_none_or(|check| check.at != parsed.at) {
            self.finish_mailbox(report);
            self.mailbox = Some(MailboxCheck::new(parsed.at));
        }
        match &mut self.mailbox {
            Some(check) => check.row(rows, key, parsed, value, report, reference),
            None => Ok(()),
        }
    }

    fn is_partial(&self) -> bool {
        let state = self.row.map(|row| row.state);
        matches!(state, Some(AccountState::Arriving | AccountState::Leaving))
    }

    fn own_row(&mut self, key: &[u8], parsed: Parsed<'_>, value: &[u8], report: &mut Report) -> Option<()> {
        let name = || MailboxName::parse(std::str::from_utf8(parsed.tail).ok()?).ok();
        match parsed.kind {
            Kind::Account => self.row = Some(AccountRow::decode(value)?),
            Kind::Name => {
                let row = NameRow::decode(value)?;
                if row.mailbox.is_some_and(|id| self.named.insert(id, false).is_some()) {
                    report.problem(key, "two names lead to the mailbox");
                }
                self.names.insert(name()?, row);
            }
            Kind::Subscription => drop(name()?),
            Kind::Delivery => self.delivery(key, parsed, value, report)?,
            Kind::Request => self.request(key, parsed, value, report)?,
            Kind::Doomed => drop(self.doomed.insert(MailboxId(parsed.number()?))),
            _ => return None,
        }
        Some(())
    }

    fn delivery(&self, key: &[u8], parsed: Parsed<'_>, value: &[u8], report: &mut Report) -> Option<()> {
        let (period, id) = parsed.tail.split_first_chunk::<4>()?;
        Delivered::decode(value).filter(|_| id.len() == 20)?;
        let (period, newest) = (u32::from_be_bytes(*period), self.row.map_or(0, |row| row.delivery_period));
        if period != FOR_EVER && (period > newest || period.saturating_add(1) < newest) {
            report.problem(key, "the delivery lies in a period that should not be there");
        }
        Some(())
    }

    fn request(&self, key: &[u8], parsed: Parsed<'_>, value: &[u8], report: &mut Report) -> Option<()> {
        let (period, id) = parsed.tail.split_first_chunk::<4>()?;
        Response::decode(value).ok().filter(|_| id.len() == 16)?;
        let (period, newest) = (u32::from_be_bytes(*period), self.row.map_or(0, |row| row.request_period));
        if period > newest || period.saturating_add(1) < newest {
            report.problem(key, "the named command lies in a period that should not be there");
        }
        Some(())
    }

    fn finish_mailbox(&mut self, report: &mut Report) {
        let Some(check) = self.mailbox.take() else { return };
        let key = prefix(check.at);
        let id = check.at.mailbox;
        let named = self.named.contains_key(&id);
        check.finish(named, report);
        if named {
            self.named.insert(id, true);
            self.bytes = self.bytes.saturating_add(check.bytes);
            self.messages = self.messages.saturating_add(check.messages);
            report.mailboxes += 1;
        } else if !self.doomed.contains(&id) && self.row.is_none_or(|row| row.state != AccountState::Doomed) {
            report.problem(&key, "rows of a mailbox that does not exist");
        }
        // One that was deleted on its way here never gave any out.
        let Some(account) = self.row.filter(|row| row.state.is_whole()) else { return };
        if id >= account.next_mailbox {
            report.problem(&key, "the mailbox has a number that was not given out");
        }
        if check.last_email >= account.next_email.0 {
            report.problem(&key, "a message has an EMAILID that was not given out");
        }
        if let Some(row) = &check.row {
            let validity = row.uid_validity.0.get();
            if !self.validities.insert(validity) || validity > account.last_uid_validity {
                report.problem(&key, "the UIDVALIDITY was given out twice, or not at all");
            }
        }
    }

    pub(super) fn finish(mut self, report: &mut Report) {
        if self.is_partial() {
            return;
        }
        self.finish_mailbox(report);
        let key = prefix(self.at.mailbox(MailboxId(0)));
        let Some(row) = self.row else {
            report.problem(&key, "the account has no row of its own");
            return;
        };
        if !row.state.is_whole() {
            if !self.names.is_empty() {
                report.problem(&key, "a deleted account has mailboxes");
            }
            return;
        }
        report.accounts += 1;
        report.messages = report.messages.saturating_add(self.messages);
        report.bytes = report.bytes.saturating_add(self.bytes);
        report.equal(&key, "bytes of the account", row.bytes, self.bytes);
        report.equal(&key, "messages of the account", row.messages, self.messages);
        report.equal(&key, "mailboxes of the account", u64::from(row.mailboxes), self.names.len() as u64);
        for (id, seen) in &self.named {
            if !seen {
                report.problem(&prefix(self.at.mailbox(*id)), "a name leads to a mailbox without rows");
            }
        }
        if !self.names.contains_key(&MailboxName::inbox()) {
            report.problem(&key, "there is no INBOX");
        }
        let mut uses = Vec::new();
        for (name, name_row) in &self.names {
            let name_key = self.at.key(Kind::Name, name.as_str().as_bytes());
            if name.parent().is_some_and(|parent| !self.names.contains_key(&parent)) {
                report.problem(&name_key, "the level above the name does not exist");
            }
            if let Some(special_use) = name_row.special_use {
                if uses.contains(&special_use) {
                    report.problem(&name_key, "two mailboxes are for one use");
                }
                uses.push(special_use);
            }
        }
    }
}
