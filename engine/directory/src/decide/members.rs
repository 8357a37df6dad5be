//! Redirections and the members of groups.

use super::Draft;
use crate::command::Reply;
use crate::model::{Destination, Redirection};
use crate::refusal::Refusal;
use crate::rows::Record;
use estafette_types::AccountId;

/// Destinations of one alias or redirection at most.
const DESTINATIONS_MAX: usize = 1_000;
/// Members of one group at most.
const MEMBERS_MAX: usize = 5_000;

impl Draft<'_> {
    /// Each once, in the order given; all must be able to take mail.
    pub(super) fn destinations(
        &self,
        given: &[Destination],
        field: &str,
        max: usize,
    ) -> Result<Vec<Destination>, Refusal> {
        if given.len() > max {
            return Err(Refusal::TooMany { field: field.to_owned(), max: max as u64 });
        }
        let mut seen = std::collections::BTreeSet::new();
        let mut kept = Vec::with_capacity(given.len());
        for destination in given {
            if let Destination::Account(id) = destination {
                self.directory.need_mailbox(*id)?;
            }
            if seen.insert(destination) {
                kept.push(destination.clone());
            }
        }
        Ok(kept)
    }

    /// Those of an alias or a redirection.
    pub(super) fn few_destinations(&self, given: &[Destination]) -> Result<Vec<Destination>, Refusal> {
        self.destinations(given, "destinations", DESTINATIONS_MAX)
    }

    pub(super) fn words<'d>(&self, list: impl IntoIterator<Item = &'d Destination>) -> String {
        let names: Vec<String> = list.into_iter().map(|d| self.directory.destination_name(d)).collect();
        names.join(" ")
    }

    pub(super) fn set_redirection(
        &mut self,
        id: AccountId,
        redirection: Option<&Redirection>,
    ) -> Result<Reply, Refusal> {
        self.directory.need_mailbox(id)?;
        let mut account = self.edit(id)?;
        let after = match redirection {
            None => None,
            Some(given) if given.to.is_empty() => return Err(Refusal::NoDestinations),
            Some(given) => {
                let to = self.few_destinations(&given.to)?;
                Some(Box::new(Redirection { to, keep_copy: given.keep_copy }))
            }
        };
        let before = std::mem::replace(&mut account.redirection, after);
        self.check_account_loop(&account)?;
        let (old, new) = (before.as_deref(), account.redirection.as_deref());
        let (old_words, new_words) = (old.map(|r| self.words(&r.to)), new.map(|r| self.words(&r.to)));
        self.notes.changed("to", old_words, new_words);
        self.notes.changed("keep-copy", old.map(|r| r.keep_copy), new.map(|r| r.keep_copy));
        self.put(Record::Account(account));
        Ok(Reply::Done)
    }

    pub(super) fn change_members(
        &mut self,
        id: AccountId,
        add: &[Destination],
        remove: &[Destination],
        keep_copy: Option<bool>,
    ) -> Result<Reply, Refusal> {
        self.directory.need_mailbox(id)?;
        let mut account = self.edit(id)?;
        let add = self.destinations(add, "members", MEMBERS_MAX)?;
        let group = account.group.get_or_insert_default();
        let gone: std::collections::BTreeSet<&Destination> = remove.iter().collect();
        group.members.retain(|member| !gone.contains(member));
        for member in &add {
            if !group.members.contains(member) {
                group.members.push(member.clone());
            }
        }
        if group.members.len() > MEMBERS_MAX {
            return Err(Refusal::TooMany { field: "members".to_owned(), max: MEMBERS_MAX as u64 });
        }
        if let Some(keep_copy) = keep_copy {
            self.notes.changed("keep-copy", Some(group.keep_copy), Some(keep_copy));
            group.keep_copy = keep_copy;
        }
        if group.members.is_empty() && !group.keep_copy {
            account.group = None;
        }
        self.check_account_loop(&account)?;
        let (added, removed) = (self.words(&add), self.words(remove));
        self.notes.changed("removed", Some(removed).filter(|words| !words.is_empty()), None);
        self.notes.changed("added", None, Some(added).filter(|words| !words.is_empty()));
        self.put(Record::Account(account));
        Ok(Reply::Done)
    }
}
