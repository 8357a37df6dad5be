//! The table of verbs: what each needs before it may run.

use super::Session;
use super::session::{Out, Outcome};
use crate::server::{auth, hello, housekeeping, mail, message};

/// A verb and the conditions of its use.
pub(super) struct Verb {
    pub(super) name: &'static str,
    /// Runs it with its argument, spaces at both ends taken off.
    pub(super) run: fn(&mut Session, &str, &mut Out) -> Outcome,
    /// Needs HELO, EHLO or LHLO first.
    pub(super) greeted: bool,
    /// Needs TLS where mail without TLS is not taken, and a login on submission (RFC 4954 §4).
    pub(super) trusted: bool,
    /// Does nothing for a message; counted.
    pub(super) idle: bool,
    /// Its argument may be UTF-8 (RFC 6531 §3.1).
    pub(super) utf8: bool,
    /// It takes an argument at all.
    pub(super) argument: bool,
}

const BASE: Verb = Verb {
    name: "",
    run: housekeeping::noop,
    greeted: false,
    trusted: false,
    idle: false,
    utf8: false,
    argument: true,
};
const BARE: Verb = Verb { argument: false, ..BASE };
const MAIL: Verb = Verb { greeted: true, trusted: true, utf8: true, ..BASE };

/// All verbs that are known, the frequent ones first.
const VERBS: &[Verb] = &[
    Verb { name: "RCPT", run: mail::rcpt, ..MAIL },
    Verb { name: "MAIL", run: mail::mail, ..MAIL },
    Verb { name: "DATA", run: message::data, greeted: true, trusted: true, ..BARE },
    // BDAT looks at its conditions itself: the chunk that follows has to be read in any case.
    Verb { name: "BDAT", run: message::bdat, ..BASE },
    Verb { name: "EHLO", run: hello::ehlo, idle: true, ..BASE },
    Verb { name: "HELO", run: hello::helo, idle: true, ..BASE },
    Verb { name: "LHLO", run: hello::lhlo, idle: true, ..BASE },
    Verb { name: "QUIT", run: housekeeping::quit, ..BARE },
    Verb { name: "RSET", run: housekeeping::rset, idle: true, ..BARE },
    Verb { name: "NOOP", run: housekeeping::noop, idle: true, ..BASE },
    Verb { name: "AUTH", run: auth::auth, greeted: true, ..BASE },
    Verb { name: "STARTTLS", run: hello::starttls, greeted: true, idle: true, ..BARE },
    Verb {
        name: "VRFY",
        run: housekeeping::vrfy,
        greeted: true,
        trusted: true,
        idle: true,
        utf8: true,
        ..BASE
    },
    Verb { name: "EXPN", run: housekeeping::not_offered, idle: true, utf8: true, ..BASE },
    Verb { name: "HELP", run: housekeeping::help, idle: true, ..BASE },
    Verb { name: "ETRN", run: housekeeping::not_offered, idle: true, ..BASE },
    Verb { name: "TURN", run: housekeeping::not_offered, idle: true, ..BASE },
    Verb { name: "ATRN", run: housekeeping::not_offered, idle: true, ..BASE },
];

/// The verb of this name, in any case.
pub(super) fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name.eq_ignore_ascii_case(name))
}

/// True for what opens an HTTP request, sent by a browser that was made to talk to us.
pub(super) fn is_http(word: &str) -> bool {
    const METHODS: [&str; 9] =
        ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE"];
    METHODS.iter().any(|method| method.eq_ignore_ascii_case(word))
        || word.eq_ignore_ascii_case("Host:")
        || word.eq_ignore_ascii_case("User-Agent:")
}
