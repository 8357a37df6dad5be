//! LOGIN (RFC 9051 §6.2.3), and the end of every login.

use super::super::ask::{Answer, Ask, Mechanism, Refusal};
use super::super::core::{Account, Core, Finished, Next, Outcome, refused};
use super::{Open, capability};
use crate::codec::command::{Secret, Tag};
use crate::codec::response::{Code, Condition};

/// The engine looks whether the password is right.
#[derive(Debug)]
pub(crate) struct LoggingIn {
    tag: Tag,
}

pub(super) fn start(core: &mut Core, tag: Tag, user: &[u8], password: Secret) -> Next {
    match std::str::from_utf8(user) {
        Ok(user) => prove(core, tag, Mechanism::Login, "", user, password),
        Err(_) => not_this_time(core, tag, Refusal::Credentials),
    }
}

/// Puts the question.
pub(super) fn prove(
    core: &mut Core,
    tag: Tag,
    mechanism: Mechanism,
    authorization: &str,
    user: &str,
    password: Secret,
) -> Next {
    if !core.may_log_in() {
        return Outcome::no(Some(Code::PrivacyRequired), "Start TLS before you log in").of(tag);
    }
    let (authorization, user) = (authorization.to_owned(), user.to_owned());
    Next::Ask(Ask::Authenticate { mechanism, authorization, user, password }, Open::Login(LoggingIn { tag }))
}

impl LoggingIn {
    pub(super) fn answered(self, core: &mut Core, answer: Answer) -> Next {
        match answer {
            Answer::LoggedIn { append_limit } => {
                core.account = Some(Account { append_limit });
                let code = Code::Capability(capability::names(core));
                Outcome::ok("Logged in").with(code).of(self.tag)
            }
            Answer::Refused(why) => not_this_time(core, self.tag, why),
            other => refused(self.tag, &other),
        }
    }
}

fn not_this_time(core: &mut Core, tag: Tag, why: Refusal) -> Next {
    let (code, text) = match why {
        Refusal::Credentials => (Code::AuthenticationFailed, "Wrong username or password"),
        Refusal::Authorization => (Code::AuthorizationFailed, "You may not act as this user"),
        Refusal::Disabled => (Code::ContactAdmin, "This account may not log in"),
        Refusal::TooMany => (Code::Limit, "Too many attempts, try again later"),
    };
    core.login_failures = core.login_failures.saturating_add(1);
    let outcome = Outcome::no(Some(code), text);
    if core.login_failures < core.config.login_failures_max {
        return outcome.of(tag);
    }
    let Finished { tag, outcome, .. } = outcome.finished(tag);
    core.encoder.tagged(&tag, Condition::No, outcome.code.as_ref(), &outcome.text);
    Next::Bye("Too many failed logins")
}
