//! `estafette domain`

use super::client::{Client, escape};
use super::output::{Column, bytes, moment, text};
use super::size::{Quota, Size};
use super::{CliError, Context, confirm};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum DomainCommand {
    /// Make a domain, with its administrator's account and its default addresses
    Create(Box<Create>),
    /// List domains
    List {
        /// Only those with this text in their names or description
        #[arg(long, default_value = "")]
        search: String,
    },
    /// Show a domain, what it uses of its plan, and where its default addresses lead
    Show {
        /// Its name
        name: String,
    },
    /// Change a domain; what is not named stays
    Change(Change),
    /// Delete a domain with all its accounts and their mail
    Delete {
        /// Its name
        name: String,
        /// The name once more, so that nothing is asked
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
    /// Take no mail for it and let nobody of it log in
    Suspend {
        /// Its name
        name: String,
    },
    /// Put it into service again
    Resume {
        /// Its name
        name: String,
    },
    /// Other names of a domain
    #[command(subcommand)]
    Alias(NameCommand),
    /// Who gets mail to names that do not exist
    CatchAll {
        /// Its name
        name: String,
        /// An account or an alias
        #[arg(required_unless_present = "none")]
        to: Option<String>,
        /// Nobody: such mail is refused
        #[arg(long, conflicts_with = "to")]
        none: bool,
    },
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// Its name
    name: String,
    /// The plan; not for a sub-domain
    #[arg(long, required_unless_present = "subdomain_of", conflicts_with = "subdomain_of")]
    plan: Option<String>,
    /// Make it a sub-domain of this one, within its plan
    #[arg(long, value_name = "DOMAIN")]
    subdomain_of: Option<String>,
    /// First part of its usernames; else derived from the name
    #[arg(long)]
    prefix: Option<String>,
    /// Free text
    #[arg(long, default_value = "")]
    description: String,
    /// Whom to write to about it
    #[arg(long, value_name = "ADDRESS")]
    contact: Option<String>,
    /// Quota of accounts that name none
    #[arg(long, value_name = "SIZE")]
    default_quota: Option<Size>,
    /// An account of the domain above as its administrator (sub-domains)
    #[arg(long, value_name = "ACCOUNT", conflicts_with_all = ["administrator_address", "administrator_name"])]
    administrator: Option<String>,
    /// Address of the administrator that is made, before the @
    #[arg(long, value_name = "NAME", default_value = "admin")]
    administrator_address: String,
    /// The administrator's real name
    #[arg(long, value_name = "TEXT", default_value = "")]
    administrator_name: String,
    /// The administrator's quota: a size, 'default' or 'unlimited'
    #[arg(long, value_name = "SIZE", default_value = "default")]
    administrator_quota: Quota,
    /// Read the administrator's password from standard input; else one is made and shown
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Args, Debug)]
pub(super) struct Change {
    /// Its name
    name: String,
    /// Free text
    #[arg(long)]
    description: Option<String>,
    /// Whom to write to about it; empty for nobody
    #[arg(long, value_name = "ADDRESS")]
    contact: Option<String>,
    /// Quota of accounts that name none
    #[arg(long, value_name = "SIZE")]
    default_quota: Option<Size>,
    /// Another plan
    #[arg(long)]
    plan: Option<String>,
    /// Another administrator; default addresses follow
    #[arg(long, value_name = "ACCOUNT")]
    administrator: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum NameCommand {
    /// Give a domain another name
    Add {
        /// The domain
        name: String,
        /// Its other name
        alias: String,
    },
    /// Take another name away
    Remove {
        /// The domain
        name: String,
        /// Its other name
        alias: String,
    },
}

const COLUMNS: [Column<'_>; 7] = [
    ("NAME", |v| text(v, "name")),
    ("PREFIX", |v| text(v, "prefix")),
    ("PLAN", |v| text(v, "plan")),
    ("SUB-DOMAIN OF", |v| text(v, "subdomain_of")),
    ("ADMINISTRATOR", |v| text(v, "administrator")),
    ("SUSPENDED", |v| text(v, "suspended")),
    ("DESCRIPTION", |v| text(v, "description")),
];

fn of(value: &Value, key: &str) -> String {
    text(value.get("domain").unwrap_or(&Value::Null), key)
}

fn usage(value: &Value, key: &str, show: fn(&Value, &str) -> String) -> String {
    value.get(key).map_or_else(String::new, |usage| match usage.get("allowed") {
        Some(Value::Null) => format!("{}, without limit", show(usage, "used")),
        _ => format!("{} of {}", show(usage, "used"), show(usage, "allowed")),
    })
}

fn defaults(value: &Value) -> String {
    let list = value.get("default_addresses").and_then(Value::as_array);
    let one = |v: &Value| format!("{} → {}", text(v, "address"), text(v, "leads_to"));
    list.map_or_else(String::new, |list| list.iter().map(one).collect::<Vec<_>>().join("; "))
}

const FIELDS: [Column<'_>; 16] = [
    ("name", |v| of(v, "name")),
    ("other names", |v| of(v, "aliases")),
    ("prefix", |v| of(v, "prefix")),
    ("plan", |v| of(v, "plan")),
    ("sub-domain of", |v| of(v, "subdomain_of")),
    ("description", |v| of(v, "description")),
    ("contact", |v| of(v, "contact")),
    ("default quota", |v| bytes(v.get("domain").unwrap_or(&Value::Null), "default_quota_bytes")),
    ("administrator", |v| of(v, "administrator")),
    ("suspended", |v| of(v, "suspended")),
    ("catch-all", |v| of(v, "catch_all")),
    ("created", |v| moment(v.get("domain").unwrap_or(&Value::Null), "created_ms")),
    ("mailboxes", |v| usage(v, "mailboxes", text)),
    ("storage", |v| usage(v, "storage_bytes", bytes)),
    ("sub-domains", |v| usage(v, "subdomains", text)),
    ("default addresses", defaults),
];

impl DomainCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut client = context.client().await?;
        let patch = |name: &str| format!("/domains/{}", escape(name));
        match self {
            DomainCommand::Create(create) => create.run(context, &mut client).await,
            DomainCommand::List { search } => {
                let items = client.list(&format!("/domains?search={}", escape(&search))).await?;
                context.output.list(&items, &COLUMNS)
            }
            DomainCommand::Show { name } => {
                let domain = client.get(&patch(&name)).await?;
                context.output.fields(&domain, &FIELDS)
            }
            DomainCommand::Change(change) => change.run(context, &mut client).await,
            DomainCommand::Delete { name, confirm } => delete(context, &mut client, &name, confirm).await,
            DomainCommand::Suspend { name } => {
                let body = json!({ "suspended": true });
                let domain = client.call(Method::PATCH, &patch(&name), Some(&body)).await?;
                context.output.done(&domain, &format!("{name} suspended"))
            }
            DomainCommand::Resume { name } => {
                let body = json!({ "suspended": false });
                let domain = client.call(Method::PATCH, &patch(&name), Some(&body)).await?;
                context.output.done(&domain, &format!("{name} is in service again"))
            }
            DomainCommand::Alias(command) => {
                let (method, name, alias, what) = match command {
                    NameCommand::Add { name, alias } => (Method::PUT, name, alias, "is now another name of"),
                    NameCommand::Remove { name, alias } => {
                        (Method::DELETE, name, alias, "is no longer a name of")
                    }
                };
                let path = format!("/domains/{}/names/{}", escape(&name), escape(&alias));
                let domain = client.call(method, &path, None).await?;
                context.output.done(&domain, &format!("{alias} {what} {name}"))
            }
            DomainCommand::CatchAll { name, to, none: _ } => {
                let path = format!("/domains/{}/catch-all", escape(&name));
                let (method, body) = match &to {
                    Some(to) => (Method::PUT, Some(json!({ "to": to }))),
                    None => (Method::DELETE, None),
                };
                let domain = client.call(method, &path, body.as_ref()).await?;
                let who = to.unwrap_or_else(|| "nobody".to_owned());
                context.output.done(&domain, &format!("mail to other names of {name} goes to {who}"))
            }
        }
    }
}

impl Create {
    async fn run(self, context: &Context, client: &mut Client) -> Result<(), CliError> {
        let mut body = json!({
            "name": self.name,
            "plan": self.plan,
            "subdomain_of": self.subdomain_of,
            "prefix": self.prefix,
            "description": self.description,
            "contact": self.contact,
            "default_quota_bytes": self.default_quota.map(|size| size.0),
            "administrator": self.administrator,
        });
        if self.administrator.is_none() {
            let mut new = json!({
                "local": self.administrator_address,
                "real_name": self.administrator_name,
                "quota": self.administrator_quota.value(),
            });
            if let (true, Some(fields)) = (self.password_stdin, new.as_object_mut()) {
                fields.insert("password".to_owned(), super::password_from_stdin()?.into());
            }
            if let Some(fields) = body.as_object_mut() {
                fields.insert("new_administrator".to_owned(), new);
            }
        }
        let domain = client.call(Method::POST, "/domains", Some(&body)).await?;
        let administrator = domain.get("administrator").unwrap_or(&Value::Null);
        let (username, password) = (text(administrator, "username"), text(administrator, "password"));
        let mut sentence = format!("domain {} created; its administrator is {username}", self.name);
        if !password.is_empty() {
            sentence.push_str(&format!(" with the password {password}"));
        }
        context.output.done(&domain, &sentence)
    }
}

impl Change {
    async fn run(self, context: &Context, client: &mut Client) -> Result<(), CliError> {
        let mut body = Map::new();
        if let Some(description) = self.description {
            body.insert("description".to_owned(), description.into());
        }
        if let Some(contact) = self.contact {
            let contact = Some(contact).filter(|contact| !contact.is_empty());
            body.insert("contact".to_owned(), json!(contact));
        }
        if let Some(Size(bytes)) = self.default_quota {
            body.insert("default_quota_bytes".to_owned(), bytes.into());
        }
        if let Some(plan) = self.plan {
            body.insert("plan".to_owned(), plan.into());
        }
        if let Some(administrator) = self.administrator {
            body.insert("administrator".to_owned(), administrator.into());
        }
        let path = format!("/domains/{}", escape(&self.name));
        let domain = client.call(Method::PATCH, &path, Some(&body.into())).await?;
        context.output.done(&domain, &format!("{} changed", self.name))
    }
}

async fn delete(
    context: &Context,
    client: &mut Client,
    name: &str,
    confirmed: Option<String>,
) -> Result<(), CliError> {
    let path = format!("/domains/{}", escape(name));
    let domain = client.get(&path).await?;
    let name = of(&domain, "name");
    let what = format!(
        "the domain {name} with {} accounts, all their mail, and {} aliases",
        text(&domain, "accounts"),
        text(&domain, "aliases")
    );
    confirm::confirm(&name, &what, confirmed)?;
    let path = format!("/domains/{}?confirm={}", escape(&name), escape(&name));
    let answer = client.call(Method::DELETE, &path, None).await?;
    context.output.done(&answer, &format!("deleted {what}"))
}
