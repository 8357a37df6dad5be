//! The directory as a machine of the control group: commands from the log in, rows out.

use crate::command::{At, Change, Command, Reply};
use crate::error::Error;
use crate::rows::{RowSource, Rows, Visit, key_range};
use crate::tables::Directory;
use crate::view::View;
use bytes::Bytes;
use estafette_raft::{Context, Machine, MachineError};
use estafette_storage::{BodyHash, Direction, Family, Read, Transaction};
use std::ops::Range;
use std::sync::Arc;

/// Hears of changes on every node, on the thread that applies them: it must be quick.
pub trait Witness: std::fmt::Debug + Send + Sync {
    /// A change was carried out; readers see it already.
    fn applied(&self, change: &Change);
    /// Anything may be different: the directory was loaded.
    fn replaced(&self);
}

/// Applies commands to the directory that a [`View`] shows.
///
/// A change is seen by readers when it is applied, which is after it was committed.
#[derive(Clone, Debug, Default)]
pub struct DirectoryMachine {
    view: View,
    witness: Option<Arc<dyn Witness>>,
}

impl DirectoryMachine {
    /// Empty until the group has loaded it.
    pub fn new() -> DirectoryMachine {
        DirectoryMachine::default()
    }

    /// Who hears of changes.
    pub fn witnessed_by(self, witness: Arc<dyn Witness>) -> DirectoryMachine {
        DirectoryMachine { witness: Some(witness), ..self }
    }

    /// What it shows, also after it was handed to the group.
    pub fn view(&self) -> View {
        self.view.clone()
    }
}

impl Machine for DirectoryMachine {
    fn apply(
        &mut self,
        context: &Context,
        command: &[u8],
        _bodies: &[BodyHash],
        tx: &mut Transaction,
    ) -> Result<Bytes, MachineError> {
        let bad = |_| MachineError::BadCommand { version: command.first().copied().unwrap_or(0) };
        let command = Command::decode(command).map_err(bad)?;
        let at = At { time_ms: context.time_ms, index: context.index, seed: context.seed };
        let applied =
            self.view.write().apply(&at, &command, &mut TransactionRows(tx)).map_err(machine_error)?;
        if let (Ok(_), Some(witness)) = (&applied, &self.witness) {
            witness.applied(&command.change);
        }
        Ok(Bytes::from(Reply::encode_applied(&applied).map_err(machine_error)?))
    }

    fn ranges(&self) -> Vec<(Family, Range<Vec<u8>>)> {
        vec![(Family::Directory, key_range())]
    }

    fn load(&mut self, rows: &dyn Read) -> Result<(), MachineError> {
        let directory = Directory::load(&StoreRows(rows)).map_err(machine_error)?;
        self.view.replace(directory);
        if let Some(witness) = &self.witness {
            witness.replaced();
        }
        Ok(())
    }
}

fn machine_error(error: Error) -> MachineError {
    match error {
        Error::Store(error) => MachineError::Storage(error),
        Error::Row { key, .. } => MachineError::BadRow { family: Family::Directory, key },
        Error::Dangling { .. } => {
            MachineError::Inconsistent("a record of the directory names one that is not there")
        }
        Error::Version { .. } | Error::Encoding { .. } => {
            MachineError::Inconsistent("a record of the directory cannot be encoded")
        }
    }
}

/// Rows of the directory in the store: for [`crate::audit`] and [`Directory::load`].
#[derive(Clone, Copy)]
pub struct StoreRows<'a>(pub &'a dyn Read);

impl RowSource for StoreRows<'_> {
    fn scan(&self, range: Range<Vec<u8>>, backwards: bool, visit: &mut Visit<'_>) -> Result<(), Error> {
        let direction = if backwards { Direction::Backward } else { Direction::Forward };
        for row in self.0.scan(Family::Directory, range, direction)? {
            let row = row?;
            if !visit(&row.key, &row.value)? {
                break;
            }
        }
        Ok(())
    }
}

struct TransactionRows<'a>(&'a mut Transaction);

impl Rows for TransactionRows<'_> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Error> {
        self.0.put(Family::Directory, key, value);
        Ok(())
    }

    fn delete(&mut self, key: Vec<u8>) -> Result<(), Error> {
        self.0.delete(Family::Directory, key);
        Ok(())
    }

    fn delete_range(&mut self, range: Range<Vec<u8>>) -> Result<(), Error> {
        self.0.delete_range(Family::Directory, range);
        Ok(())
    }
}
