//! RENAME (RFC 9051 §6.3.6). Of INBOX, it moves the messages; INBOX stays, and whoever has it selected
//! sees them expunged.

use super::super::ask::{Answer, Ask};
use super::super::core::{Core, DELIMITER, Next, Outcome, refused};
use super::{Open, create, list};
use crate::codec::command::{Mailbox, Tag};
use crate::codec::response::Code;

/// The engine renames.
#[derive(Debug)]
pub(crate) struct Renaming {
    tag: Tag,
    from: Mailbox,
    to: Mailbox,
    /// The old name as it was given, when one of the two names was changed by normalizing it.
    given: Option<Mailbox>,
}

pub(super) fn start(tag: Tag, given_from: Mailbox, given_to: Mailbox) -> Next {
    let (from, to) = (given_from.normalized(), given_to.normalized());
    let into_itself = !from.is_inbox() && below(&to, &from).is_some();
    if to.is_inbox() {
        return Outcome::no(Some(Code::AlreadyExists), "INBOX exists").of(tag);
    }
    if !create::valid_new_name(&to) || into_itself || from == to {
        return Outcome::no(Some(Code::Cannot), "Not a possible name").of(tag);
    }
    let ask = Ask::Rename { from: from.clone(), to: to.clone() };
    let given = (from != given_from || to != given_to).then_some(given_from);
    Next::Ask(ask, Open::Rename(Renaming { tag, from, to, given }))
}

impl Renaming {
    pub(super) fn answered(self, core: &mut Core, answer: &Answer) -> Next {
        let Answer::Done = answer else { return refused(self.tag, answer) };
        // The selected mailbox stays so under its new name.
        if let Some(view) = core.view.as_mut().filter(|_| !self.from.is_inbox()) {
            if view.name == self.from {
                view.name = self.to.clone();
            } else if let Some(rest) = below(&view.name, &self.from)
                && let Some(name) = Mailbox::new(&format!("{}{rest}", self.to))
            {
                view.name = name;
            }
        }
        if let Some(given) = &self.given {
            list::tell_old_name(core, self.to, &[], given);
        }
        Outcome::ok("RENAME completed").of(self.tag)
    }
}

/// What follows the name of a mailbox in that of one below it.
fn below<'a>(name: &'a Mailbox, above: &Mailbox) -> Option<&'a str> {
    name.as_str().strip_prefix(above.as_str()).filter(|rest| rest.starts_with(DELIMITER))
}
