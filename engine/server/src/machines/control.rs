//! The control group: the directory, read locally through its [`View`].

use bytes::Bytes;
use estafette_directory::{At, Command, Directory, Error, Reply, RowSource, Rows, View, key_range};
use estafette_raft::{Context, Machine, MachineError};
use estafette_storage::{BodyHash, Direction, Family, Read, Transaction};
use std::ops::Range;

/// Applies directory commands and publishes them to `view`.
pub(crate) struct ControlMachine {
    view: View,
}

impl ControlMachine {
    pub(crate) fn new(view: View) -> ControlMachine {
        ControlMachine { view }
    }
}

/// Writes the directory's rows into the transaction of a log entry.
struct Writer<'a>(&'a mut Transaction);

impl Rows for Writer<'_> {
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

/// Reads the directory's rows.
pub(crate) struct Source<'a>(pub(crate) &'a dyn Read);

impl RowSource for Source<'_> {
    fn scan(
        &self,
        range: Range<Vec<u8>>,
        backwards: bool,
        each: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let direction = if backwards { Direction::Backward } else { Direction::Forward };
        for row in self.0.scan(Family::Directory, range, direction).map_err(Error::from)? {
            let row = row.map_err(Error::from)?;
            if !each(&row.key, &row.value)? {
                break;
            }
        }
        Ok(())
    }
}

fn fatal(error: Error) -> MachineError {
    match error {
        Error::Store(error) => MachineError::Storage(error),
        Error::Version { version, .. } => MachineError::BadCommand { version },
        Error::Row { key, .. } => MachineError::BadRow { family: Family::Directory, key },
        Error::Encoding { .. } => MachineError::Inconsistent("a record of the directory cannot be encoded"),
        Error::Dangling { .. } => MachineError::Inconsistent("a record of the directory names one that is not there"),
    }
}

impl Machine for ControlMachine {
    fn apply(
        &mut self,
        context: &Context,
        command: &[u8],
        _: &[BodyHash],
        tx: &mut Transaction,
    ) -> Result<Bytes, MachineError> {
        let command = Command::decode(command).map_err(fatal)?;
        let at = At { time_ms: context.time_ms, index: context.index, seed: context.seed };
        let applied = self.view.write().apply(&at, &command, &mut Writer(tx)).map_err(fatal)?;
        Ok(Reply::encode_applied(&applied).map_err(fatal)?.into())
    }

    fn ranges(&self) -> Vec<(Family, Range<Vec<u8>>)> {
        vec![(Family::Directory, key_range())]
    }

    fn load(&mut self, rows: &dyn Read) -> Result<(), MachineError> {
        self.view.replace(Directory::load(&Source(rows)).map_err(fatal)?);
        Ok(())
    }
}
