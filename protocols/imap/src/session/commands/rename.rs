//! RENAME (RFC 9051 §6.3.6). Of INBOX, it moves the messages; INBOX stays.

use super::super::ask::Ask;
use super::super::core::{DELIMITER, Next, Outcome};
use super::{Open, create};
use crate::codec::command::{Mailbox, Tag};
use crate::codec::response::Code;

pub(super) fn start(tag: Tag, from: Mailbox, to: Mailbox) -> Next {
    let below = |name: &str| name.strip_prefix(from.as_str()).is_some_and(|rest| rest.starts_with(DELIMITER));
    let into_itself = !from.is_inbox() && below(to.as_str());
    if to.is_inbox() {
        return Outcome::no(Some(Code::AlreadyExists), "INBOX exists").of(tag);
    }
    if !create::valid_new_name(&to) || into_itself || from == to {
        return Outcome::no(Some(Code::Cannot), "Not a possible name").of(tag);
    }
    let finished = Outcome::ok("RENAME completed").finished(tag).looking();
    Next::Ask(Ask::Rename { from, to }, Open::Plain(finished))
}
