//! `estafette alias`

use super::account_parts::yes_or_no;
use super::client::escape;
use super::output::{Column, text};
use super::{CliError, Context};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum AliasCommand {
    /// Make an alias
    Create {
        /// Its address
        address: String,
        /// Where it leads: usernames and addresses
        destinations: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
    /// List the aliases of a domain, or of all
    List {
        /// The domain
        #[arg(long)]
        domain: Option<String>,
        /// Only those with this text in their address or destinations
        #[arg(long, default_value = "")]
        search: String,
    },
    /// Change an alias; what is not named stays
    Change {
        /// Its address
        address: String,
        /// Where it leads in place of before
        #[arg(long, value_delimiter = ',', value_name = "DESTINATION")]
        to: Vec<String>,
        /// Also lead there
        #[arg(long, value_delimiter = ',', value_name = "DESTINATION")]
        add: Vec<String>,
        /// No longer lead there
        #[arg(long, value_delimiter = ',', value_name = "DESTINATION")]
        remove: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Delete an alias
    Delete {
        /// Its address
        address: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Also to the account that has this address
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    deliver_locally: Option<bool>,
    /// Refuse mail to it
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    bounce: Option<bool>,
    /// Also to every account of the domain
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    everyone: Option<bool>,
}

impl Options {
    fn fields(&self) -> Map<String, Value> {
        let all =
            [("deliver_locally", self.deliver_locally), ("bounce", self.bounce), ("everyone", self.everyone)];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
    }
}

const COLUMNS: [Column<'_>; 4] = [
    ("ADDRESS", |v| text(v, "address")),
    ("DESTINATIONS", |v| text(v, "destinations")),
    ("OPTIONS", options),
    ("DEFAULT", |v| text(v, "default")),
];

fn options(value: &Value) -> String {
    let options = value.get("options").and_then(Value::as_object).cloned().unwrap_or_default();
    let on =
        options.iter().filter(|(_, on)| on.as_bool() == Some(true)).map(|(name, _)| name.replace('_', "-"));
    on.collect::<Vec<_>>().join(", ")
}

impl AliasCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut client = context.client().await?;
        match self {
            AliasCommand::Create { address, destinations, options } => {
                let body =
                    json!({ "address": address, "destinations": destinations, "options": options.fields() });
                let alias = client.call(Method::POST, "/aliases", Some(&body)).await?;
                let sentence = format!("{address} leads to {}", text(&alias, "destinations"));
                context.output.done(&alias, &sentence)
            }
            AliasCommand::List { domain, search } => {
                let domains = match domain {
                    Some(domain) => vec![domain],
                    None => {
                        let all = client.list("/domains?search=").await?;
                        all.iter().map(|domain| text(domain, "name")).collect()
                    }
                };
                let mut items = Vec::new();
                for domain in domains {
                    let path = format!("/aliases?domain={}&search={}", escape(&domain), escape(&search));
                    items.extend(client.list(&path).await?);
                }
                context.output.list(&items, &COLUMNS)
            }
            AliasCommand::Change { address, to, add, remove, options } => {
                let mut body = options.fields();
                if !to.is_empty() {
                    body.insert("destinations".to_owned(), json!(to));
                }
                body.insert("add".to_owned(), json!(add));
                body.insert("remove".to_owned(), json!(remove));
                let path = format!("/aliases/{}", escape(&address));
                let alias = client.call(Method::PATCH, &path, Some(&body.into())).await?;
                let sentence = format!("{address} leads to {}", text(&alias, "destinations"));
                context.output.done(&alias, &sentence)
            }
            AliasCommand::Delete { address } => {
                let path = format!("/aliases/{}", escape(&address));
                let answer = client.call(Method::DELETE, &path, None).await?;
                context.output.done(&answer, &format!("alias {address} deleted"))
            }
        }
    }
}
