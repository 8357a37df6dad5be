//! Work that waits for the disk, on threads kept for it.
//!
//! Where commits are made by hand ([`Store::is_by_hand`]), it is done in place: there one thread does all, and what other
//! threads are ready with must not decide in which order things go on.

use estafette_storage::Store;

/// The work was given up on its thread, because the program ends or it panicked.
#[derive(Debug)]
pub(crate) struct GivenUp;

/// Does work that reads or writes much.
pub(crate) async fn blocking<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, GivenUp> {
    if store.is_by_hand() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| GivenUp)
}
