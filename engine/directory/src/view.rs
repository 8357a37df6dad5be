//! The handle by which all of a node reads its directory.

use crate::tables::Directory;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::sync::Arc;

/// A cheap handle to the directory of this node. Readers must not hold the guard over a wait: records
/// (`Arc<Account>` and the like) are taken out of it and kept instead.
#[derive(Clone, Debug, Default)]
pub struct View(Arc<RwLock<Directory>>);

impl View {
    /// Wraps a directory.
    pub fn new(directory: Directory) -> View {
        View(Arc::new(RwLock::new(directory)))
    }

    /// The directory as it is now.
    pub fn read(&self) -> RwLockReadGuard<'_, Directory> {
        self.0.read()
    }

    /// For the one who applies the log.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Directory> {
        self.0.write()
    }

    /// Puts another directory in its place: after a snapshot.
    pub(crate) fn replace(&self, directory: Directory) {
        *self.0.write() = directory;
    }
}
