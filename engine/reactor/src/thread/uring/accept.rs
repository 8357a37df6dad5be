//! Listening sockets of the ring: requests that wait for connections, and connections that wait for sessions.
//!
//! Each request has a place for the peer's address, so that no call is needed to learn it, and puts the
//! connection among the direct descriptors. (One multishot request would not tell the address, and would
//! take more connections than there are places.)

use crate::thread::sockets::gone;
use socket2::{SockAddr, SockAddrStorage};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::Waker;

/// Connections that one listener waits for at the same time.
const ACCEPTS_AT_ONCE_MAX: usize = 16;

/// For how many connections each listener may wait: no more than its share of the places that are left.
pub(super) fn accepts_at_once(places: usize, taken: usize, listeners: usize) -> usize {
    (places.saturating_sub(taken) / listeners.max(1)).clamp(1, ACCEPTS_AT_ONCE_MAX)
}

pub(super) struct Listener {
    pub(super) fd: OwnedFd,
    /// Requests on their way.
    pub(super) waiting: usize,
    /// Sockets that nobody has taken yet, or why there is none.
    pub(super) ready: VecDeque<io::Result<(usize, SocketAddr)>>,
    pub(super) reader: Option<Waker>,
    pub(super) closing: bool,
}

impl Listener {
    pub(super) fn new(fd: OwnedFd) -> Listener {
        Listener { fd, waiting: 0, ready: VecDeque::new(), reader: None, closing: false }
    }
}

/// Where the kernel writes who has connected.
pub(super) struct Accept {
    pub(super) listener: usize,
    pub(super) storage: SockAddrStorage,
    pub(super) length: libc::socklen_t,
}

impl Accept {
    pub(super) fn new(listener: usize) -> Accept {
        let storage = SockAddrStorage::zeroed();
        let length = storage.size_of();
        Accept { listener, storage, length }
    }

    /// Who has connected.
    pub(super) fn peer(self) -> io::Result<SocketAddr> {
        // SAFETY: the kernel has written an address of this length, or the storage is still of zeroes.
        let address = unsafe { SockAddr::new(self.storage, self.length) };
        address.as_socket().ok_or_else(gone)
    }
}
