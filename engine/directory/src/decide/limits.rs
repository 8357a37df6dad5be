//! The limits of plans. A plan counts over a domain and its sub-domains together.

use super::Draft;
use crate::command::QuotaChoice;
use crate::model::{HostedDomain, Plan, PlanFields};
use crate::refusal::{LimitKind, Refusal};
use crate::tables::Usage;
use estafette_types::DomainId;

/// Refuses when something grows past its limit. What is past it already may stay and may shrink.
fn check(limit: LimitKind, allowed: Option<u64>, total: u64, before: u64, after: u64) -> Result<(), Refusal> {
    let asked = after.saturating_sub(before);
    match allowed {
        Some(allowed) if asked > 0 && total.saturating_add(asked) > allowed => {
            Err(Refusal::PlanLimit { limit, allowed, used: total, asked })
        }
        _ => Ok(()),
    }
}

/// Whether a family that uses `total` may replace `before` by `after`.
pub(super) fn check_usage(
    plan: &PlanFields,
    total: Usage,
    before: Usage,
    after: Usage,
) -> Result<(), Refusal> {
    let (boxes, aliases) = (plan.mailboxes.map(u64::from), plan.aliases.map(u64::from));
    check(LimitKind::Mailboxes, boxes, total.mailboxes, before.mailboxes, after.mailboxes)?;
    check(LimitKind::Storage, plan.storage_bytes, total.quota_bytes, before.quota_bytes, after.quota_bytes)?;
    check(LimitKind::Aliases, aliases, total.aliases, before.aliases, after.aliases)?;
    match plan.storage_bytes {
        Some(allowed) if after.unlimited > before.unlimited => Err(Refusal::PlanLimit {
            limit: LimitKind::Storage,
            allowed,
            used: total.quota_bytes,
            asked: u64::MAX,
        }),
        _ => Ok(()),
    }
}

/// Whether a family may have this many sub-domains more.
pub(super) fn check_subdomains(plan: &PlanFields, total: u64, more: u64) -> Result<(), Refusal> {
    check(LimitKind::Subdomains, plan.subdomains.map(u64::from), total, 0, more)
}

impl Draft<'_> {
    pub(super) fn plan_of(&self, domain: &HostedDomain) -> Result<&Plan, Refusal> {
        self.directory.plan_of(domain).ok_or(Refusal::UnknownPlan)
    }

    /// Whether a domain may replace `before` by `after` within its plan.
    pub(super) fn check_growth(&self, domain: DomainId, before: Usage, after: Usage) -> Result<(), Refusal> {
        let record = &self.directory.need_domain(domain)?.record;
        let total = self.directory.family_usage(self.directory.root_of(record));
        check_usage(&self.plan_of(record)?.fields, total, before, after)
    }
}

/// A quota in bytes; `None` is unlimited.
pub(super) fn quota_bytes(choice: QuotaChoice, default_bytes: u64) -> Result<Option<u64>, Refusal> {
    match choice {
        QuotaChoice::Default => Ok(Some(default_bytes)),
        QuotaChoice::Bytes(0) => Err(Refusal::InvalidText { field: "quota".to_owned() }),
        QuotaChoice::Bytes(bytes) => Ok(Some(bytes)),
        QuotaChoice::Unlimited => Ok(None),
    }
}
