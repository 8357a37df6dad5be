//! ENABLE (RFC 9051 §6.3.1, RFC 5161). What is not known is passed over.

use super::super::core::{Core, Next, Outcome};
use crate::codec::command::{Enable, Tag};

pub(super) fn start(core: &mut Core, tag: Tag, what: &[Enable]) -> Next {
    let mut now = Vec::new();
    for one in what {
        let (on, name) = match one {
            Enable::Imap4Rev2 => (std::mem::replace(&mut core.enabled.rev2, true), "IMAP4rev2"),
            Enable::Utf8Accept => (std::mem::replace(&mut core.enabled.utf8, true), "UTF8=ACCEPT"),
            Enable::CondStore => (!core.enable_condstore(), "CONDSTORE"),
            Enable::QResync | Enable::Other(_) => continue,
        };
        if !on {
            now.push(name);
        }
    }
    core.encoder.enabled(&now);
    Outcome::ok("ENABLE completed").of(tag)
}
