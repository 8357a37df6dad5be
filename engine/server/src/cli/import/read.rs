//! Reads a source on a thread of its own and puts its messages together into batches.

use super::batch::{Batch, Ids, Message, Part};
use super::maildir::{self, Content, Folder};
use super::mbox::{self, Found, Mbox};
use crate::cli::CliError;
use estafette_mailbox::MailboxName;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// A batch is sent when it has this many bytes, even if the server takes more.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Of the reader of a file.
const BUFFER_BYTES: usize = 256 * 1024;

/// Where messages come from.
pub(super) enum Source {
    Mbox { path: PathBuf, mailbox: MailboxName },
    Maildir { path: PathBuf, base: Option<MailboxName> },
}

/// What the server takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) message_bytes: usize,
    pub(super) batch_messages: usize,
    pub(super) batch_bytes: usize,
}

/// What the reader tells.
pub(super) enum Event {
    /// How much there is: bytes or files.
    Total { amount: u64, bytes: bool },
    /// Something is left out.
    Skipped { what: String, reason: String },
    /// Messages, and how far the source is read with them.
    Batch { batch: Batch, position: u64 },
}

/// Reads all of a source; ends early when nobody listens any more.
pub(super) fn read(source: &Source, limits: Limits, events: &mpsc::Sender<Event>) -> Result<(), CliError> {
    let mut packer = Packer { events, limits, ids: Ids::default(), open: None, bytes: 0, position: 0 };
    let outcome = match source {
        Source::Mbox { path, mailbox } => read_mbox(path, mailbox, &mut packer),
        Source::Maildir { path, base } => read_maildir(path, base.as_ref(), &mut packer),
    };
    match outcome {
        Ok(()) => {
            let _ = packer.flush();
            Ok(())
        }
        Err(Stop::Unheard) => Ok(()),
        Err(Stop::Failed(error)) => {
            let _ = packer.flush();
            Err(error)
        }
    }
}

/// Why reading ends early.
enum Stop {
    Unheard,
    Failed(CliError),
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Stop {
    let path = path.to_owned();
    move |source| Stop::Failed(CliError::File { path, source })
}

struct Packer<'a> {
    events: &'a mpsc::Sender<Event>,
    limits: Limits,
    ids: Ids,
    open: Option<Batch>,
    bytes: usize,
    position: u64,
}

impl Packer<'_> {
    fn tell(&self, event: Event) -> Result<(), Stop> {
        self.events.blocking_send(event).map_err(|_| Stop::Unheard)
    }

    fn skip(&self, what: String, reason: impl Into<String>) -> Result<(), Stop> {
        self.tell(Event::Skipped { what, reason: reason.into() })
    }

    fn flush(&mut self) -> Result<(), Stop> {
        self.bytes = 0;
        match self.open.take() {
            Some(batch) => self.tell(Event::Batch { batch, position: self.position }),
            None => Ok(()),
        }
    }

    /// `position`: how far the source is read with this message.
    fn add(&mut self, mailbox: &MailboxName, message: Message, position: u64) -> Result<(), Stop> {
        let id = self.ids.next(mailbox, &message.body);
        let part = Part::new(message, &id);
        let full = self.open.as_ref().is_some_and(|open| {
            open.mailbox != *mailbox
                || open.parts.len() >= self.limits.batch_messages
                || self.bytes + part.bytes() > self.limits.batch_bytes.min(BATCH_BYTES)
        });
        if full {
            self.flush()?;
        }
        self.position = position;
        self.bytes += part.bytes();
        self.open
            .get_or_insert_with(|| Batch { mailbox: mailbox.clone(), parts: Vec::new() })
            .parts
            .push(part);
        Ok(())
    }
}

fn read_mbox(path: &Path, mailbox: &MailboxName, packer: &mut Packer<'_>) -> Result<(), Stop> {
    let file = File::open(path).map_err(failed(path))?;
    let length = file.metadata().map_err(failed(path))?.len();
    packer.tell(Event::Total { amount: length, bytes: true })?;
    let source = BufReader::with_capacity(BUFFER_BYTES, file);
    let opened = Mbox::open(source, packer.limits.message_bytes).map_err(failed(path))?;
    let no_mbox = || Stop::Failed(CliError::Source { path: path.to_owned(), reason: "this is no mbox file" });
    let mut mbox = opened.ok_or_else(no_mbox)?;
    while let Some(found) = mbox.next().map_err(failed(path))? {
        match found {
            Found::Message { offset, body, date_ms } => {
                let place = format!("{} at byte {offset}", path.display());
                let message = Message { flags: mbox::flags(&body), body, date_ms, place };
                packer.add(mailbox, message, mbox.offset())?;
            }
            Found::TooLarge { offset } => {
                packer.skip(format!("{} at byte {offset}", path.display()), "the message is too large")?;
            }
        }
    }
    Ok(())
}

fn read_maildir(root: &Path, base: Option<&MailboxName>, packer: &mut Packer<'_>) -> Result<(), Stop> {
    if !maildir::is_maildir(root) {
        let reason = "this is no Maildir: it has neither 'cur' nor 'new'";
        return Err(Stop::Failed(CliError::Source { path: root.to_owned(), reason }));
    }
    let folders = maildir::folders(root, base).map_err(failed(root))?;
    let mut total = 0;
    for folder in &folders {
        total += maildir::entries(&folder.path).map_err(failed(&folder.path))?.len() as u64;
    }
    packer.tell(Event::Total { amount: total, bytes: false })?;
    let mut position = 0;
    for Folder { path, mailbox } in folders {
        match mailbox {
            Ok(mailbox) => read_folder(&path, &mailbox, &mut position, packer)?,
            Err(reason) => packer.skip(path.display().to_string(), reason)?,
        }
    }
    Ok(())
}

fn read_folder(
    path: &Path,
    mailbox: &MailboxName,
    position: &mut u64,
    packer: &mut Packer<'_>,
) -> Result<(), Stop> {
    for entry in maildir::entries(path).map_err(failed(path))? {
        *position += 1;
        let place = entry.path.display().to_string();
        match maildir::content(&entry.path, packer.limits.message_bytes) {
            Ok(Content::Body { body, .. }) if body.is_empty() => packer.skip(place, "the file is empty")?,
            Ok(Content::Body { body, date_ms }) => {
                let message = Message { body, flags: entry.flags, date_ms, place };
                packer.add(mailbox, message, *position)?;
            }
            Ok(Content::TooLarge) => packer.skip(place, "the message is too large")?,
            Ok(Content::NoFile) => packer.skip(place, "this is no plain file")?,
            Err(error) => packer.skip(place, error.to_string())?,
        }
    }
    Ok(())
}
