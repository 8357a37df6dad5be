//! SUBSCRIBE and UNSUBSCRIBE (RFC 9051 §6.3.7, §6.3.8).

use super::super::ask::Ask;
use super::super::core::{Next, Outcome};
use super::Open;
use crate::codec::command::{Mailbox, Tag};

pub(super) fn start(tag: Tag, name: Mailbox, subscribed: bool) -> Next {
    let text = if subscribed { "SUBSCRIBE completed" } else { "UNSUBSCRIBE completed" };
    Next::Ask(Ask::Subscribe { name, subscribed }, Open::Plain(Outcome::ok(text).finished(tag)))
}
