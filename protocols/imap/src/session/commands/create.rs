//! CREATE (RFC 9051 §6.3.4), with a special use (RFC 6154 §3) and MAILBOXID (RFC 8474 §4.1).

use super::super::ask::{Answer, Ask};
use super::super::core::{Core, DELIMITER, Next, Outcome, refused};
use super::{Open, list};
use crate::codec::command::{Mailbox, Tag};
use crate::codec::mailbox::Create;
use crate::codec::response::Code;

/// The engine makes it.
#[derive(Debug)]
pub(crate) struct Creating {
    tag: Tag,
    name: Mailbox,
    given: Mailbox,
}

pub(super) fn start(tag: Tag, what: Create) -> Next {
    let Create { mailbox, special_use } = what;
    // A delimiter at the end says that there will be mailboxes below; it is no part of the name.
    let trimmed = mailbox.as_str().strip_suffix(DELIMITER).unwrap_or(mailbox.as_str());
    let Some(given) = Mailbox::new(trimmed).filter(valid_new_name) else {
        return Outcome::no(Some(Code::Cannot), "Not a possible name").of(tag);
    };
    let name = given.normalized();
    Next::Ask(Ask::Create { name: name.clone(), special_use }, Open::Create(Creating { tag, name, given }))
}

impl Creating {
    pub(super) fn answered(self, core: &mut Core, answer: &Answer) -> Next {
        let Answer::Created(id) = answer else { return refused(self.tag, answer) };
        list::tell_normalized(core, self.name, &[], &self.given);
        Outcome::ok("CREATE completed").with(Code::MailboxId(list::mailbox_id(*id))).of(self.tag)
    }
}

/// True for a name that a new mailbox may have: no empty level, no wildcards (RFC 9051 §5.1).
pub(super) fn valid_new_name(name: &Mailbox) -> bool {
    let name = name.as_str();
    !name.split(DELIMITER).any(str::is_empty) && !name.contains(['%', '*'])
}
