//! The local socket in the data folder: only the folder's owner may open it.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// The socket's name in the data folder.
const SOCKET: &str = "control.sock";
/// Paths up to this are handed to the system as they are; it takes 107 bytes.
const PLAIN_PATH_MAX_BYTES: usize = 100;

/// The path of the local socket of a data folder.
pub(crate) fn socket_path(data: &Path) -> PathBuf {
    data.join(SOCKET)
}

/// The folder by a short name, and what keeps that name good.
fn short(data: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if data.as_os_str().len() + SOCKET.len() + ".new".len() < PLAIN_PATH_MAX_BYTES {
        return Ok((data.to_owned(), None));
    }
    let folder = File::open(data)?;
    let name = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    Ok((name, Some(folder)))
}

/// Opens the socket; one that a node left behind is replaced. The caller holds the store's lock, so there
/// is no other node on the folder.
pub(super) fn listen(data: &Path) -> io::Result<UnixListener> {
    let (folder, _open) = short(data)?;
    let fresh = folder.join(format!("{SOCKET}.new"));
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, folder.join(SOCKET))?;
    Ok(listener)
}

/// Connects to the node that serves the folder.
pub(crate) async fn connect(data: &Path) -> io::Result<UnixStream> {
    let (folder, _open) = short(data)?;
    UnixStream::connect(folder.join(SOCKET)).await
}
