//! Plans and settings: what only operators change.

use super::{Draft, check_text};
use crate::command::Reply;
use crate::model::{Plan, PlanFields, PlanId, Settings, Standing};
use crate::refusal::Refusal;
use crate::rows::{Record, RecordName};

impl Draft<'_> {
    pub(super) fn create_plan(&mut self, fields: &PlanFields) -> Result<Reply, Refusal> {
        self.check_plan_fields(fields, None)?;
        let id = self.next_plan()?;
        self.notes.object.clone_from(&fields.name);
        self.note_plan(None, fields);
        self.put(Record::Plan(Plan { id, fields: fields.clone() }));
        Ok(Reply::Plan(id))
    }

    pub(super) fn change_plan(&mut self, id: PlanId, fields: &PlanFields) -> Result<Reply, Refusal> {
        let plan = self.directory.plan(id).ok_or(Refusal::UnknownPlan)?;
        self.check_plan_fields(fields, Some(id))?;
        self.notes.object.clone_from(&plan.fields.name);
        self.note_plan(Some(&plan.fields), fields);
        self.put(Record::Plan(Plan { id, fields: fields.clone() }));
        Ok(Reply::Done)
    }

    pub(super) fn delete_plan(&mut self, id: PlanId) -> Result<Reply, Refusal> {
        let plan = self.directory.plan(id).ok_or(Refusal::UnknownPlan)?;
        let has = |standing| standing == Standing::Plan(id);
        let domains = self.directory.domains.values().filter(|entry| has(entry.record.standing)).count();
        if domains > 0 {
            return Err(Refusal::PlanInUse { domains: u32::try_from(domains).unwrap_or(u32::MAX) });
        }
        self.notes.object.clone_from(&plan.fields.name);
        self.remove(RecordName::Plan(id));
        Ok(Reply::Done)
    }

    fn check_plan_fields(&self, fields: &PlanFields, own: Option<PlanId>) -> Result<(), Refusal> {
        check_text("name", &fields.name, false)?;
        match self.directory.plan_named(&fields.name) {
            Some(other) if Some(other.id) != own => Err(Refusal::NameTaken { name: fields.name.clone() }),
            _ => Ok(()),
        }
    }

    fn note_plan(&mut self, before: Option<&PlanFields>, after: &PlanFields) {
        let notes = &mut self.notes;
        notes.changed("name", before.map(|b| &b.name), Some(&after.name));
        notes.changed("storage-bytes", before.and_then(|b| b.storage_bytes), after.storage_bytes);
        notes.changed("mailboxes", before.and_then(|b| b.mailboxes), after.mailboxes);
        notes.changed("subdomains", before.and_then(|b| b.subdomains), after.subdomains);
        notes.changed("aliases", before.and_then(|b| b.aliases), after.aliases);
    }

    pub(super) fn set_settings(&mut self, settings: &Settings) -> Result<Reply, Refusal> {
        if let Some(domain) = settings.postmaster_domain {
            self.directory.need_domain(domain)?;
        }
        let separates = |c: char| c.is_ascii_punctuation() && !matches!(c, '@' | '.' | '"' | '\\');
        if settings.detail_separator.is_some_and(|c| !separates(c)) {
            return Err(Refusal::InvalidText { field: "detail-separator".to_owned() });
        }
        if settings.audit_days == 0 {
            return Err(Refusal::InvalidText { field: "audit-days".to_owned() });
        }
        let before = self.directory.settings();
        self.notes.changed("audit-days", Some(before.audit_days), Some(settings.audit_days));
        self.notes.changed("detail-separator", before.detail_separator, settings.detail_separator);
        self.notes.changed("postmaster-domain", before.postmaster_domain, settings.postmaster_domain);
        self.put(Record::Settings(settings.clone()));
        Ok(Reply::Done)
    }
}
