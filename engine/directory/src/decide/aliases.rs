//! Aliases. An alias may share its name with an account's address only while it delivers locally too,
//! so that no alias takes an account's mail away unseen.

use super::{Draft, at};
use crate::command::{NewAlias, Reply};
use crate::model::{Alias, AliasId, AliasOptions, Destination};
use crate::refusal::Refusal;
use crate::resolve::{Lens, Node};
use crate::rows::Record;
use crate::tables::Usage;

impl Draft<'_> {
    pub(super) fn create_alias(&mut self, new: &NewAlias) -> Result<Reply, Refusal> {
        let entry = self.directory.need_domain(new.domain)?;
        if entry.holder(&new.local).alias.is_some() {
            return Err(Refusal::NameTaken { name: at(&new.local, &entry.record) });
        }
        let alias = Alias {
            id: self.next_alias()?,
            domain: new.domain,
            local: new.local.clone(),
            destinations: self.few_destinations(&new.destinations)?,
            options: new.options,
            created_ms: self.time_ms,
        };
        let asked = Usage { aliases: u64::from(!alias.is_default()), ..Usage::default() };
        self.check_growth(new.domain, Usage::default(), asked)?;
        self.check_alias(&alias)?;
        self.note_alias(None, &alias);
        let id = alias.id;
        self.put(Record::Alias(alias));
        Ok(Reply::Alias(id))
    }

    pub(super) fn change_alias(
        &mut self,
        id: AliasId,
        destinations: &[Destination],
        options: AliasOptions,
    ) -> Result<Reply, Refusal> {
        let before = self.directory.need_alias(id)?;
        let destinations = self.few_destinations(destinations)?;
        let alias = Alias { destinations, options, ..Alias::clone(before) };
        self.check_alias(&alias)?;
        self.note_alias(Some(before), &alias);
        self.put(Record::Alias(alias));
        Ok(Reply::Done)
    }

    fn check_alias(&self, alias: &Alias) -> Result<(), Refusal> {
        let entry = self.directory.need_domain(alias.domain)?;
        let AliasOptions { deliver_locally, bounce, everyone } = alias.options;
        if bounce && alias.is_default() {
            return Err(Refusal::DefaultAddress { name: alias.local.to_string() });
        }
        // A default address must lead somewhere also when the account beside it has gone.
        let acts = everyone || (!alias.is_default() && (deliver_locally || bounce));
        if alias.destinations.is_empty() && !acts {
            return Err(Refusal::NoDestinations);
        }
        if entry.holder(&alias.local).account.is_some() && (!deliver_locally || bounce) {
            return Err(Refusal::NameTaken { name: at(&alias.local, &entry.record) });
        }
        let lens = Lens { alias: Some(alias), ..Lens::saving(self.directory) };
        lens.check_loop(Node::Alias(alias.id))
    }

    fn note_alias(&mut self, before: Option<&Alias>, after: &Alias) {
        if let Some(domain) = self.directory.domain(after.domain) {
            self.notes.object = at(&after.local, domain);
        }
        let was = before.map(|alias| self.words(&alias.destinations));
        let is = self.words(&after.destinations);
        self.notes.changed("destinations", was, Some(is));
        let (old, new) = (before.map_or_else(AliasOptions::default, |alias| alias.options), after.options);
        self.notes.changed("deliver-locally", Some(old.deliver_locally), Some(new.deliver_locally));
        self.notes.changed("bounce", Some(old.bounce), Some(new.bounce));
        self.notes.changed("everyone", Some(old.everyone), Some(new.everyone));
    }
}
