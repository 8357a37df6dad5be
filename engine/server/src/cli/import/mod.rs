//! `estafette import`: mail from mbox files and Maildir folders into an account.
//!
//! - Messages are kept to the bit, apart from line ends: a lone LF becomes CRLF.
//! - Each message has an identifier made of its mailbox, its bytes, and its place among equal ones in the source.
//!   The account never forgets it: an import can be stopped and run again, and adds nothing twice.
//! - The source is read once from its beginning to its end; memory holds a few batches, whatever its size.
//! - Batches go one after the other, so that UIDs follow the order of the source; the next one is read and
//!   hashed meanwhile.

mod batch;
mod maildir;
mod mbox;
mod read;
mod send;
mod utf7;

#[cfg(test)]
mod tests;

use super::client::Client;
use super::{CliError, Context};
use clap::{Args, Subcommand};
use estafette_mailbox::MailboxName;
use indicatif::{ProgressBar, ProgressStyle};
use read::{Event, Limits, Source};
use send::Sender;
use serde_json::Value;
use std::path::PathBuf;
use tokio::sync::mpsc;

/// Batches that are read and not yet sent.
const BATCHES_AHEAD: usize = 1;

#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// From an mbox file (mboxrd; flags from Status, X-Status and X-Mozilla-Status)
    Mbox(ImportArguments),
    /// From a Maildir with its subfolders (Maildir++)
    Maildir(ImportArguments),
}

#[derive(Args, Debug)]
pub(super) struct ImportArguments {
    /// The file or folder
    path: PathBuf,
    /// Into this account: username or address
    #[arg(long, value_name = "ACCOUNT")]
    account: String,
    /// Into this mailbox; subfolders go below it [default: INBOX, subfolders beside it]
    #[arg(long, value_name = "NAME")]
    mailbox: Option<String>,
}

impl ImportCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut client = context.client().await?;
        match self {
            ImportCommand::Mbox(arguments) => {
                let mailbox = arguments.mailbox()?.unwrap_or_else(MailboxName::inbox);
                let source = Source::Mbox { path: arguments.path.clone(), mailbox };
                arguments.run(context, &mut client, source).await
            }
            ImportCommand::Maildir(arguments) => {
                let source = Source::Maildir { path: arguments.path.clone(), base: arguments.mailbox()? };
                arguments.run(context, &mut client, source).await
            }
        }
    }
}

impl ImportArguments {
    fn mailbox(&self) -> Result<Option<MailboxName>, CliError> {
        let name = self.mailbox.as_deref().map(MailboxName::parse);
        name.transpose().map_err(|error| CliError::argument("--mailbox", error))
    }

    async fn run(&self, context: &Context, client: &mut Client, source: Source) -> Result<(), CliError> {
        let limits = limits(client).await?;
        let (events, mut incoming) = mpsc::channel(BATCHES_AHEAD);
        let reader = tokio::task::spawn_blocking(move || read::read(&source, limits, &events));
        let mut sender = Sender::new(client, &self.account);
        let bar = bar();
        let mut outcome = Ok(());
        while let Some(event) = incoming.recv().await {
            match event {
                Event::Total { amount, bytes } => {
                    bar.set_length(amount);
                    bar.set_style(style(bytes));
                }
                Event::Skipped { what, reason } => sender.summary.skip(what, reason),
                Event::Batch { batch, position } => {
                    outcome = sender.send(batch).await;
                    bar.set_position(position);
                    bar.set_message(format!("{} imported", sender.summary.imported));
                    if outcome.is_err() {
                        break;
                    }
                }
            }
        }
        drop(incoming);
        bar.finish_and_clear();
        let read = reader.await.unwrap_or(Err(CliError::Answer));
        let summary = sender.summary;
        summary.print(context)?;
        outcome.and(read)?;
        if summary.skipped > 0 { Err(CliError::Incomplete { count: summary.skipped }) } else { Ok(()) }
    }
}

async fn limits(client: &mut Client) -> Result<Limits, CliError> {
    let answer = client.get("/limits").await?;
    let number = |key: &str| {
        let number = answer.get(key).and_then(Value::as_u64).ok_or(CliError::Answer)?;
        usize::try_from(number).map_err(|_| CliError::Answer)
    };
    Ok(Limits {
        message_bytes: number("message_max_bytes")?,
        batch_messages: number("batch_max_messages")?,
        batch_bytes: number("batch_max_bytes")?,
    })
}

/// Drawn on standard error, when that is a terminal.
fn bar() -> ProgressBar {
    ProgressBar::new(0).with_style(style(false))
}

fn style(bytes: bool) -> ProgressStyle {
    let template = if bytes {
        "{bar:40} {bytes}/{total_bytes} {eta} left  {msg}"
    } else {
        "{bar:40} {pos}/{len} {eta} left  {msg}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
