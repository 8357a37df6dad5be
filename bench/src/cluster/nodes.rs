//! The nodes of one cluster on this machine: child processes, each with a folder of its own and an address of loopback.
//!
//! A node that is alone is made by the same hands, so that it has the same settings. Whatever is waited for has an end;
//! nodes end with this value.

use super::control::{self, Status};
use crate::error::BenchError;
use crate::load::Target;
use crate::process::usage;
use crate::servers::{Estafette, Plan, Server, free_port_of};
use clap::Args;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// For all replicas to be where they are to be: with hundreds of shards, this takes a while.
const SETTLE_MAX: Duration = Duration::from_secs(600);
/// For leaders to be spread afterwards; a cluster that does not is measured as it is.
const SPREAD_MAX: Duration = Duration::from_secs(60);
/// For accounts to be in their shards.
const EVEN_MAX: Duration = Duration::from_secs(180);
/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// A node by its number, from 0.
pub(super) type Number = usize;

/// How a cluster is made.
#[derive(Clone, Debug)]
pub(super) struct Make {
    pub(super) program: PathBuf,
    /// Made for it, and removed by whoever owns it.
    pub(super) folder: PathBuf,
    pub(super) nodes: usize,
    /// Shards for each node; 0 for its own choice.
    pub(super) shards: u32,
    pub(super) accounts: usize,
    /// Further settings; of two for the same, the later one holds.
    pub(super) settings: Vec<Setting>,
}

/// A setting of a node.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    section: String,
    name: String,
    /// As it stands in the file.
    value: String,
}

impl Setting {
    pub(super) fn new(section: &str, name: &str, value: impl ToString) -> Setting {
        Setting { section: section.to_owned(), name: name.to_owned(), value: value.to_string() }
    }

    /// `SECTION.NAME=VALUE`.
    pub(super) fn parse(text: &str) -> Result<Setting, &'static str> {
        let parts = text.split_once('=').and_then(|(name, value)| Some((name.rsplit_once('.')?, value)));
        let ((section, name), value) = parts.ok_or("write SECTION.NAME=VALUE")?;
        Ok(Setting::new(section.trim(), name.trim(), value.trim()))
    }

    /// The file with all of these.
    fn file(settings: &[Setting]) -> String {
        let mut sections: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for Setting { section, name, value } in settings {
            sections.entry(section).or_default().insert(name, value);
        }
        let line = |(name, value): (&&str, &&str)| format!("{name} = {value}\n");
        let section = |(section, lines): (&&str, &BTreeMap<&str, &str>)| {
            format!("[{section}]\n{}", lines.iter().map(line).collect::<String>())
        };
        sections.iter().map(section).collect()
    }
}

/// How a node that lost all comes back.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Returning {
    /// wipe: a folder, which is there and empty, for the data of the node that comes back [default: where it was]. On
    /// another disk, what it writes does not hold up the others, as on machines of their own. It is left there.
    #[arg(id = "returning_data", long = "returning-data")]
    data: Option<PathBuf>,
    /// wipe: by how much the other nodes go before the one that comes back on the processors, as `nice` has it. What it works
    /// then holds them up less, as on machines of their own.
    #[arg(id = "returning_nice", long = "returning-nice", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=19))]
    nice: u8,
}

/// An account that mail is delivered to.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) address: String,
    pub(super) shard: u32,
}

/// A cluster that runs, but for nodes that were killed.
pub(super) struct Nodes {
    make: Make,
    members: Vec<Member>,
    pub(super) accounts: Vec<Account>,
}

struct Member {
    plan: Plan,
    /// Where the others reach it.
    mesh: String,
    server: Option<Estafette>,
}

impl Nodes {
    /// Starts them one after the other, and waits until each has its share.
    pub(super) async fn start(make: Make) -> Result<Nodes, BenchError> {
        let mut nodes = Nodes { members: Vec::new(), accounts: Vec::new(), make };
        for number in 0..nodes.make.nodes {
            let member = nodes.prepare(number)?;
            nodes.members.push(member);
            if number > 0 {
                let init = if number == 1 { "init" } else { "token" };
                nodes.join(number, init).await?;
            }
            nodes.launch(number).await?;
        }
        nodes.settle(SETTLE_MAX).await?;
        nodes.even_out().await?;
        Ok(nodes)
    }

    /// Has the accounts, which the first node made alone, spread over the shards of all.
    async fn even_out(&mut self) -> Result<(), BenchError> {
        if self.members.len() > 1 {
            self.say(0, &["cluster", "rebalance"]).await?;
        }
        let end = Instant::now() + EVEN_MAX;
        loop {
            self.accounts = self.kept().await?;
            let shards = self.status().await.map_or(1, |status| status.shards()).max(1);
            let of = |shard| self.accounts.iter().filter(|account| account.shard == shard).count();
            let used: BTreeMap<u32, usize> =
                self.accounts.iter().map(|account| (account.shard, of(account.shard))).collect();
            // As even as whole accounts allow, and one more.
            if used.values().all(|count| *count <= self.accounts.len().div_ceil(shards) + 1) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(BenchError::Slow(EVEN_MAX.as_secs()));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    fn prepare(&self, number: Number) -> Result<Member, BenchError> {
        let last = u8::try_from(number + 1).unwrap_or(u8::MAX);
        let plan = Plan {
            program: self.make.program.clone(),
            folder: self.make.folder.join(format!("node{last}")),
            host: Ipv4Addr::new(127, 0, 0, last),
            accounts: if number == 0 { self.make.accounts } else { 0 },
            io: "auto".to_owned(),
            niceness: 0,
        };
        std::fs::create_dir_all(&plan.folder)?;
        let mesh = format!("{}:{}", plan.host, free_port_of(plan.host)?);
        let mut settings = vec![
            Setting::new("node", "shards", self.make.shards),
            Setting::new("cluster", "listen", format!("{mesh:?}")),
            Setting::new("cluster", "label", format!("\"node{last}\"")),
        ];
        settings.extend_from_slice(&self.make.settings);
        plan.configure(&Setting::file(&settings))?;
        Ok(Member { plan, mesh, server: None })
    }

    fn member(&self, number: Number) -> Result<&Member, BenchError> {
        let unknown = || BenchError::Unknown { what: "node", name: (number + 1).to_string() };
        self.members.get(number).ok_or_else(unknown)
    }

    /// A node with an empty folder joins; another one gives the token, by `init` or `token`.
    pub(super) async fn join(&self, number: Number, word: &str) -> Result<(), BenchError> {
        let by = self.running().find(|other| *other != number).unwrap_or_default();
        let token = self.say(by, &["cluster", word]).await?;
        let config = self.member(number)?.plan.config().to_string_lossy().into_owned();
        self.say(number, &["cluster", "join", token.trim(), "--config", &config]).await.map(|_| ())
    }

    /// Starts a node, and waits until it serves.
    pub(super) async fn launch(&mut self, number: Number) -> Result<(), BenchError> {
        let plan = self.member(number)?.plan.clone();
        let server = tokio::task::spawn_blocking(move || plan.launch()).await??;
        if let Some(member) = self.members.get_mut(number) {
            member.server = Some(server);
        }
        Ok(())
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, number: Number) {
        if let Some(mut server) = self.members.get_mut(number).and_then(|member| member.server.take()) {
            server.kill();
        }
    }

    /// Nothing of a node's data is left; it does not run. How it is to come back is said.
    pub(super) fn wipe(&mut self, number: Number, returning: &Returning) -> Result<(), BenchError> {
        self.kill(number);
        if let Some(member) = self.members.get_mut(number) {
            member.plan.niceness = returning.nice;
        }
        let data = self.member(number)?.plan.data();
        std::fs::remove_dir_all(&data)?;
        if let Some(elsewhere) = &returning.data {
            std::os::unix::fs::symlink(elsewhere, &data)?;
        }
        Ok(())
    }

    /// The nodes that run.
    pub(super) fn running(&self) -> impl Iterator<Item = Number> {
        self.members.iter().enumerate().filter(|(_, one)| one.server.is_some()).map(|(number, _)| number)
    }

    /// Those, but one.
    pub(super) fn others(&self, number: Number) -> Vec<Number> {
        self.running().filter(|other| *other != number).collect()
    }

    /// Where a node listens for this.
    pub(super) fn address(&self, number: Number, service: &'static str) -> Result<String, BenchError> {
        let address = self.member(number)?.server.as_ref().and_then(|server| server.listener(service));
        address.ok_or_else(|| BenchError::Unknown { what: "listener", name: service.to_owned() })
    }

    /// Where these nodes take mail.
    pub(super) fn doors(&self, of: &[Number]) -> Result<Vec<String>, BenchError> {
        of.iter().map(|number| self.address(*number, "lmtp")).collect()
    }

    /// The same for a load, of all that run.
    pub(super) fn targets(&self) -> Result<Vec<Target>, BenchError> {
        let doors = self.doors(&self.running().collect::<Vec<_>>())?;
        Ok(doors.iter().map(|door| Target::plain(door)).collect())
    }

    /// The accounts' addresses.
    pub(super) fn recipients(&self) -> Vec<String> {
        self.accounts.iter().map(|account| account.address.clone()).collect()
    }

    /// The process of a node, if it runs.
    pub(super) fn pid(&self, number: Number) -> Option<u32> {
        self.members.get(number)?.server.as_ref()?.pids().first().copied()
    }

    /// CPU seconds that each node has used; 0 of one that does not run.
    pub(super) fn cpu_seconds(&self) -> Vec<f64> {
        let of = |number| self.pid(number).map_or(0.0, |pid| usage(pid).cpu_seconds);
        (0..self.members.len()).map(of).collect()
    }

    /// Where a node's data lies.
    pub(super) fn data(&self, number: Number) -> Result<PathBuf, BenchError> {
        Ok(self.member(number)?.plan.data())
    }

    fn program(&self) -> &Path {
        &self.make.program
    }

    /// What the program says on a node, with these words.
    pub(super) async fn say(&self, number: Number, words: &[&str]) -> Result<String, BenchError> {
        control::said(self.program(), words, &self.data(number)?).await
    }

    /// What the first of these nodes that answers says.
    pub(super) async fn status_of(&self, of: &[Number]) -> Option<Status> {
        for number in of {
            if let Some(status) = control::status(self.program(), &self.data(*number).ok()?).await {
                return Some(status);
            }
        }
        None
    }

    /// The same of all that run.
    pub(super) async fn status(&self) -> Option<Status> {
        self.status_of(&self.running().collect::<Vec<_>>()).await
    }

    /// The number that the cluster has given to a node.
    pub(super) fn id(&self, status: &Status, number: Number) -> Option<u64> {
        status.id(&self.members.get(number)?.mesh)
    }

    /// Which node leads a shard.
    pub(super) fn leader(&self, status: &Status, shard: u32) -> Option<Number> {
        if self.members.len() == 1 {
            return Some(0);
        }
        let leader = status.leader(shard)?;
        (0..self.members.len()).find(|number| self.id(status, *number) == Some(leader))
    }

    /// How many shards each node leads.
    pub(super) fn leads(&self, status: &Status) -> Vec<usize> {
        if self.members.len() == 1 {
            return vec![status.shards()];
        }
        let of = |number| self.id(status, number).map_or(0, |id| status.leads(id));
        (0..self.members.len()).map(of).collect()
    }

    /// Waits until all nodes have all of all groups and vote, then for leaders to be spread.
    pub(super) async fn settle(&self, wait: Duration) -> Result<Status, BenchError> {
        let end = Instant::now() + wait;
        let mut spread_end = None;
        loop {
            if let Some(status) = self.status().await.filter(|status| status.is_whole(self.members.len())) {
                let end = *spread_end.get_or_insert(Instant::now() + SPREAD_MAX);
                if status.is_spread() || Instant::now() > end {
                    return Ok(status);
                }
            }
            if Instant::now() > end {
                return Err(BenchError::Slow(wait.as_secs()));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// The accounts of the demonstration, with their shards.
    async fn kept(&self) -> Result<Vec<Account>, BenchError> {
        let kept = control::kept(self.program(), &self.data(0)?).await?;
        let shards: BTreeMap<String, u32> =
            kept.into_iter().filter_map(|one| Some((one.username, one.shard?))).collect();
        let Some(server) = self.member(0)?.server.as_ref() else { return Ok(Vec::new()) };
        let of_login = |(address, login): (String, String)| {
            let (user, _) = login.split_once(':')?;
            Some(Account { address, shard: *shards.get(user)? })
        };
        Ok(server.recipients().into_iter().zip(server.logins()).filter_map(of_login).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_put_together_by_section() {
        let given =
            ["raft.company_wait_ms=3", "node.shards = 4", "cluster.listen=\"[::1]:1=2\"", "node.shards=5"];
        let settings: Vec<Setting> = given.iter().map(|text| Setting::parse(text).unwrap()).collect();
        let file = "[cluster]\nlisten = \"[::1]:1=2\"\n[node]\nshards = 5\n[raft]\ncompany_wait_ms = 3\n";
        assert_eq!(Setting::file(&settings), file);
        assert!(Setting::parse("shards=5").is_err() && Setting::parse("node.shards").is_err());
    }
}
