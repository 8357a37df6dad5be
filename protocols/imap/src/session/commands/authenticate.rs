//! AUTHENTICATE (RFC 9051 §6.2.2) with PLAIN (RFC 4616) and an initial response (RFC 4959).

use super::super::ask::Mechanism;
use super::super::core::{Core, Next, Outcome};
use super::login;
use crate::codec::command::{Authenticate, Secret, Tag};
use crate::codec::parse;
use crate::codec::response::Code;
use bytes::Bytes;

pub(super) fn start(core: &mut Core, tag: Tag, what: Authenticate) -> Next {
    if what.mechanism != "PLAIN" {
        return Outcome::no(Some(Code::Cannot), "Unknown mechanism").of(tag);
    }
    if !core.may_log_in() {
        return Outcome::no(Some(Code::PrivacyRequired), "Start TLS before you log in").of(tag);
    }
    match what.initial_response {
        Some(Secret(message)) => plain(core, tag, &message),
        None => Next::Challenge(tag),
    }
}

/// The line that answers the challenge.
pub(super) fn answered_line(core: &mut Core, tag: Tag, line: &[u8]) -> Next {
    match parse::authenticate_response(line) {
        Ok(Some(Secret(message))) => plain(core, tag, &message),
        Ok(None) => Outcome::bad("Cancelled").of(tag),
        Err(_) => Outcome::bad("Invalid base64").of(tag),
    }
}

/// `message = [authzid] NUL authcid NUL passwd`
fn plain(core: &mut Core, tag: Tag, message: &[u8]) -> Next {
    let mut parts = message.split(|byte| *byte == 0).map(std::str::from_utf8);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(authorization)), Some(Ok(user)), Some(Ok(password)), None)
            if !user.is_empty() && !password.is_empty() =>
        {
            let password = Secret(Bytes::copy_from_slice(password.as_bytes()));
            login::prove(core, tag, Mechanism::Plain, authorization, user, password)
        }
        _ => Outcome::bad("Not a message of PLAIN").of(tag),
    }
}
