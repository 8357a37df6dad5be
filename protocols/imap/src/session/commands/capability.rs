//! CAPABILITY (RFC 9051 §6.1.1): what may be used at this moment.

use super::super::core::{Core, Next, Outcome};
use crate::codec::command::Tag;

/// What holds in every state.
const ALWAYS: [&str; 6] = ["IMAP4rev1", "IMAP4rev2", "LITERAL+", "SASL-IR", "ID", "ENABLE"];

/// What can be used after the login only; told only then, so that clients ask again (RFC 9051 §6.2.3).
const LOGGED_IN: [&str; 21] = [
    "IDLE",
    "NAMESPACE",
    "UNSELECT",
    "UIDPLUS",
    "MOVE",
    "CHILDREN",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
    "STATUS=SIZE",
    "ESEARCH",
    "SEARCHRES",
    "WITHIN",
    "CONDSTORE",
    "OBJECTID",
    "SAVEDATE",
    "UTF8=ACCEPT",
    "QUOTA",
    "QUOTA=RES-STORAGE",
    "QUOTA=RES-MESSAGE",
];

/// The capabilities in the state of the session.
pub(in super::super) fn names(core: &Core) -> Vec<String> {
    let mut names: Vec<String> = ALWAYS.iter().map(|name| (*name).to_owned()).collect();
    if core.account.is_some() {
        names.extend(LOGGED_IN.iter().map(|name| (*name).to_owned()));
        names.push(format!("APPENDLIMIT={}", core.append_limit()));
        return names;
    }
    if core.can_start_tls() {
        names.push("STARTTLS".to_owned());
    }
    names.push(if core.may_log_in() { "AUTH=PLAIN" } else { "LOGINDISABLED" }.to_owned());
    names
}

pub(super) fn start(core: &mut Core, tag: Tag) -> Next {
    let names = names(core);
    core.encoder.capability(&names);
    Outcome::ok("Capabilities listed").of(tag)
}
