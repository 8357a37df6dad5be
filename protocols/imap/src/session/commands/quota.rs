//! GETQUOTA, GETQUOTAROOT (RFC 9208 §4.1, §4.2). There is one root, named `""`: the account. Limits
//! are set by those who run the server, never by SETQUOTA.

use super::super::ask::{Answer, Ask, Quota};
use super::super::core::{Core, Next, Outcome, refused};
use super::Open;
use crate::codec::command::{Mailbox, Tag};
use crate::codec::response::{Code, QuotaResource};

const ROOT: &str = "";
/// The unit of STORAGE in bytes (RFC 9208 §5.1).
const STORAGE_UNIT: u64 = 1024;

/// The engine reads use and limits.
#[derive(Debug)]
pub(crate) struct Reading {
    tag: Tag,
    /// The mailbox whose roots are asked for.
    mailbox: Option<Mailbox>,
}

pub(super) fn start(tag: Tag, root: &str) -> Next {
    if root != ROOT {
        return Outcome::no(Some(Code::NonExistent), "No such quota root").of(tag);
    }
    Next::Ask(Ask::Quota { of_mailbox: None }, Open::Quota(Reading { tag, mailbox: None }))
}

pub(super) fn start_root(tag: Tag, mailbox: Mailbox) -> Next {
    let of_mailbox = Some(mailbox);
    Next::Ask(
        Ask::Quota { of_mailbox: of_mailbox.clone() },
        Open::Quota(Reading { tag, mailbox: of_mailbox }),
    )
}

pub(super) fn start_set(tag: Tag) -> Next {
    Outcome::no(Some(Code::NoPerm), "Quotas are set by the administrator").of(tag)
}

impl Reading {
    pub(super) fn answered(self, core: &mut Core, answer: Answer) -> Next {
        let quota = match answer {
            Answer::Quota(quota) => quota,
            other => return refused(self.tag, &other),
        };
        let resources = resources(&quota);
        let text = if let Some(mailbox) = &self.mailbox {
            // Without limits there is no root.
            let roots: &[&str] = if resources.is_empty() { &[] } else { &[ROOT] };
            core.encoder.quota_root(mailbox, roots);
            "GETQUOTAROOT completed"
        } else {
            if resources.is_empty() {
                return Outcome::no(Some(Code::NonExistent), "There is no quota").of(self.tag);
            }
            "GETQUOTA completed"
        };
        if !resources.is_empty() {
            core.encoder.quota(ROOT, &resources);
        }
        Outcome::ok(text).of(self.tag)
    }
}

fn resources(quota: &Quota) -> Vec<QuotaResource> {
    let storage = quota.limit_bytes.map(|limit| QuotaResource {
        name: "STORAGE",
        usage: quota.used_bytes.div_ceil(STORAGE_UNIT),
        limit: limit / STORAGE_UNIT,
    });
    let message = quota.limit_messages.map(|limit| QuotaResource {
        name: "MESSAGE",
        usage: quota.used_messages,
        limit,
    });
    storage.into_iter().chain(message).collect()
}
