//! `estafette plan`

use super::client::escape;
use super::output::{Column, bytes, limit, text};
use super::size::{Limit, Size};
use super::{CliError, Context};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum PlanCommand {
    /// Make a plan; limits that are not named do not exist
    Create {
        /// Its name
        name: String,
        #[command(flatten)]
        limits: Limits,
    },
    /// List the plans
    List,
    /// Change a plan; what is not named stays
    Change {
        /// Its name
        name: String,
        /// Another name
        #[arg(long)]
        rename: Option<String>,
        #[command(flatten)]
        limits: Limits,
    },
    /// Delete a plan that no domain has
    Delete {
        /// Its name
        name: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct Limits {
    /// Sum of the quotas: a size or 'unlimited'
    #[arg(long, value_name = "SIZE")]
    storage: Option<Limit<Size>>,
    /// Number of mailboxes, or 'unlimited'
    #[arg(long, value_name = "N")]
    mailboxes: Option<Limit<u32>>,
    /// Number of sub-domains, or 'unlimited'
    #[arg(long, value_name = "N")]
    subdomains: Option<Limit<u32>>,
    /// Number of aliases, or 'unlimited'
    #[arg(long, value_name = "N")]
    aliases: Option<Limit<u32>>,
}

impl Limits {
    fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        if let Some(storage) = self.storage {
            fields.insert("storage_bytes".to_owned(), json!(storage.value().map(|size| size.0)));
        }
        let counts =
            [("mailboxes", self.mailboxes), ("subdomains", self.subdomains), ("aliases", self.aliases)];
        for (name, count) in counts {
            if let Some(count) = count {
                fields.insert(name.to_owned(), json!(count.value()));
            }
        }
        fields
    }
}

const COLUMNS: [Column<'_>; 6] = [
    ("NAME", |v| text(v, "name")),
    ("STORAGE", |v| bytes(v, "storage_bytes")),
    ("MAILBOXES", |v| limit(v, "mailboxes")),
    ("SUB-DOMAINS", |v| limit(v, "subdomains")),
    ("ALIASES", |v| limit(v, "aliases")),
    ("DOMAINS", |v| text(v, "domains")),
];

impl PlanCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut client = context.client().await?;
        match self {
            PlanCommand::Create { name, limits } => {
                let mut body = limits.fields();
                body.insert("name".to_owned(), name.as_str().into());
                let plan = client.call(Method::POST, "/plans", Some(&body.into())).await?;
                context.output.done(&plan, &format!("plan {name} created"))
            }
            PlanCommand::List => context.output.list(&client.list("/plans?search=").await?, &COLUMNS),
            PlanCommand::Change { name, rename, limits } => {
                let mut body = limits.fields();
                if let Some(rename) = rename {
                    body.insert("name".to_owned(), rename.into());
                }
                let path = format!("/plans/{}", escape(&name));
                let plan = client.call(Method::PATCH, &path, Some(&body.into())).await?;
                context.output.done(&plan, &format!("plan {} changed", text(&plan, "name")))
            }
            PlanCommand::Delete { name } => {
                let answer = client.call(Method::DELETE, &format!("/plans/{}", escape(&name)), None).await?;
                context.output.done(&answer, &format!("plan {name} deleted"))
            }
        }
    }
}
