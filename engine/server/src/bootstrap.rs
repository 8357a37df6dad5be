//! The first contents of an empty node, and the demonstration domain.

use crate::engine::{Engine, EngineError};
use crate::node::StartError;
use estafette_directory::{
    Actor, Administrator, Change, NewAccount, NewDomain, Origin, Plan, PlanFields, QuotaChoice, Reply, Role,
    Standing, password,
};
use estafette_types::{Domain, LocalPart, ShardId, Username};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// The name of the first operator.
const OPERATOR: &str = "admin";
/// The demonstration domain (RFC 2606 §2).
const DEMO_DOMAIN: &str = "demo.test";
/// The plan of the demonstration domain.
const DEMO_PLAN: &str = "demonstration";
/// What it keeps of itself, to be told again at the next start.
const DEMO_FILE: &str = "demo.json";

/// The first administrator, told once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FirstOperator {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// The demonstration domain as it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Demo {
    pub(crate) domain: String,
    pub(crate) accounts: Vec<DemoAccount>,
    /// The first administrator, when the demonstration was made with the node.
    pub(crate) admin: Option<FirstOperator>,
}

/// An account of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DemoAccount {
    pub(crate) username: String,
    pub(crate) address: String,
    pub(crate) password: String,
}

impl Demo {
    pub(crate) fn described(&self) -> Demo {
        self.clone()
    }
}

async fn change(engine: &Engine, change: Change) -> Result<Reply, EngineError> {
    engine.change(Actor::System, Origin::Internal, change).await
}

/// Makes shards, plans and the first operator where there are none yet. `Some` when it was made now.
pub(crate) async fn first_contents(engine: &Engine) -> Result<Option<FirstOperator>, StartError> {
    if engine.directory.read().shards().is_empty() {
        let shards = (1..=engine.config.node.shards()).map(ShardId).collect();
        change(engine, Change::SetShards { shards }).await?;
    }
    let mut settings = engine.directory.read().settings().clone();
    let separator = engine.config.smtp.detail_separator.chars().next();
    if settings.detail_separator != separator {
        settings.detail_separator = separator;
        change(engine, Change::SetSettings(settings)).await?;
    }
    if engine.directory.read().has_operator() {
        return Ok(None);
    }
    for fields in Plan::shipped() {
        if engine.directory.read().plan_named(&fields.name).is_none() {
            change(engine, Change::CreatePlan(fields)).await?;
        }
    }
    let secret = password::random()?;
    let operator = Change::CreateOperator {
        username: Username::parse(OPERATOR)?,
        real_name: String::new(),
        password_hash: Some(engine.logins.hasher().hash(&secret)?),
    };
    change(engine, operator).await?;
    Ok(Some(FirstOperator { user: OPERATOR.to_owned(), password: secret }))
}

/// Makes the demonstration domain with so many accounts, or adds what is missing.
pub(crate) async fn demo(
    engine: &Engine,
    data: &Path,
    accounts: usize,
    made: Option<&FirstOperator>,
) -> Result<Demo, StartError> {
    let path = data.join(DEMO_FILE);
    let known: Option<Demo> = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let mut demo = match known {
        Some(demo) => demo,
        None => Demo { domain: DEMO_DOMAIN.to_owned(), accounts: Vec::new(), admin: made.cloned() },
    };
    let secret = match demo.accounts.first() {
        Some(account) => account.password.clone(),
        None => password::random()?,
    };
    if demo.accounts.len() < accounts {
        grow(engine, &mut demo, accounts, &secret).await?;
        write_secret(&path, &demo).map_err(|source| StartError::File { path, source })?;
    }
    Ok(demo)
}

async fn grow(engine: &Engine, demo: &mut Demo, accounts: usize, secret: &str) -> Result<(), StartError> {
    let hash = engine.logins.hasher().hash(secret)?;
    let name = Domain::parse(&demo.domain)?;
    let known = engine.directory.read().domain_named(&name).map(|domain| domain.id);
    let domain = match known {
        Some(domain) => domain,
        None => make_domain(engine, name, &hash).await?,
    };
    for number in demo.accounts.len() + 1..=accounts {
        let local = LocalPart::parse(&format!("user{number}"))?;
        let address = format!("{local}@{}", demo.domain);
        let account = new_account(engine, local, &hash, Role::Owner);
        let username = match change(engine, Change::CreateAccount { domain, account }).await {
            Ok(Reply::Account { username, .. }) => username.to_string(),
            Ok(_) => continue,
            // Made before, by a start that ended before it could write it down.
            Err(EngineError::Refused(_)) => match engine.directory.read().login(&address) {
                Some(login) => login.account.username.to_string(),
                None => continue,
            },
            Err(error) => return Err(error.into()),
        };
        demo.accounts.push(DemoAccount { username, address, password: secret.to_owned() });
    }
    Ok(())
}

fn new_account(engine: &Engine, local: LocalPart, hash: &password::PasswordHash, role: Role) -> NewAccount {
    NewAccount {
        local,
        real_name: String::new(),
        quota: QuotaChoice::Unlimited,
        password_hash: Some(hash.clone()),
        role,
        shard: engine.directory.read().emptiest_shard().unwrap_or(ShardId(1)),
    }
}

async fn make_domain(
    engine: &Engine,
    name: Domain,
    hash: &password::PasswordHash,
) -> Result<estafette_types::DomainId, StartError> {
    let known = engine.directory.read().plan_named(DEMO_PLAN).map(|plan| plan.id);
    let plan = match known {
        Some(plan) => plan,
        None => {
            let fields = PlanFields {
                name: DEMO_PLAN.to_owned(),
                storage_bytes: None,
                mailboxes: None,
                subdomains: None,
                aliases: None,
            };
            match change(engine, Change::CreatePlan(fields)).await? {
                Reply::Plan(plan) => plan,
                _ => return Err(StartError::Answer),
            }
        }
    };
    let local = LocalPart::parse("administrator")?;
    let administrator = Administrator::New(new_account(engine, local, hash, Role::DomainAdministrator));
    let domain = NewDomain {
        name,
        prefix: None,
        standing: Standing::Plan(plan),
        description: "for trying things out".to_owned(),
        contact: None,
        default_quota_bytes: None,
        administrator,
    };
    match change(engine, Change::CreateDomain(domain)).await? {
        Reply::Domain { id, .. } => Ok(id),
        _ => Err(StartError::Answer),
    }
}

fn write_secret(path: &Path, demo: &Demo) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let text = serde_json::to_vec_pretty(demo)?;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&text)?;
    file.sync_all()
}
