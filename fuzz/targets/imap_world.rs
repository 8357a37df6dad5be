//! The engine in memory of the IMAP crate's tests, made to answer a fuzzer's driver.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

pub use estafette_imap::session::*;

#[path = "../../protocols/imap/src/session/testing/mod.rs"]
mod testing;

/// Mailboxes with some messages in them.
pub struct Mailboxes(testing::World);

impl Mailboxes {
    pub fn new(messages: &[&[u8]]) -> Mailboxes {
        let mut world = testing::World::new();
        messages.iter().for_each(|message| _ = world.deliver("INBOX", message));
        world.deliver("Drafts", b"Subject: draft\r\n\r\n");
        world.folder("a/b");
        Mailboxes(world)
    }
}

impl estafette_fuzz::Engine<Session> for Mailboxes {
    fn answer(&mut self, ask: Ask) -> Answer {
        self.0.answer(ask)
    }
}
