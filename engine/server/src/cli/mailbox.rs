//! `estafette mailbox`

use super::client::escape;
use super::output::{Column, bytes, list_of, text};
use super::{CliError, Context};
use clap::Subcommand;
use serde_json::Value;

#[derive(Debug, Subcommand)]
pub(super) enum MailboxCommand {
    /// List the mailboxes of an account with what they hold
    List {
        /// Username or address
        account: String,
    },
}

const COLUMNS: [Column<'_>; 6] = [
    ("NAME", |v| text(v, "name")),
    ("USE", |v| text(v, "special_use")),
    ("MESSAGES", |v| {
        if v.get("selectable") == Some(&Value::Bool(false)) { String::new() } else { text(v, "messages") }
    }),
    ("UNSEEN", |v| {
        if v.get("selectable") == Some(&Value::Bool(false)) { String::new() } else { text(v, "unseen") }
    }),
    ("SIZE", |v| bytes(v, "bytes")),
    ("SUBSCRIBED", |v| text(v, "subscribed")),
];

impl MailboxCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let MailboxCommand::List { account } = self;
        let mut client = context.client().await?;
        let all = client.get(&format!("/accounts/{}/mailboxes", escape(&account))).await?;
        if context.output.is_json() {
            return context.output.done(&all, "");
        }
        let items = list_of(&all, "items");
        context.output.list(&items, &COLUMNS)?;
        let sentence = format!(
            "{} messages, {} of {}",
            text(&all, "messages"),
            bytes(&all, "used_bytes"),
            bytes(&all, "quota_bytes")
        );
        context.output.line(&sentence)
    }
}
