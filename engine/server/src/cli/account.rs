//! `estafette account`

use super::account_parts::{AddressCommand, Members, Redirect, Services};
use super::client::{Client, escape};
use super::output::{Column, bytes, moment, text};
use super::size::{self, Quota};
use super::{CliError, Context, confirm};
use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::{Map, Value, json};

/// What a login may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Role {
    /// Their own account
    Owner,
    /// Everything within their domain and its sub-domains
    DomainAdministrator,
    /// Everything
    Operator,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::DomainAdministrator => "domain-administrator",
            Role::Operator => "operator",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Make an account; a password is made and shown once
    Create(Create),
    /// List accounts
    List {
        /// Only those of this domain
        #[arg(long)]
        domain: Option<String>,
        /// Only those with this text in their username, addresses or name
        #[arg(long, default_value = "")]
        search: String,
    },
    /// Show an account
    Show(One),
    /// Change an account; what is not named stays
    Change(Change),
    /// Delete an account with all its mail
    Delete {
        #[command(flatten)]
        account: One,
        /// The username once more, so that nothing is asked
        #[arg(long, value_name = "USERNAME")]
        confirm: Option<String>,
    },
    /// Set a password; without an option one is made and shown
    Password {
        #[command(flatten)]
        account: One,
        /// Read it from standard input
        #[arg(long)]
        stdin: bool,
        /// Remove it: nobody logs in
        #[arg(long, conflicts_with = "stdin")]
        none: bool,
    },
    /// Refuse logins; mail is still taken
    Disable(One),
    /// Let the account log in again
    Enable(One),
    /// Close it to delegates
    Lock(One),
    /// Open it to delegates again
    Unlock(One),
    /// Addresses of an account
    #[command(subcommand)]
    Address(AddressCommand),
    /// Send the account's mail on
    Redirect(Redirect),
    /// Switch services on and off
    Services(Services),
    /// Set the quota
    Quota {
        #[command(flatten)]
        account: One,
        /// A size, 'default' or 'unlimited'
        quota: Quota,
    },
    /// Members of a group
    Members(Members),
}

/// An account.
#[derive(Args, Debug)]
pub(super) struct One {
    /// Username or address
    pub(super) account: String,
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// Its primary address
    address: String,
    /// The person's name
    #[arg(long, default_value = "")]
    name: String,
    /// A size, 'default' or 'unlimited'
    #[arg(long, default_value = "default")]
    quota: Quota,
    /// What its login may do
    #[arg(long, value_enum, default_value = "owner")]
    role: Role,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Without a password: nobody logs in
    #[arg(long, conflicts_with = "password_stdin")]
    no_password: bool,
}

#[derive(Args, Debug)]
pub(super) struct Change {
    #[command(flatten)]
    account: One,
    /// The person's name
    #[arg(long)]
    name: Option<String>,
    /// What its login may do
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Which of its addresses is the primary one
    #[arg(long, value_name = "ADDRESS")]
    primary: Option<String>,
}

const COLUMNS: [Column<'_>; 7] = [
    ("USERNAME", |v| text(v, "username")),
    ("ADDRESS", primary_address),
    ("NAME", |v| text(v, "real_name")),
    ("USED", |v| bytes(v, "used_bytes")),
    ("QUOTA", |v| bytes(v, "quota_bytes")),
    ("ROLE", |v| text(v, "role")),
    ("STATE", state),
];

fn primary_address(value: &Value) -> String {
    value.pointer("/addresses/0/address").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn addresses(value: &Value) -> String {
    let list = value.get("addresses").and_then(Value::as_array);
    let one = |v: &Value| match v.get("enabled") {
        Some(Value::Bool(false)) => format!("{} (off)", text(v, "address")),
        _ => text(v, "address"),
    };
    list.map_or_else(String::new, |list| list.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn state(value: &Value) -> String {
    let is = |key: &str| value.get(key) == Some(&Value::Bool(true));
    let words =
        [(is("disabled"), "disabled"), (is("locked"), "locked"), (!is("has_password"), "no password")];
    words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word).collect::<Vec<_>>().join(", ")
}

fn services(value: &Value) -> String {
    let services = value.get("services").and_then(Value::as_object);
    let on = |services: &Map<String, Value>| {
        services
            .iter()
            .filter(|(_, on)| on.as_bool() == Some(true))
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>()
    };
    services.map_or_else(String::new, |services| on(services).join(", "))
}

pub(super) const FIELDS: [Column<'_>; 16] = [
    ("username", |v| text(v, "username")),
    ("domain", |v| text(v, "domain")),
    ("addresses", addresses),
    ("name", |v| text(v, "real_name")),
    ("role", |v| text(v, "role")),
    ("state", state),
    ("used", |v| bytes(v, "used_bytes")),
    ("quota", |v| bytes(v, "quota_bytes")),
    ("messages", |v| text(v, "messages")),
    ("services", services),
    ("sent on to", |v| text(v, "redirect_to")),
    ("keeps a copy", |v| {
        if text(v, "redirect_to").is_empty() { String::new() } else { text(v, "redirect_keeps_copy") }
    }),
    ("members", |v| text(v, "members")),
    ("shard", |v| text(v, "shard")),
    ("created", |v| moment(v, "created_ms")),
    ("password set", |v| moment(v, "password_ms")),
];

impl One {
    pub(super) fn path(&self) -> String {
        format!("/accounts/{}", escape(&self.account))
    }
}

impl AccountCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut client = context.client().await?;
        let client = &mut client;
        match self {
            AccountCommand::Create(create) => create.run(context, client).await,
            AccountCommand::List { domain, search } => {
                let domain = domain.map_or_else(String::new, |domain| format!("&domain={}", escape(&domain)));
                let items = client.list(&format!("/accounts?search={}{domain}", escape(&search))).await?;
                context.output.list(&items, &COLUMNS)
            }
            AccountCommand::Show(one) => context.output.fields(&client.get(&one.path()).await?, &FIELDS),
            AccountCommand::Change(change) => change.run(context, client).await,
            AccountCommand::Delete { account, confirm } => delete(context, client, &account, confirm).await,
            AccountCommand::Password { account, stdin, none } => {
                password(context, client, &account, stdin, none).await
            }
            AccountCommand::Disable(one) => {
                patch(context, client, &one, &json!({ "disabled": true }), "may not log in any more").await
            }
            AccountCommand::Enable(one) => {
                patch(context, client, &one, &json!({ "disabled": false }), "may log in again").await
            }
            AccountCommand::Lock(one) => {
                patch(context, client, &one, &json!({ "locked": true }), "is closed to delegates").await
            }
            AccountCommand::Unlock(one) => {
                patch(context, client, &one, &json!({ "locked": false }), "is open to delegates again").await
            }
            AccountCommand::Quota { account, quota } => {
                patch(context, client, &account, &json!({ "quota": quota.value() }), "has another quota")
                    .await
            }
            AccountCommand::Address(command) => command.run(context, client).await,
            AccountCommand::Redirect(redirect) => redirect.run(context, client).await,
            AccountCommand::Services(services) => services.run(context, client).await,
            AccountCommand::Members(members) => members.run(context, client).await,
        }
    }
}

async fn patch(
    context: &Context,
    client: &mut Client,
    one: &One,
    body: &Value,
    sentence: &str,
) -> Result<(), CliError> {
    let account = client.call(Method::PATCH, &one.path(), Some(body)).await?;
    context.output.done(&account, &format!("{} {sentence}", text(&account, "username")))
}

impl Create {
    async fn run(self, context: &Context, client: &mut Client) -> Result<(), CliError> {
        let mut body = json!({
            "address": self.address,
            "real_name": self.name,
            "quota": self.quota.value(),
            "role": self.role.word(),
        });
        let password = match (self.password_stdin, self.no_password) {
            (true, _) => Some(Value::from(super::password_from_stdin()?)),
            (_, true) => Some(Value::Null),
            _ => None,
        };
        if let (Some(password), Some(fields)) = (password, body.as_object_mut()) {
            fields.insert("password".to_owned(), password);
        }
        let made = client.call(Method::POST, "/accounts", Some(&body)).await?;
        let account = made.get("account").unwrap_or(&Value::Null);
        let mut sentence = format!("account {} created for {}", text(account, "username"), self.address);
        let password = text(&made, "password");
        if !password.is_empty() {
            sentence.push_str(&format!(" with the password {password}"));
        }
        context.output.done(&made, &sentence)
    }
}

impl Change {
    async fn run(self, context: &Context, client: &mut Client) -> Result<(), CliError> {
        let mut body = Map::new();
        if let Some(name) = self.name {
            body.insert("real_name".to_owned(), name.into());
        }
        if let Some(role) = self.role {
            body.insert("role".to_owned(), role.word().into());
        }
        if let Some(primary) = self.primary {
            body.insert("primary".to_owned(), primary.into());
        }
        patch(context, client, &self.account, &body.into(), "changed").await
    }
}

async fn delete(
    context: &Context,
    client: &mut Client,
    one: &One,
    confirmed: Option<String>,
) -> Result<(), CliError> {
    let account = client.get(&one.path()).await?;
    let username = text(&account, "username");
    let held = account.get("used_bytes").and_then(Value::as_u64).unwrap_or(0);
    let what = format!(
        "the account {username} ({}) with {} messages ({})",
        addresses(&account),
        text(&account, "messages"),
        size::bytes(held)
    );
    confirm::confirm(&username, &what, confirmed)?;
    let path = format!("/accounts/{}?confirm={}", escape(&username), escape(&username));
    let answer = client.call(Method::DELETE, &path, None).await?;
    context.output.done(&answer, &format!("deleted {what}"))
}

async fn password(
    context: &Context,
    client: &mut Client,
    one: &One,
    stdin: bool,
    none: bool,
) -> Result<(), CliError> {
    let path = format!("{}/password", one.path());
    if none {
        let account = client.call(Method::DELETE, &path, None).await?;
        return context.output.done(&account, &format!("{} has no password now", text(&account, "username")));
    }
    let password = if stdin { Some(super::password_from_stdin()?) } else { None };
    let answer = client.call(Method::PUT, &path, Some(&json!({ "password": password }))).await?;
    let (username, made) = (text(&answer, "username"), text(&answer, "password"));
    let sentence = if made.is_empty() {
        format!("{username} has a new password")
    } else {
        format!("{username} has the new password {made}")
    };
    context.output.done(&answer, &sentence)
}
