//! RENAME (RFC 9051 §6.3.6). Of INBOX, it moves the messages; INBOX stays.

use super::super::ask::{Answer, Ask};
use super::super::core::{Core, DELIMITER, Next, Outcome, refused};
use super::{Open, create};
use crate::codec::command::{Mailbox, Tag};
use crate::codec::response::Code;

/// The engine renames.
#[derive(Debug)]
pub(crate) struct Renaming {
    tag: Tag,
    from: Mailbox,
    to: Mailbox,
}

pub(super) fn start(tag: Tag, from: Mailbox, to: Mailbox) -> Next {
    let into_itself = !from.is_inbox() && below(&to, &from).is_some();
    if to.is_inbox() {
        return Outcome::no(Some(Code::AlreadyExists), "INBOX exists").of(tag);
    }
    if !create::valid_new_name(&to) || into_itself || from == to {
        return Outcome::no(Some(Code::Cannot), "Not a possible name").of(tag);
    }
    let ask = Ask::Rename { from: from.clone(), to: to.clone() };
    Next::Ask(ask, Open::Rename(Renaming { tag, from, to }))
}

impl Renaming {
    pub(super) fn answered(self, core: &mut Core, answer: &Answer) -> Next {
        let Answer::Done = answer else { return refused(self.tag, answer) };
        // The selected mailbox stays so under its new name. Of INBOX the engine tells what became of it.
        if let Some(view) = core.view.as_mut().filter(|_| !self.from.is_inbox()) {
            if view.name == self.from {
                view.name = self.to;
            } else if let Some(rest) = below(&view.name, &self.from)
                && let Some(name) = Mailbox::new(&format!("{}{rest}", self.to))
            {
                view.name = name;
            }
        }
        Outcome::ok("RENAME completed").of(self.tag)
    }
}

/// What follows the name of a mailbox in that of one below it.
fn below<'a>(name: &'a Mailbox, above: &Mailbox) -> Option<&'a str> {
    name.as_str().strip_prefix(above.as_str()).filter(|rest| rest.starts_with(DELIMITER))
}
