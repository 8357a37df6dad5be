//! HELO, EHLO, LHLO and STARTTLS.

use super::Session;
use super::config::{Kind, TlsMode};
use super::session::{Out, Outcome};
use crate::{Error, Reply};
use std::fmt::Write;
use std::sync::Arc;

/// The longest name in HELO, in bytes (a domain, or an address literal).
const NAME_MAX: usize = 255;

pub(super) fn helo(session: &mut Session, name: &str, out: &mut Out) -> Outcome {
    begin(session, name, false, false)?;
    let text = session.config.hostname.clone();
    session.say(&Reply::bare(250, text), out);
    Ok(())
}

pub(super) fn ehlo(session: &mut Session, name: &str, out: &mut Out) -> Outcome {
    begin(session, name, true, false)?;
    extensions(session, out);
    Ok(())
}

pub(super) fn lhlo(session: &mut Session, name: &str, out: &mut Out) -> Outcome {
    begin(session, name, true, true)?;
    extensions(session, out);
    Ok(())
}

/// Takes the name and starts anew (RFC 5321 §4.1.4). The name is not checked against anything: mail
/// must not be refused for it.
fn begin(session: &mut Session, name: &str, extended: bool, lmtp: bool) -> Outcome {
    if lmtp != session.is_lmtp() {
        let text = if lmtp { "this is SMTP; send EHLO" } else { "this is LMTP; send LHLO" };
        return Err(Reply::new(500, (5, 5, 1), text));
    }
    // Wider than the standard, but nothing that could break the comment in a Received field.
    let character = |byte: u8| byte.is_ascii_graphic() && !b"()<>\\\";,".contains(&byte);
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(character) {
        return Err(Error::Syntax("a host name is needed").reply());
    }
    session.transaction = None;
    let peer = Arc::make_mut(&mut session.peer);
    peer.hello = name.to_owned();
    peer.extended = extended;
    peer.lmtp = lmtp;
    Ok(())
}

/// What this session can do (RFC 5321 §4.1.1.1).
fn extensions(session: &mut Session, out: &mut Out) {
    let config = Arc::clone(&session.config);
    let tls = session.peer.tls.is_some();
    let mut text = config.hostname.clone();
    // Writing to a String cannot fail.
    let _ = write!(text, "\nPIPELINING\nSIZE {}", config.limits.body.size);
    text.push_str("\n8BITMIME\nENHANCEDSTATUSCODES\nDSN\nCHUNKING\nBINARYMIME\nSMTPUTF8");
    if config.tls == TlsMode::StartTls && !tls {
        text.push_str("\nSTARTTLS");
    }
    if config.kind == Kind::Submission && (tls || !config.require_tls_for_auth) {
        text.push_str("\nAUTH PLAIN LOGIN");
    }
    if tls && config.offer_requiretls {
        text.push_str("\nREQUIRETLS");
    }
    let _ = write!(text, "\nLIMITS MAILMAX={} RCPTMAX={}", config.limits.mails, config.limits.recipients);
    session.say(&Reply::bare(250, text), out);
}

pub(super) fn starttls(session: &mut Session, _argument: &str, out: &mut Out) -> Outcome {
    if session.peer.tls.is_some() {
        return Err(Reply::new(503, (5, 5, 1), "TLS is up already"));
    }
    if session.config.tls != TlsMode::StartTls {
        return Err(Reply::new(502, (5, 5, 1), "STARTTLS is not offered"));
    }
    session.say(&Reply::new(220, (2, 0, 0), "ready to start TLS"), out);
    session.start_tls(out);
    Ok(())
}
