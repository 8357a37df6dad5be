//! A cluster of real nodes: each in a network namespace of its own with a disk of its own, on links that can be
//! cut, lossy or slow.
//!
//! Rounds ([`rounds`]) draw one to three faults ([`faults`]), which overlap under load; then all is healed, and
//! what clients were told is held against what every node shows ([`judge`]). Faults take hold of members by
//! their locks; two that touch the same node's process or disk never run at once.

mod control;
mod disk;
mod enter;
mod faults;
mod gaps;
mod judge;
mod member;
mod net;
mod operator;
mod prober;
mod proxy;
mod repairs;
mod report;
mod rounds;

pub(crate) use enter::enter;
pub(crate) use report::{ClusterReport, name as fault_name, names as fault_names};
pub(crate) use rounds::{Order, run};

use crate::error::{ChaosError, Stop};
use crate::finding::Finding;
use crate::load::Target;
use crate::node;
use crate::random::Random;
use control::Status;
use member::{Accounts, Manner, Member};
use net::{Net, Number};
use proxy::Links;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// A client of a cluster waits so long for an answer: longer than any fault holds.
const PATIENCE: Duration = Duration::from_secs(25);

/// For the shards of a new cluster to be spread over its nodes.
const SPREAD_WAIT: Duration = Duration::from_secs(180);

/// The nodes and what is between them.
#[derive(Debug)]
pub(crate) struct Cluster {
    manner: Manner,
    net: Net,
    links: Links,
    /// Those of the cluster from the start, then the one that joins and leaves.
    members: Vec<Mutex<Member>>,
    nodes: usize,
    accounts: Accounts,
    next_id: Arc<AtomicU64>,
    /// Bits that a fault flips which flips any, and those that were flipped in this round.
    flips: u64,
    flipped: AtomicU64,
    /// Nodes that were emptied in this round because they said that they are damaged, or the check did.
    replaced: AtomicU64,
    /// Leaders that were killed in this round while they sent a snapshot.
    snapshots_interrupted: AtomicU64,
}

impl Cluster {
    /// Brings up so many nodes of one cluster. One more place is made ready when there are several.
    async fn start(manner: Manner, nodes: usize, flips: u64, random: &mut Random) -> Result<Cluster, Stop> {
        let places = if manner.mesh { nodes + 1 } else { nodes };
        let net = Net::build(places)?;
        let links = Links::open(places).await?;
        let mut members = Vec::new();
        for number in 1..=places {
            members.push(Mutex::new(Member::make(manner.clone(), number)?));
        }
        let accounts = Accounts { logins: Vec::new(), addresses: Vec::new() };
        let next_id = Arc::new(AtomicU64::new(1));
        let mut cluster = Cluster {
            manner,
            net,
            links,
            members,
            nodes,
            accounts,
            next_id,
            flips,
            flipped: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            snapshots_interrupted: AtomicU64::new(0),
        };
        {
            let mut first = cluster.member(1).await?;
            first.launch(random)?;
            let accounts = first.serving("on an empty folder").await?.ok_or(ChaosError::NoAccounts)?;
            drop(first);
            cluster.accounts = accounts;
        }
        for number in 2..=nodes {
            let data = cluster.data(1);
            let token = match number {
                2 => control::init(cluster.program(), &data).await?,
                _ => control::token(cluster.program(), &data).await?,
            };
            let mut member = cluster.member(number).await?;
            control::join(&mut member, &token, random).await?;
            member.launch(random)?;
            member.serving("after it joined").await?;
        }
        // Until shards are spread, some have one replica only, and faults would take that.
        if !cluster.settle(SPREAD_WAIT).await {
            let status = cluster.status().await.map_or_else(|| "none".to_owned(), |status| status.text);
            return Err(Finding::NotSettled { seconds: SPREAD_WAIT.as_secs(), status }.into());
        }
        Ok(cluster)
    }

    /// Takes hold of a node.
    async fn member(&self, number: Number) -> Result<MutexGuard<'_, Member>, ChaosError> {
        match self.members.get(number.saturating_sub(1)) {
            Some(member) => Ok(member.lock().await),
            None => Err(ChaosError::NoNode(number)),
        }
    }

    fn program(&self) -> &std::path::Path {
        &self.manner.program
    }

    fn data(&self, number: Number) -> PathBuf {
        self.manner.folder.join(format!("n{number}")).join("data")
    }

    /// What the first node that answers says of the cluster. `None` where nodes know of no cluster, too.
    async fn status(&self) -> Option<Status> {
        self.status_but(0).await
    }

    /// The same, of any node but one.
    async fn status_but(&self, number: Number) -> Option<Status> {
        if !self.manner.mesh {
            return None;
        }
        for other in (1..=self.nodes).filter(|other| *other != number) {
            if let Some(status) = control::status(self.program(), &self.data(other)).await {
                return Some(status);
            }
        }
        None
    }

    /// Waits until all nodes serve, then until no replica is behind; true if that came in time. A node that is damaged
    /// ends it: somebody has to act first.
    async fn settle(&self, wait: Duration) -> bool {
        if !self.manner.mesh {
            return true;
        }
        let end = tokio::time::Instant::now() + wait;
        loop {
            if self.status().await.is_some_and(|status| status.settled()) {
                return true;
            }
            if tokio::time::Instant::now() > end || self.has_damaged().await {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// True if a node says that it is damaged, and was damaged by a fault.
    async fn has_damaged(&self) -> bool {
        for member in &self.members {
            if member.lock().await.says_damaged() {
                return true;
            }
        }
        false
    }

    /// True if a node may be damaged by a fault.
    async fn has_flipped(&self) -> bool {
        for member in &self.members {
            if member.lock().await.flipped {
                return true;
            }
        }
        false
    }

    /// Where clients go, and to whom. Those that remove messages or flag them have all accounts but those that
    /// are probed.
    fn target(&self, probed: usize) -> Target {
        let logins: Vec<_> = self.accounts.logins.clone();
        let kept = logins.len().saturating_sub(probed);
        Target {
            doors: (1..=self.nodes).map(|number| node::doors(net::own(number))).collect(),
            patience: PATIENCE,
            logins: logins.into_iter().take(kept).collect(),
            recipients: self.accounts.addresses.clone().into(),
            next_id: Arc::clone(&self.next_id),
        }
    }
}
