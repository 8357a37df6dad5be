//! CREATE (RFC 9051 §6.3.4), with a special use (RFC 6154 §3) and MAILBOXID (RFC 8474 §4.1).

use super::super::ask::{Answer, Ask};
use super::super::core::{DELIMITER, Next, Outcome, refused};
use super::Open;
use crate::codec::command::{Mailbox, Tag};
use crate::codec::mailbox::Create;
use crate::codec::response::Code;

pub(super) fn start(tag: Tag, what: Create) -> Next {
    let Create { mailbox, special_use } = what;
    // A delimiter at the end says that there will be mailboxes below; it is no part of the name.
    let trimmed = mailbox.as_str().strip_suffix(DELIMITER).unwrap_or(mailbox.as_str());
    match Mailbox::new(trimmed).filter(valid_new_name) {
        Some(name) => Next::Ask(Ask::Create { name, special_use }, Open::Create(tag)),
        None => Outcome::no(Some(Code::Cannot), "Not a possible name").of(tag),
    }
}

/// The engine has made it.
pub(super) fn answered(tag: Tag, answer: Answer) -> Next {
    match answer {
        Answer::Created(id) => {
            let code = Code::MailboxId(super::list::mailbox_id(id));
            Outcome::ok("CREATE completed").with(code).of(tag)
        }
        other => refused(tag, &other),
    }
}

/// True for a name that a new mailbox may have: no empty level, no wildcards (RFC 9051 §5.1).
pub(super) fn valid_new_name(name: &Mailbox) -> bool {
    let name = name.as_str();
    !name.split(DELIMITER).any(str::is_empty) && !name.contains(['%', '*'])
}
