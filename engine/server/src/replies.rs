//! The one place where what went wrong becomes what a client is told.

use crate::engine::EngineError;
use estafette_delivery::Problem;
use estafette_imap::session::ask::Failure;
use estafette_mailbox::Refusal;
use estafette_smtp::Reply;

/// The SMTP and LMTP reply for a recipient that cannot have a message.
pub(crate) fn of_problem(problem: &Problem) -> Reply {
    match problem {
        Problem::Unknown => Reply::new(550, (5, 1, 1), "no such recipient here"),
        Problem::NotLocal => {
            Reply::new(550, (5, 7, 1), "mail for other domains is not taken here without a login")
        }
        Problem::Disabled => Reply::new(550, (5, 2, 1), "this recipient takes no mail"),
        Problem::Suspended => Reply::new(450, (4, 2, 1), "temporary failure: the domain is suspended"),
        Problem::Bounce => Reply::new(550, (5, 7, 1), "this recipient refuses mail"),
        Problem::Loop => Reply::new(550, (5, 4, 6), "the recipient leads round in a loop"),
        Problem::OverQuota => over_quota(),
        Problem::MailboxFull => {
            Reply::new(452, (4, 2, 2), "temporary failure: the mailbox takes no more messages")
        }
        Problem::DiskFull => disk_full(),
        Problem::Fault(error) => {
            tracing::error!(%error, "a message could not be taken");
            temporary()
        }
    }
}

/// SPEC M-2.
pub(crate) fn over_quota() -> Reply {
    Reply::new(452, (4, 2, 2), "temporary failure: user overquota")
}

/// DESIGN 4: reads go on, mail is put off.
pub(crate) fn disk_full() -> Reply {
    Reply::new(452, (4, 3, 1), "temporary failure: the system has no room for mail")
}

/// A fault of ours that may pass.
pub(crate) fn temporary() -> Reply {
    Reply::new(451, (4, 3, 0), "temporary failure: please try again later")
}

/// What an IMAP client is told of a refused command on mailboxes.
pub(crate) fn of_refusal(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::OverQuota => Failure::OverQuota,
        Refusal::NoAccount => Failure::Unavailable,
        Refusal::NoMailbox => Failure::NonExistent,
        Refusal::Exists => Failure::AlreadyExists,
        Refusal::HasChildren => Failure::HasChildren,
        Refusal::Inbox | Refusal::BadName => Failure::Cannot,
        Refusal::UseTaken => Failure::UseAttribute,
        Refusal::TooManyMailboxes | Refusal::TooManyKeywords | Refusal::TooMuch | Refusal::MailboxFull => {
            Failure::Limit
        }
    }
}

/// What an IMAP client is told when the engine failed.
pub(crate) fn of_error(error: &EngineError) -> Failure {
    let passing = match error {
        EngineError::Raft(error) => !error.is_fatal(),
        EngineError::Delivery(error) => !error.is_fatal(),
        _ => false,
    };
    tracing::error!(%error, "a command could not be carried out");
    if passing { Failure::Unavailable } else { Failure::Internal }
}
