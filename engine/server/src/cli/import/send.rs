//! Sends batches and counts what became of them.

use super::batch::{Batch, Part, encode};
use crate::cli::client::{Client, escape};
use crate::cli::{CliError, Context};
use estafette_mailbox::MailboxName;
use hyper::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is left out is spelled out up to this.
const PROBLEMS_MAX: usize = 100;
/// Refusals of one message that say nothing of the next one.
const ABOUT_ONE_MESSAGE: [&str; 3] = ["too-large", "invalid-value", "mailbox-full"];

/// What became of the messages.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) imported: u64,
    pub(super) duplicates: u64,
    pub(super) skipped: u64,
    problems: Vec<(String, String)>,
    mailboxes: BTreeMap<String, u64>,
}

impl Summary {
    pub(super) fn skip(&mut self, what: String, reason: String) {
        self.skipped += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push((what, reason));
        }
    }

    pub(super) fn print(&self, context: &Context) -> Result<(), CliError> {
        let problems: Vec<Value> =
            self.problems.iter().map(|(what, reason)| json!({ "what": what, "reason": reason })).collect();
        let value = json!({
            "imported": self.imported,
            "duplicates": self.duplicates,
            "skipped": self.skipped,
            "problems": problems,
            "mailboxes": self.mailboxes,
        });
        let sentence = format!(
            "{} messages imported into {} mailboxes; {} were there already",
            self.imported,
            self.mailboxes.len(),
            self.duplicates
        );
        context.output.done(&value, &sentence)?;
        for (what, reason) in &self.problems {
            context.output.line(&format!("left out: {what}: {reason}"))?;
        }
        Ok(())
    }
}

/// Sends to one account.
pub(super) struct Sender<'a> {
    client: &'a mut Client,
    path: String,
    pub(super) summary: Summary,
}

impl<'a> Sender<'a> {
    pub(super) fn new(client: &'a mut Client, account: &str) -> Sender<'a> {
        let path = format!("/accounts/{}/messages/batch", escape(account));
        Sender { client, path, summary: Summary::default() }
    }

    /// Sends a batch; when the server refuses it for one of its messages, message by message.
    ///
    /// # Errors
    /// When nothing that follows can be taken either.
    pub(super) async fn send(&mut self, batch: Batch) -> Result<(), CliError> {
        let refused = match self.post(&batch.mailbox, &batch.parts).await {
            Err(error @ CliError::Refused { .. }) => error,
            other => return other,
        };
        if let [part] = batch.parts.as_slice() {
            return self.judge(refused, part);
        }
        for part in &batch.parts {
            if let Err(error) = self.post(&batch.mailbox, std::slice::from_ref(part)).await {
                self.judge(error, part)?;
            }
        }
        Ok(())
    }

    /// A refusal of one message is counted; what would meet the next one too ends the import.
    fn judge(&mut self, error: CliError, part: &Part) -> Result<(), CliError> {
        match error {
            CliError::Refused { code, message } if ABOUT_ONE_MESSAGE.contains(&code.as_str()) => {
                self.summary.skip(part.place.clone(), message);
                Ok(())
            }
            error => Err(error),
        }
    }

    async fn post(&mut self, mailbox: &MailboxName, parts: &[Part]) -> Result<(), CliError> {
        let path = format!("{}?mailbox={}", self.path, escape(mailbox.as_str()));
        let kind = "application/x-estafette-messages";
        let answer = self.client.send(Method::POST, &path, kind, encode(parts)).await?;
        let items = answer.get("items").and_then(Value::as_array).ok_or(CliError::Answer)?;
        let of_mailbox = self.summary.mailboxes.entry(mailbox.to_string()).or_insert(0);
        for item in items {
            if item.get("duplicate") == Some(&Value::Bool(true)) {
                self.summary.duplicates += 1;
            } else {
                self.summary.imported += 1;
                *of_mailbox += 1;
            }
        }
        Ok(())
    }
}
