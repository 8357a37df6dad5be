//! What the driver wants of the kernel that no number of a version tells: it is tried.
//!
//! Up to Linux 6.12 what was taken out of the table of direct descriptors is let go in the order in which requests
//! were made: a connection would stay open as long as any older request stands, and one stands for every idle
//! connection. Distributions carry mends back, so the thing itself is looked at.

use super::ring::Ring;
use io_uring::{opcode, types};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the end of a connection may take to be seen. It is seen at once where it works.
const SEEN_AFTER_MAX: Duration = Duration::from_millis(500);

/// Tries whether a closed connection ends while an older request stands.
///
/// # Errors
/// `Unsupported` when it does not; else what the kernel refuses.
pub(in crate::thread) fn probe() -> io::Result<()> {
    let mut ring = Ring::open(2)?;
    let (_peer, idle) = UnixStream::pair()?;
    let (mut watching, closed) = UnixStream::pair()?;
    ring.submitter().register_files_update(0, &[idle.as_raw_fd(), closed.as_raw_fd()])?;
    drop((idle, closed));
    let readable = u32::from(rustix::event::PollFlags::IN.bits());
    let standing = opcode::PollAdd::new(types::Fixed(0), readable).build();
    let close = opcode::Close::new(types::Fixed(1)).build();
    // SAFETY: neither names memory.
    unsafe {
        ring.push(&standing)?;
        ring.push(&close)?;
    }
    ring.enter(Some(SEEN_AFTER_MAX))?;
    watching.set_read_timeout(Some(SEEN_AFTER_MAX))?;
    match watching.read(&mut [0]) {
        Ok(0) => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "connections stay open after they were closed, as before Linux 6.13",
        )),
    }
}
