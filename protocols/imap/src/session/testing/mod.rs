//! An engine in memory and a driver without sockets, for tests.
#![allow(clippy::cast_possible_truncation)]

mod client;
mod engine;
mod subject;

pub(super) use client::Client;
pub(super) use engine::World;

use estafette_types::Uid;
use std::cell::RefCell;
use std::rc::Rc;

pub(super) fn uid(value: u32) -> Uid {
    Uid::new(value).unwrap()
}

/// A world with some messages in INBOX.
pub(super) fn world(bodies: &[&[u8]]) -> Rc<RefCell<World>> {
    let mut world = World::new();
    for body in bodies {
        world.deliver("INBOX", body);
    }
    Rc::new(RefCell::new(world))
}
