//! Who may change what (SPEC §1). Asked for every command whose actor is a login.

use crate::cluster::Move;
use crate::command::{Change, NewDomain};
use crate::model::{Role, Standing};
use crate::refusal::Refusal;
use crate::tables::Directory;
use estafette_types::{AccountId, DomainId};

impl Directory {
    /// The domain that a change is in; `None` for what belongs to the cluster.
    pub(crate) fn domain_of(&self, change: &Change) -> Option<DomainId> {
        match change {
            Change::CreatePlan(_)
            | Change::ChangePlan { .. }
            | Change::DeletePlan { .. }
            | Change::CreateOperator { .. }
            | Change::SetShards { .. }
            | Change::SetSettings(_)
            | Change::FoundCluster(_)
            | Change::CreateJoinToken { .. }
            | Change::RevokeJoinToken { .. }
            | Change::AdmitNode { .. }
            | Change::ChangeNode { .. }
            | Change::RemoveNode { .. }
            | Change::PlaceShard { .. }
            | Change::AddShards { .. }
            | Change::SetClusterSettings { .. }
            | Change::SetMoveRate { .. } => None,
            Change::CreateDomain(NewDomain { standing, .. }) => match standing {
                Standing::Plan(_) => None,
                Standing::Subdomain { of } => Some(*of),
            },
            Change::ChangeDomain { domain, .. }
            | Change::DeleteDomain { domain }
            | Change::AddDomainAlias { domain, .. }
            | Change::CreateAccount { domain, .. }
            | Change::SetCatchAll { domain, .. } => Some(*domain),
            Change::RemoveDomainAlias { name } => self.names.get(name).copied(),
            Change::CreateAlias(alias) => Some(alias.domain),
            Change::ChangeAlias { alias, .. } | Change::DeleteAlias { alias } => {
                self.alias(*alias).map(|alias| alias.domain)
            }
            _ => account_of(change).and_then(|id| self.account(id)).and_then(|account| account.domain),
        }
    }

    /// Refuses what the login may not do. What is not there is for the decision itself to tell, but only
    /// to operators: others learn nothing of what is not theirs.
    pub fn allowed(&self, actor: AccountId, change: &Change) -> Result<(), Refusal> {
        let account = self.account(actor).ok_or(Refusal::NotAllowed)?;
        if self.bar(account).is_some() {
            return Err(Refusal::NotAllowed);
        }
        let own = account_of(change) == Some(actor);
        let allowed = match account.role {
            Role::Operator => true,
            Role::DomainAdministrator => {
                (own && owner_may(change))
                    || (administrator_may(change)
                        && self.domain_of(change).is_some_and(|domain| self.administers(actor, domain))
                        && !self.concerns_operator(change))
            }
            Role::Owner => own && owner_may(change),
        };
        if allowed { Ok(()) } else { Err(Refusal::NotAllowed) }
    }

    /// Whether a login may see and change a domain: operators all, administrators their own and those below.
    pub fn administers(&self, actor: AccountId, domain: DomainId) -> bool {
        let Some(account) = self.account(actor) else { return false };
        match account.role {
            Role::Operator => true,
            Role::Owner => false,
            Role::DomainAdministrator => {
                let record = self.domain(domain);
                account.domain == Some(domain)
                    || record
                        .is_some_and(|d| account.domain == Some(self.root_of(d)) || d.administrator == actor)
            }
        }
    }

    /// An administrator must not take over an operator's login, nor make one.
    fn concerns_operator(&self, change: &Change) -> bool {
        let target = account_of(change).and_then(|id| self.account(id));
        let is_operator = target.is_some_and(|account| account.role == Role::Operator);
        let makes_one = match change {
            Change::CreateAccount { account, .. } => account.role == Role::Operator,
            Change::ChangeAccount { change, .. } => change.role == Some(Role::Operator),
            _ => false,
        };
        is_operator || makes_one
    }
}

/// The account that a change is about.
fn account_of(change: &Change) -> Option<AccountId> {
    match change {
        Change::ChangeAccount { account, .. }
        | Change::DeleteAccount { account }
        | Change::AddAddress { account, .. }
        | Change::EnableAddress { account, .. }
        | Change::RemoveAddress { account, .. }
        | Change::SetPassword { account, .. }
        | Change::SetServices { account, .. }
        | Change::SetRedirection { account, .. }
        | Change::AssignShard { account, .. }
        | Change::BeginMove { account, .. }
        | Change::FinishMove(Move { account, .. })
        | Change::AbandonMove(Move { account, .. })
        | Change::PostponeMove(Move { account, .. })
        | Change::ChangeMembers { group: account, .. } => Some(*account),
        _ => None,
    }
}

fn owner_may(change: &Change) -> bool {
    matches!(
        change,
        Change::SetPassword { .. } | Change::SetRedirection { .. } | Change::ChangeMembers { .. }
    )
}

fn administrator_may(change: &Change) -> bool {
    match change {
        Change::ChangeDomain { change, .. } => change.plan.is_none() && change.suspended.is_none(),
        Change::CreateAccount { .. }
        | Change::ChangeAccount { .. }
        | Change::DeleteAccount { .. }
        | Change::AddAddress { .. }
        | Change::EnableAddress { .. }
        | Change::RemoveAddress { .. }
        | Change::SetPassword { .. }
        | Change::SetServices { .. }
        | Change::SetRedirection { .. }
        | Change::ChangeMembers { .. }
        | Change::CreateAlias(_)
        | Change::ChangeAlias { .. }
        | Change::DeleteAlias { .. }
        | Change::SetCatchAll { .. } => true,
        _ => false,
    }
}
