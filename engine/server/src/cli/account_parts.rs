//! `estafette account address|redirect|services|members`

use super::account::One;
use super::client::{Client, escape};
use super::output::{list_of, text};
use super::{CliError, Context};
use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::{Map, Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum AddressCommand {
    /// Give an account another address
    Add(AddressOf),
    /// Take an address away
    Remove(AddressOf),
    /// Refuse mail to an address; the name stays taken
    Disable(AddressOf),
    /// Take mail to an address again
    Enable(AddressOf),
}

#[derive(Args, Debug)]
pub(super) struct AddressOf {
    #[command(flatten)]
    account: One,
    /// The address
    address: String,
}

#[derive(Args, Debug)]
pub(super) struct Redirect {
    #[command(flatten)]
    account: One,
    /// Where to: usernames and addresses
    #[arg(required_unless_present = "none")]
    to: Vec<String>,
    /// Keep a copy in the mailbox
    #[arg(long)]
    keep_copy: bool,
    /// End the redirection
    #[arg(long, conflicts_with_all = ["to", "keep_copy"])]
    none: bool,
}

#[derive(Args, Debug)]
pub(super) struct Services {
    #[command(flatten)]
    account: One,
    /// Switch on
    #[arg(long, value_enum, value_delimiter = ',')]
    on: Vec<Service>,
    /// Switch off
    #[arg(long, value_enum, value_delimiter = ',')]
    off: Vec<Service>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Service {
    /// Mail is kept
    Mailbox,
    /// The redirection acts
    Redirect,
    /// Mail is passed to the members
    Group,
    /// Autoresponders answer
    Autoresponders,
    /// Mail is filtered
    Filter,
    /// Mail is searched for viruses
    Antivirus,
}

impl Service {
    fn word(self) -> &'static str {
        match self {
            Service::Mailbox => "mailbox",
            Service::Redirect => "redirect",
            Service::Group => "group",
            Service::Autoresponders => "autoresponders",
            Service::Filter => "filter",
            Service::Antivirus => "antivirus",
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct Members {
    #[command(flatten)]
    account: One,
    /// Add: usernames and addresses
    #[arg(long, value_delimiter = ',', value_name = "MEMBER")]
    add: Vec<String>,
    /// Remove
    #[arg(long, value_delimiter = ',', value_name = "MEMBER")]
    remove: Vec<String>,
    /// Keep a copy in the group's own mailbox
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    keep_copy: Option<bool>,
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("say yes or no"),
    }
}

impl AddressCommand {
    pub(super) async fn run(self, context: &Context, client: &mut Client) -> Result<(), CliError> {
        let (method, of, body, what) = match self {
            AddressCommand::Add(of) => (Method::PUT, of, None, "added"),
            AddressCommand::Remove(of) => (Method::DELETE, of, None, "removed"),
            AddressCommand::Disable(of) => {
                (Method::PATCH, of, Some(json!({ "enabled": false })), "switched off")
            }
            AddressCommand::Enable(of) => {
                (Method::PATCH, of, Some(json!({ "enabled": true })), "switched on")
            }
        };
        let path = format!("{}/addresses/{}", of.account.path(), escape(&of.address));
        let account = client.call(method, &path, body.as_ref()).await?;
        let sentence = format!("{}: address {} {what}", text(&account, "username"), of.address);
        context.output.done(&account, &sentence)
    }
}

impl Redirect {
    pub(super) async fn run(self, context: &Context, client: &mut Client) -> Result<(), CliError> {
        let path = format!("{}/redirection", self.account.path());
        if self.none {
            let account = client.call(Method::DELETE, &path, None).await?;
            let sentence = format!("mail of {} stays here", text(&account, "username"));
            return context.output.done(&account, &sentence);
        }
        let body = json!({ "to": self.to, "keep_copy": self.keep_copy });
        let account = client.call(Method::PUT, &path, Some(&body)).await?;
        let copy = if self.keep_copy { ", a copy is kept" } else { "" };
        let sentence = format!(
            "mail of {} goes on to {}{copy}",
            text(&account, "username"),
            text(&account, "redirect_to")
        );
        context.output.done(&account, &sentence)
    }
}

impl Services {
    pub(super) async fn run(self, context: &Context, client: &mut Client) -> Result<(), CliError> {
        let mut body = Map::new();
        for (services, on) in [(self.on, true), (self.off, false)] {
            for service in services {
                if body.insert(service.word().to_owned(), on.into()).is_some_and(|before| before != on) {
                    return Err(CliError::argument(
                        "--off",
                        format!("{} is switched on too", service.word()),
                    ));
                }
            }
        }
        let path = format!("{}/services", self.account.path());
        let account = client.call(Method::PATCH, &path, Some(&Value::from(body))).await?;
        context.output.fields(&account, &super::account::FIELDS)
    }
}

impl Members {
    pub(super) async fn run(self, context: &Context, client: &mut Client) -> Result<(), CliError> {
        let account = if self.add.is_empty() && self.remove.is_empty() && self.keep_copy.is_none() {
            client.get(&self.account.path()).await?
        } else {
            let body = json!({ "add": self.add, "remove": self.remove, "keep_copy": self.keep_copy });
            let path = format!("{}/members", self.account.path());
            client.call(Method::PATCH, &path, Some(&body)).await?
        };
        let members = list_of(&account, "members");
        if context.output.is_json() {
            return context.output.list(&members, &[]);
        }
        for member in &members {
            context.output.line(member.as_str().unwrap_or_default())?;
        }
        Ok(())
    }
}
