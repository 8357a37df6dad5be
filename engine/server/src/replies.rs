//! The one place where what went wrong becomes what a client is told.

use crate::engine::EngineError;
use estafette_delivery::Problem;
use estafette_imap::session::ask::Failure;
use estafette_mailbox::Refusal;
use estafette_pop3::Failure as PopFailure;
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
            match error.is_fatal() {
                true => tracing::error!(%error, "a message could not be taken"),
                false => tracing::warn!(%error, "a message could not be taken now"),
            }
            temporary()
        }
    }
}

/// What is not known here may be known to other nodes, and those cannot be asked (4.4.3: the directory fails).
pub(crate) fn not_fresh(error: &EngineError) -> Reply {
    tracing::warn!(%error, "other nodes cannot be asked");
    Reply::new(
        451,
        (4, 4, 3),
        "temporary failure: the directory cannot be reached now, please try again later",
    )
}

/// A login cannot be judged now (RFC 4954 §6).
pub(crate) fn login_put_off() -> Reply {
    Reply::new(454, (4, 7, 0), "temporary failure: logins cannot be checked now, please try again later")
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
        Refusal::NoAccount | Refusal::Moved | Refusal::NotMoving | Refusal::BadRow => Failure::Unavailable,
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
    if error.is_passing() {
        tracing::warn!(%error, "a command could not be carried out now");
        return Failure::Unavailable;
    }
    tracing::error!(%error, "a command could not be carried out");
    Failure::Internal
}

/// What a POP3 client is told when the engine failed.
pub(crate) fn of_error_in_pop3(error: &EngineError) -> PopFailure {
    match error.is_passing() {
        true => tracing::warn!(%error, "a POP3 command could not be carried out now"),
        false => tracing::error!(%error, "a POP3 command could not be carried out"),
    }
    PopFailure::Temporary
}
