//! AUTH: PLAIN and LOGIN (RFC 4954, RFC 4616).

use super::Session;
use super::ask::{Answer, Ask, Mechanism};
use super::config::Kind;
use super::message::not_fitting;
use super::phase::{Exchange, Phase, Question};
use super::session::{Out, Outcome};
use crate::{Error, Reply, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// `Username:` and `Password:` in base64, as clients of LOGIN await them.
const LOGIN_PROMPTS: [&str; 2] = ["VXNlcm5hbWU6", "UGFzc3dvcmQ6"];

pub(super) fn auth(session: &mut Session, argument: &str, out: &mut Out) -> Outcome {
    if session.config.kind != Kind::Submission {
        return Err(Reply::new(502, (5, 5, 1), "AUTH is not offered"));
    }
    if session.peer.identity.is_some() {
        return Err(Reply::new(503, (5, 5, 1), "you are logged in already"));
    }
    if session.config.require_tls_for_auth && session.peer.tls.is_none() {
        return Err(Reply::new(538, (5, 7, 11), "TLS is required for authentication"));
    }
    let (name, initial) = argument.split_once(' ').map_or((argument, None), |(a, b)| (a, Some(b.trim())));
    let exchange = if name.eq_ignore_ascii_case("PLAIN") {
        Exchange::Plain
    } else if name.eq_ignore_ascii_case("LOGIN") {
        Exchange::LoginName
    } else if name.is_empty() {
        return Err(Error::Syntax("AUTH mechanism [initial-response]").reply());
    } else {
        return Err(Reply::new(504, (5, 5, 4), "unrecognized authentication type"));
    };
    match initial {
        None => {
            prompt(session, exchange, out);
            Ok(())
        }
        Some("=") => decoded(session, exchange, String::new(), out),
        Some(initial) => response(session, exchange, initial.as_bytes(), out),
    }
}

/// Awaits the next response.
fn prompt(session: &mut Session, exchange: Exchange, out: &mut Out) {
    let challenge = match exchange {
        Exchange::Plain => "",
        Exchange::LoginName => LOGIN_PROMPTS[0],
        Exchange::LoginPassword(_) => LOGIN_PROMPTS[1],
    };
    session.phase = Phase::Auth(exchange);
    session.say(&Reply::bare(334, challenge), out);
}

/// A response came, still in base64.
pub(super) fn response(session: &mut Session, exchange: Exchange, line: &[u8], out: &mut Out) -> Outcome {
    if line == b"*" {
        return Err(Reply::new(501, (5, 7, 0), "authentication cancelled"));
    }
    let bytes = STANDARD.decode(line).map_err(|_| Error::Base64)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::Base64)?;
    decoded(session, exchange, text, out)
}

fn decoded(session: &mut Session, exchange: Exchange, text: String, out: &mut Out) -> Outcome {
    match exchange {
        Exchange::Plain => {
            let mut parts = text.splitn(3, '\0');
            let (Some(authzid), Some(authcid), Some(password)) = (parts.next(), parts.next(), parts.next())
            else {
                return Err(Error::Base64.reply());
            };
            login(session, Mechanism::Plain, authzid, authcid, password, out)
        }
        Exchange::LoginName => {
            prompt(session, Exchange::LoginPassword(text), out);
            Ok(())
        }
        Exchange::LoginPassword(name) => login(session, Mechanism::Login, "", &name, &text, out),
    }
}

fn login(
    session: &mut Session,
    mechanism: Mechanism,
    authzid: &str,
    authcid: &str,
    password: &str,
    out: &mut Out,
) -> Outcome {
    if authcid.is_empty() || password.is_empty() || authcid.contains('\0') || password.contains('\0') {
        return Err(Error::Base64.reply());
    }
    let ask = Ask::Authenticate {
        mechanism,
        authzid: authzid.to_owned(),
        authcid: authcid.to_owned(),
        password: Secret(password.to_owned()),
        peer: Arc::clone(&session.peer),
    };
    session.ask(Question::Login, ask, out);
    Ok(())
}

pub(super) fn answered(session: &mut Session, answer: Answer, out: &mut Out) {
    let refusal = match answer {
        Answer::LoggedIn(identity) => {
            Arc::make_mut(&mut session.peer).identity = Some(identity);
            session.say(&Reply::new(235, (2, 7, 0), "authentication successful"), out);
            return;
        }
        Answer::Refused(reply) => reply,
        _ => not_fitting(),
    };
    session.say(&refusal, out);
    session.counters.auth_failures += 1;
    if session.counters.auth_failures >= session.config.limits.auth_failures {
        session.say_goodbye(&Reply::new(421, (4, 7, 0), "too many failed logins"), out);
    }
}
