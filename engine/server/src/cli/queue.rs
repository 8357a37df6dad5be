//! `estafette queue`

use super::client::escape;
use super::output::{Column, bytes, list_of, moment, text};
use super::{CliError, Context};
use clap::Subcommand;
use hyper::Method;
use serde_json::Value;

/// Entries asked for at once.
const PAGE: usize = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// List mail for other servers that waits
    List {
        /// Only that with this text in its sender or recipients
        #[arg(long, default_value = "")]
        search: String,
    },
    /// Show one, with what was said at the last attempt
    Show {
        /// Its identifier
        id: String,
    },
    /// Try it now
    Retry {
        /// Its identifier
        id: String,
    },
    /// Give it up
    Cancel {
        /// Its identifier
        id: String,
        /// Tell the sender
        #[arg(long)]
        notice: bool,
    },
}

const COLUMNS: [Column<'_>; 7] = [
    ("ID", |v| text(v, "id")),
    ("SENDER", sender),
    ("RECIPIENTS", recipients),
    ("SIZE", |v| bytes(v, "size")),
    ("SINCE (UTC)", |v| moment(v, "created_ms")),
    ("ATTEMPTS", |v| text(v, "attempts")),
    ("NEXT (UTC)", next),
];

const RECIPIENTS: [Column<'_>; 4] = [
    ("RECIPIENT", |v| text(v, "address")),
    ("STATE", |v| text(v, "state")),
    ("LAST ATTEMPT (UTC)", |v| moment(v, "last_attempt_ms")),
    ("REPLY", |v| text(v, "last_reply")),
];

fn next(value: &Value) -> String {
    let next = moment(value, "next_ms");
    if next.is_empty() { "now".to_owned() } else { next }
}

fn sender(value: &Value) -> String {
    let sender = text(value, "sender");
    if sender.is_empty() { "<>".to_owned() } else { sender }
}

fn recipients(value: &Value) -> String {
    let list = list_of(value, "recipients");
    let first = list.first().map(|recipient| text(recipient, "address")).unwrap_or_default();
    match list.len() {
        0 | 1 => first,
        count => format!("{first} and {} more", count - 1),
    }
}

impl QueueCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut client = context.client().await?;
        let path = |id: &str| format!("/queue/{}", escape(id));
        match self {
            QueueCommand::List { search } => {
                let mut items: Vec<Value> = Vec::new();
                loop {
                    let after =
                        items.last().map_or_else(String::new, |last| format!("&after={}", text(last, "id")));
                    let path = format!("/queue?limit={PAGE}&search={}{after}", escape(&search));
                    let page = client.get(&path).await?;
                    let more = list_of(&page, "items");
                    let last = more.is_empty() || page.get("more") != Some(&Value::Bool(true));
                    items.extend(more);
                    if last {
                        return context.output.list(&items, &COLUMNS);
                    }
                }
            }
            QueueCommand::Show { id } => {
                let item = client.get(&path(&id)).await?;
                context.output.fields(&item, &COLUMNS)?;
                if context.output.is_json() {
                    return Ok(());
                }
                context.output.line("")?;
                let recipients = list_of(&item, "recipients");
                context.output.list(&recipients, &RECIPIENTS)
            }
            QueueCommand::Retry { id } => {
                let answer = client.call(Method::POST, &format!("{}/retry", path(&id)), None).await?;
                context.output.done(&answer, &format!("{id} is tried now"))
            }
            QueueCommand::Cancel { id, notice } => {
                let path = format!("{}?notice={notice}", path(&id));
                let answer = client.call(Method::DELETE, &path, None).await?;
                context.output.done(&answer, &format!("{id} is given up"))
            }
        }
    }
}
