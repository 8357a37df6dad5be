//! One io_uring: requests go in, completions come out.
//!
//! Invariants: the ring belongs to the thread that made it; after each [`Ring::enter`] the kernel has all requests
//! that were put down. It counts the requests whose last completion is still to come.
//! Must not: know what requests are about.

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};
use std::io;
use std::time::Duration;

/// Requests that are gathered before they are handed over.
const SUBMISSIONS: u32 = 1024;
/// Completions that the kernel keeps in the ring; what comes beyond it keeps elsewhere.
const COMPLETIONS: u32 = 8192;

/// How often requests are handed over again that the kernel did not take.
const HAND_OVER_TRIES: usize = 10_000;

/// What the driver asks of the kernel beyond what setting up the ring shows.
const NEEDED: [(u8, &str); 8] = [
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::RecvMulti::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::SendMsgZc::CODE, "SENDMSG_ZC"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::Shutdown::CODE, "SHUTDOWN"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::FilesUpdate::CODE, "FILES_UPDATE"),
];

pub(super) struct Ring {
    io: IoUring,
    /// Requests whose last completion has not come.
    in_flight: usize,
}

impl Ring {
    /// A ring with room for so many direct descriptors.
    pub(super) fn open(descriptors: u32) -> io::Result<Ring> {
        // Its features are of Linux 6.1, which has multishot receive and rings of buffers too; what is wanted
        // beyond them is tried (see `probe`).
        let io = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(COMPLETIONS)
            .dontfork()
            .build(SUBMISSIONS)?;
        let mut probe = Probe::new();
        io.submitter().register_probe(&mut probe)?;
        if let Some((_, name)) = NEEDED.iter().find(|(code, _)| !probe.is_supported(*code)) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, format!("the kernel has no {name}")));
        }
        if !io.params().is_feature_nodrop() || !io.params().is_feature_ext_arg() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel's io_uring is too old"));
        }
        io.submitter().register_files_sparse(descriptors)?;
        Ok(Ring { io, in_flight: 0 })
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.io.submitter()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Puts a request down, to be handed over at the next [`Ring::enter`].
    ///
    /// # Safety
    /// What the kernel is told to read or write lives, and stays where it is, until the last completion of
    /// the request; what it copies when the request is handed over (`msghdr`, `iovec`), until then.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        for _ in 0..HAND_OVER_TRIES {
            // SAFETY: that of this function.
            if unsafe { self.io.submission().push(entry) }.is_ok() {
                self.in_flight += 1;
                return Ok(());
            }
            // Full: room is made by handing over.
            settled(self.io.submit())?;
        }
        Err(io::ErrorKind::OutOfMemory.into())
    }

    /// A request that says nothing when it succeeds, and is not counted.
    ///
    /// # Safety
    /// That of [`Ring::push`].
    pub(super) unsafe fn push_silent(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: that of this function.
        unsafe { self.push(&entry.flags(squeue::Flags::SKIP_SUCCESS)) }?;
        self.in_flight -= 1;
        Ok(())
    }

    /// Hands over all that was put down and waits until a completion is there, no longer than this.
    pub(super) fn enter(&mut self, longest: Option<Duration>) -> io::Result<()> {
        let submission = self.io.submission();
        let idle = submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
        drop(submission);
        match longest {
            Some(Duration::ZERO) if idle => return Ok(()),
            Some(Duration::ZERO) => settled(self.io.submit())?,
            longest => {
                let time = longest.map(types::Timespec::from);
                let mut arguments = types::SubmitArgs::new();
                if let Some(time) = &time {
                    arguments = arguments.timespec(time);
                }
                settled(self.io.submitter().submit_with_args(1, &arguments))?;
            }
        }
        // The kernel takes part of them only when it is short of memory.
        for _ in 0..HAND_OVER_TRIES {
            if self.io.submission().is_empty() {
                return Ok(());
            }
            settled(self.io.submit())?;
            std::thread::yield_now();
        }
        Err(io::ErrorKind::OutOfMemory.into())
    }

    /// Takes the completions that are in the ring; true when the kernel has more that found no place.
    pub(super) fn completed(&mut self, into: &mut Vec<cqueue::Entry>) -> io::Result<bool> {
        into.extend(self.io.completion());
        let more = self.io.submission().cq_overflow();
        if more {
            settled(self.io.submit())?;
        }
        Ok(more)
    }

    /// To be told of the last completion of a request that was counted.
    pub(super) fn finished(&mut self) {
        assert!(self.in_flight > 0, "a completion for each request and no more");
        self.in_flight -= 1;
    }
}

/// What is no fault of the ring: the time is over, a signal came, memory is short for the moment, or
/// completions have to be taken first.
fn settled(outcome: io::Result<usize>) -> io::Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}
