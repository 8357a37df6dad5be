//! The directory of a run: one domain and its accounts.

use super::cluster::Cluster;
use super::node::Live;
use estafette_directory::{
    Actor, Administrator, Change, Command, NewAccount, NewDomain, Origin, PlanFields, PlanId, QuotaChoice,
    Refusal, Reply, Role, Standing,
};
use estafette_mailbox::AccountRef;
use estafette_raft::{NodeId, Order, Proposal};
use estafette_types::{AccountId, Address, Domain, LocalPart, ShardId};
use std::sync::Arc;
use std::time::Duration;

const DOMAIN: &str = "sim.example";
/// Tries until the cluster works for the first time.
const TRIES_MAX: u32 = 60;

/// Why a change of the directory was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error(transparent)]
    Raft(#[from] estafette_raft::Error),
    #[error("the directory refuses: {0}")]
    Refused(Refusal),
    #[error("the directory's answer cannot be read")]
    Answer,
}

/// Whether the change may have been made, or be made later.
pub(super) fn is_unclear(error: &SetupError) -> bool {
    use estafette_raft::Error as Raft;
    !matches!(
        error,
        SetupError::Raft(Raft::NotLeader { .. } | Raft::Unavailable { .. } | Raft::Full)
            | SetupError::Refused(_)
    )
}

async fn change(live: &Live, change: Change) -> Result<Reply, SetupError> {
    let command = Command { actor: Actor::System, origin: Origin::Internal, change };
    let command = command.encode().map_err(|_| SetupError::Answer)?.into();
    let answer = live.control.propose(Proposal { command, bodies: Vec::new() }).await?;
    Reply::decode_applied(&answer).map_err(|_| SetupError::Answer)?.map_err(SetupError::Refused)
}

fn account(name: &str, shard: ShardId) -> Option<NewAccount> {
    Some(NewAccount {
        local: LocalPart::parse(name).ok()?,
        real_name: String::new(),
        quota: QuotaChoice::Default,
        password_hash: None,
        role: Role::Owner,
        shard,
    })
}

/// Makes an account in the domain.
pub(super) async fn create_account(live: &Live, name: &str, shard: ShardId) -> Result<(), SetupError> {
    let domain = {
        let directory = live.view.read();
        let name = Domain::parse(DOMAIN).map_err(|_| SetupError::Answer)?;
        directory.domain_named(&name).map(|domain| domain.id)
    };
    // A replica that has not heard of it yet.
    let unavailable = estafette_raft::Error::Unavailable { group: live.control.id() };
    let (Some(domain), Some(account)) = (domain, account(name, shard)) else {
        return Err(unavailable.into());
    };
    change(live, Change::CreateAccount { domain, account }).await.map(|_| ())
}

/// Whether a node knows this account.
pub(super) fn knows(live: &Live, name: &str) -> bool {
    let address = Address::parse(&format!("{name}@{DOMAIN}"));
    address.is_ok_and(|address| live.view.read().account_at(&address).is_some())
}

/// Makes the domain and the accounts that mail goes to.
pub(super) async fn fill(cluster: &Cluster) -> Result<Vec<AccountRef>, String> {
    let live = cluster.live(1).ok_or("node 1 is not there")?;
    let mut last = String::new();
    for _ in 0..TRIES_MAX {
        if let Err(error) = members(&live, cluster.plan().nodes).await {
            last = error.to_string();
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        }
        match live.ask(make_domain(&live, cluster)).await {
            Some(Ok(())) => return Ok(accounts(cluster)),
            Some(Err(SetupError::Refused(_))) => return Ok(accounts(cluster)),
            Some(Err(error)) => last = error.to_string(),
            None => "no answer".clone_into(&mut last),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(last)
}

/// Makes all nodes voters of all groups. Done again, it does no harm.
async fn members(live: &Live, nodes: u64) -> Result<(), SetupError> {
    for group in live.groups() {
        group.ready().await?;
        for node in 2..=nodes {
            group.order(Order::AddLearner(NodeId(node))).await?;
        }
        group.order(Order::Voters((1..=nodes).map(NodeId).collect())).await?;
    }
    Ok(())
}

async fn make_domain(live: &Arc<Live>, cluster: &Cluster) -> Result<(), SetupError> {
    change(live, Change::SetShards { shards: cluster.plan().shards() }).await?;
    let name = "all".to_owned();
    let plan = PlanFields { name, storage_bytes: None, mailboxes: None, subdomains: None, aliases: None };
    change(live, Change::CreatePlan(plan)).await?;
    let domain = NewDomain {
        name: Domain::parse(DOMAIN).map_err(|_| SetupError::Answer)?,
        prefix: None,
        standing: Standing::Plan(PlanId(1)),
        description: String::new(),
        contact: None,
        default_quota_bytes: None,
        administrator: Administrator::New(account("admin", ShardId(1)).ok_or(SetupError::Answer)?),
    };
    change(live, Change::CreateDomain(domain)).await.map(|_| ())
}

/// Mail goes to accounts by their numbers, which the mailboxes take as they come.
fn accounts(cluster: &Cluster) -> Vec<AccountRef> {
    let shards = cluster.plan().shards();
    let numbers = 0..cluster.plan().accounts;
    let place = |number: u32| usize::try_from(number).unwrap_or_default() % shards.len().max(1);
    let account = |number: u32| {
        let shard = shards.get(place(number)).copied().unwrap_or(ShardId(1));
        AccountRef { shard, account: AccountId(1_000 + u64::from(number)) }
    };
    numbers.map(account).collect()
}
