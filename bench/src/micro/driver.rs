//! The least that runs a protocol session: what it asks is answered at once, what it sends is thrown away.

use super::arrival::arrives;
use bytes::BytesMut;
use estafette_machine::{Action, Actions, Machine, Now};
use std::time::Duration;

const NOW: Now = Now { monotonic: Duration::from_secs(1000), unix_ms: 1_700_000_000_000 };

/// A session and what answers it.
pub(super) struct Driver<M: Machine> {
    machine: M,
    answer: fn(M::Ask) -> M::Answer,
    input: BytesMut,
    actions: Actions<M::Ask>,
    /// Bytes that were sent.
    pub(super) sent: usize,
}

impl<M: Machine> Driver<M> {
    /// A session that is open.
    pub(super) fn new(machine: M, answer: fn(M::Ask) -> M::Answer) -> Driver<M> {
        let mut driver = Driver { machine, answer, input: BytesMut::new(), actions: Vec::new(), sent: 0 };
        driver.machine.opened(NOW, &mut driver.actions);
        driver.settle();
        driver
    }

    /// Gives it what arrived, and carries out everything that comes of it.
    pub(super) fn receive(&mut self, bytes: BytesMut) {
        arrives(&mut self.input, bytes);
        loop {
            let before = self.input.len();
            self.machine.received(NOW, &mut self.input, &mut self.actions);
            self.settle();
            self.machine.drained(NOW, &mut self.actions);
            let drained = !self.actions.is_empty();
            self.settle();
            if self.input.is_empty() || (self.input.len() == before && !drained) {
                return;
            }
        }
    }

    fn settle(&mut self) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::Send(bytes) => self.sent += bytes.len(),
                    Action::Ask(ask) => self.machine.answered(NOW, (self.answer)(ask), &mut self.actions),
                    Action::StartTls | Action::Arm(_) | Action::Close => {}
                }
            }
            if self.actions.is_empty() {
                self.machine.drained(NOW, &mut self.actions);
            }
        }
    }
}
