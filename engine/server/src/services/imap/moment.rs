//! The rows of mailboxes at one moment.
//!
//! Made for one question and dropped with its answer: a view keeps old rows from being removed.

use super::convert::Keywords;
use crate::engine::{Engine, EngineError};
use estafette_imap::codec::command::Mailbox;
use estafette_imap::session::ask::Failure;
use estafette_mailbox::{AccountRef, MailboxName, MailboxRef, MailboxRow, Structures, UidMaps, read};
use estafette_storage::{Read, Store, View};
use estafette_types::UidSet;
use std::sync::Arc;

/// Why a question is not answered with what it asks for.
#[derive(Debug)]
pub(super) enum Stop {
    /// The client is told so.
    Told(Failure),
    /// The engine failed.
    Failed(EngineError),
    /// The account is in another shard, or what was read there is older than what was read here.
    Moved,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Told(failure)
    }
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Stop {
        Stop::Failed(error)
    }
}

impl From<estafette_mailbox::Error> for Stop {
    fn from(error: estafette_mailbox::Error) -> Stop {
        Stop::Failed(error.into())
    }
}

impl From<estafette_storage::Error> for Stop {
    fn from(error: estafette_storage::Error) -> Stop {
        Stop::Failed(error.into())
    }
}

/// One view of the store, and what helps to read it.
pub(super) struct Moment<'a> {
    pub(super) view: View,
    pub(super) store: &'a Store,
    pub(super) structures: &'a Structures,
    pub(super) uid_maps: &'a UidMaps,
}

impl<'a> Moment<'a> {
    /// Now.
    pub(super) fn of(engine: &'a Engine) -> Moment<'a> {
        Moment::at(engine, engine.store.view())
    }

    /// That of a view.
    pub(super) fn at(engine: &'a Engine, view: View) -> Moment<'a> {
        Moment { view, store: &engine.store, structures: &engine.structures, uid_maps: &engine.uid_maps }
    }

    /// The counters of an open mailbox.
    pub(super) fn mailbox(&self, at: MailboxRef) -> Result<MailboxRow, Stop> {
        match read::mailbox(&self.view, at)? {
            Some(row) => Ok(row),
            None => Err(self.missing(at.owner(), Failure::MailboxGone)?),
        }
    }

    /// Why something is missing in an account: that, or the account is elsewhere.
    pub(super) fn missing(&self, at: AccountRef, failure: Failure) -> Result<Stop, Stop> {
        Ok(if is_elsewhere(&self.view, at)? { Stop::Moved } else { Stop::Told(failure) })
    }

    /// The mailbox of a name, which may hold messages.
    pub(super) fn named(&self, at: AccountRef, name: &Mailbox) -> Result<(MailboxRef, MailboxRow), Stop> {
        let name = existing_name(name)?;
        match read::mailbox_by_name(&self.view, at, &name)? {
            Some(found) => Ok(found),
            None => Err(self.missing(at, Failure::NonExistent)?),
        }
    }

    /// The UIDs of a mailbox.
    pub(super) fn uids(&self, at: MailboxRef, row: &MailboxRow) -> Result<Arc<UidSet>, Stop> {
        Ok(self.uid_maps.read(&self.view, at, row)?)
    }

    /// The keywords of a mailbox.
    pub(super) fn keywords(&self, at: MailboxRef) -> Result<Keywords, Stop> {
        Ok(Keywords::new(&read::keywords(&self.view, at)?))
    }
}

/// True when an account is (by now) in another shard: what is not found here may be there.
pub(super) fn is_elsewhere(rows: &impl Read, at: AccountRef) -> Result<bool, Stop> {
    Ok(read::state(rows, at)?.is_some_and(|(state, _)| state.is_elsewhere()))
}

/// The keywords of a mailbox whose rows were read before, without a view: whole, or the account is elsewhere.
pub(super) fn keywords_after(rows: &impl Read, at: MailboxRef) -> Result<Keywords, Stop> {
    let keywords = Keywords::new(&read::keywords(rows, at)?);
    if is_elsewhere(rows, at.owner())? { Err(Stop::Moved) } else { Ok(keywords) }
}

/// The canonical form of a name that should exist; there is none of a name that cannot.
pub(super) fn existing_name(name: &Mailbox) -> Result<MailboxName, Stop> {
    MailboxName::parse(name.as_str()).map_err(|_| Stop::Told(Failure::NonExistent))
}

/// The canonical form of a name that is to be.
pub(super) fn new_name(name: &Mailbox) -> Result<MailboxName, Stop> {
    MailboxName::parse(name.as_str()).map_err(|_| Stop::Told(Failure::Cannot))
}
