//! The client, with its session and a driver that carries out what it wants.

use super::World;
use crate::session::{Ask, Config, Session};
use bytes::BytesMut;
use estafette_machine::{Action, Actions, Machine, Now, Tls};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A client, its session, and a driver that answers at once.
pub(in crate::session) struct Client {
    pub(in crate::session) session: Session,
    pub(in crate::session) world: Rc<RefCell<World>>,
    input: BytesMut,
    output: Vec<u8>,
    pub(in crate::session) timer: Option<Duration>,
    pub(in crate::session) closed: bool,
    pub(in crate::session) handshake: bool,
    /// The client takes nothing: `drained` is not called.
    pub(in crate::session) stuck: bool,
    /// The engine takes its time: answers wait for [`Client::answer`].
    pub(in crate::session) slow: bool,
    open: Option<Ask>,
    sent: bool,
    pub(in crate::session) clock: Duration,
}

impl Client {
    pub(in crate::session) fn connect(world: &Rc<RefCell<World>>, config: Config) -> Client {
        Client::at(world, Session::new(Arc::new(config)))
    }

    pub(in crate::session) fn at(world: &Rc<RefCell<World>>, session: Session) -> Client {
        let mut client = Client {
            session,
            world: world.clone(),
            input: BytesMut::new(),
            output: Vec::new(),
            timer: None,
            closed: false,
            handshake: false,
            stuck: false,
            slow: false,
            open: None,
            sent: false,
            clock: Duration::from_secs(1000),
        };
        client.step(|session, now, out| session.opened(now, out));
        client
    }

    /// Logged in, without TLS.
    pub(in crate::session) fn new(world: &Rc<RefCell<World>>) -> Client {
        Client::with(world, Config { login_without_tls: true, ..Config::default() })
    }

    pub(in crate::session) fn with(world: &Rc<RefCell<World>>, config: Config) -> Client {
        let mut client = Client::connect(world, config);
        assert!(client.run("in LOGIN user secret").contains("in OK [CAPABILITY "));
        client
    }

    pub(in crate::session) fn selected(world: &Rc<RefCell<World>>, name: &str) -> Client {
        let mut client = Client::new(world);
        assert!(client.run(&format!("se SELECT {name}")).contains("se OK [READ-WRITE]"));
        client
    }

    fn now(&self) -> Now {
        Now { monotonic: self.clock, unix_ms: 3_000_000_000 }
    }

    /// One step, what it wants done, and what follows from it.
    pub(in crate::session) fn step(&mut self, step: impl FnOnce(&mut Session, Now, &mut Actions<Ask>)) {
        let (mut out, now) = (Vec::new(), self.now());
        step(&mut self.session, now, &mut out);
        self.carry_out(out);
        loop {
            let now = self.now();
            let mut out = Vec::new();
            if self.closed {
                return;
            } else if self.open.is_some() {
                if self.slow {
                    return;
                }
                let answer = self.open.take().map(|ask| self.world.borrow_mut().answer(ask));
                self.session.answered(now, answer.unwrap(), &mut out);
            } else if self.sent && !self.stuck {
                self.sent = false;
                self.session.drained(now, &mut out);
            } else if !self.input.is_empty() && !self.handshake {
                let before = self.input.len();
                self.session.received(now, &mut self.input, &mut out);
                if self.input.len() == before && out.is_empty() {
                    return;
                }
            } else {
                return;
            }
            self.carry_out(out);
        }
    }

    fn carry_out(&mut self, out: Actions<Ask>) {
        for action in out {
            assert!(!self.closed, "nothing comes after Close");
            match action {
                Action::Send(bytes) => {
                    self.sent = true;
                    self.output.extend_from_slice(&bytes);
                }
                Action::Ask(ask) => assert!(self.open.replace(ask).is_none(), "one question at a time"),
                Action::Arm(time) => self.timer = Some(time),
                Action::StartTls => self.handshake = true,
                Action::Close => self.closed = true,
            }
        }
    }

    pub(in crate::session) fn send(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        if self.open.is_some() {
            return;
        }
        self.step(|_, _, _| {});
    }

    /// One answer of a slow engine.
    pub(in crate::session) fn answer(&mut self) {
        let answer = self.open.take().map(|ask| self.world.borrow_mut().answer(ask)).unwrap();
        self.step(|session, now, out| session.answered(now, answer, out));
    }

    pub(in crate::session) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    pub(in crate::session) fn text(&mut self) -> String {
        String::from_utf8(self.take()).unwrap()
    }

    /// Sends a line and gives back what came.
    pub(in crate::session) fn run(&mut self, line: &str) -> String {
        self.take();
        self.send(format!("{line}\r\n").as_bytes());
        self.text()
    }

    pub(in crate::session) fn notify(&mut self) -> String {
        self.take();
        self.step(|session, now, out| session.notified(now, out));
        self.text()
    }

    /// Lets time pass and the timer run out.
    pub(in crate::session) fn wait(&mut self, seconds: u64) -> String {
        self.take();
        self.clock += Duration::from_secs(seconds);
        self.step(|session, now, out| session.timed_out(now, out));
        self.text()
    }

    pub(in crate::session) fn secured(&mut self) {
        self.handshake = false;
        self.step(|session, now, out| session.secured(now, Tls::default(), out));
    }
}
