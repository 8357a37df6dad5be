//! The fields that are added to a message on its way in.
//!
//! What is added is the same for all recipients, and everything that a client said is cleaned before it
//! stands in a field: no client can write lines of its own.

mod text;

pub use text::{HEADER_MAX_BYTES, Text};

use bytes::Bytes;
use estafette_machine::Tls;
use estafette_types::{Envelope, ForwardPath, ReversePath};
use std::fmt::Write as _;
use std::net::IpAddr;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// The most characters of a word from a client in a field.
const WORD_MAX: usize = 255;

/// Where a message came from and how, for its Received field (RFC 5321 §4.4).
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The argument of HELO, EHLO or LHLO.
    pub hello: &'a str,
    /// The client's address.
    pub remote: IpAddr,
    /// This server's name.
    pub hostname: &'a str,
    /// The protocol (RFC 3848): `ESMTPS`.
    pub protocol: &'a str,
    /// TLS, when it was up.
    pub tls: Option<&'a Tls>,
    /// The name that the message has in the log.
    pub id: &'a str,
    /// The envelope; a sole recipient is named.
    pub envelope: &'a Envelope,
    /// The time, ms since 1970.
    pub time_ms: u64,
}

/// `Return-Path: <sender>`, for the top of what is stored (RFC 5321 §4.4). It is taken off again from
/// what is sent to other servers.
pub fn return_path(path: &ReversePath) -> Bytes {
    Bytes::from(format!("Return-Path: <{path}>\r\n"))
}

/// The Received field of a message, folded.
pub fn received(trace: &Trace<'_>) -> Bytes {
    let mut field = format!("Received: from {} ({})\r\n", hello(trace.hello), literal(trace.remote));
    // Writing to a String cannot fail.
    let _ = write!(field, "\tby {} (Estafette) with {}", word(trace.hostname), word(trace.protocol));
    if let Some(tls) = trace.tls {
        let _ = write!(field, "\r\n\t({} {})", comment(&tls.version), comment(&tls.cipher));
    }
    let _ = write!(field, "\r\n\tid {}", word(trace.id));
    if let [recipient] = trace.envelope.recipients.as_slice() {
        let named = match &recipient.path {
            ForwardPath::Postmaster => "postmaster".to_owned(),
            ForwardPath::Address(address) => address.to_string(),
        };
        // The address of a message that was not declared to have such is said in ASCII or not at all.
        if named.is_ascii() || trace.envelope.smtputf8 {
            let _ = write!(field, "\r\n\tfor <{named}>");
        }
    }
    let _ = write!(field, ";\r\n\t{}\r\n", date(trace.time_ms));
    Bytes::from(field)
}

/// A time as fields have it (RFC 5322 §3.3): `Sat, 02 Jan 2027 03:04:05 +0000`.
pub fn date(time_ms: u64) -> String {
    let seconds = i64::try_from(time_ms / 1000).unwrap_or(0);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc2822).unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 +0000".to_owned())
}

fn hello(name: &str) -> String {
    let name = word(name);
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// What may stand as a word of a field: anything that could end it or begin a comment becomes `_`.
fn word(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || ".-_:[]+=/@".contains(c) { c } else { '_' };
    text.chars().take(WORD_MAX).map(keep).collect()
}

/// The same for a comment.
fn comment(text: &str) -> String {
    word(text)
}

fn literal(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use estafette_types::{Address, Recipient};

    pub(super) fn envelope(recipients: &[&str]) -> Envelope {
        let address = |text: &str| Address::parse(text).unwrap();
        let recipient = |text: &&str| Recipient::new(ForwardPath::Address(address(text)));
        let recipients = recipients.iter().map(recipient).collect();
        Envelope::new(ReversePath::Address(address("a@example.org")), recipients)
    }

    fn trace<'a>(hello: &'a str, envelope: &'a Envelope, tls: Option<&'a Tls>) -> String {
        let remote = "2001:db8::1".parse().unwrap();
        let (hostname, protocol, id) = ("mx.example.net", "ESMTPS", "12.3");
        let trace =
            Trace { hello, remote, hostname, protocol, tls, id, envelope, time_ms: 1_800_000_000_123 };
        String::from_utf8(received(&trace).to_vec()).unwrap()
    }

    #[test]
    fn a_received_field() {
        let tls =
            Tls { version: "TLSv1.3".into(), cipher: "TLS13_AES_128_GCM_SHA256".into(), server_name: None };
        let text = trace("client.example.org", &envelope(&["b@example.net"]), Some(&tls));
        assert_eq!(
            text,
            "Received: from client.example.org ([IPv6:2001:db8::1])\r\n\
             \tby mx.example.net (Estafette) with ESMTPS\r\n\
             \t(TLSv1.3 TLS13_AES_128_GCM_SHA256)\r\n\
             \tid 12.3\r\n\
             \tfor <b@example.net>;\r\n\
             \tFri, 15 Jan 2027 08:00:00 +0000\r\n"
        );
        let parsed = mail_parser::MessageParser::default().parse(text.as_bytes()).unwrap();
        let received = parsed.received().unwrap();
        assert_eq!(received.id(), Some("12.3"));
        assert_eq!(received.date().unwrap().to_timestamp(), 1_800_000_000);
        assert!(received.for_().is_some() && received.from().is_some() && received.by().is_some());
    }

    #[test]
    fn several_recipients_are_not_told_of_each_other() {
        assert!(!trace("x", &envelope(&["b@example.net", "c@example.net"]), None).contains("for <"));
        let utf8 = envelope(&["δ@example.net"]);
        assert!(!trace("x", &utf8, None).contains("for <"));
        assert!(trace("x", &Envelope { smtputf8: true, ..utf8 }, None).contains("for <δ@example.net>"));
    }

    #[test]
    fn a_client_cannot_write_lines_of_its_own() {
        let envelope = envelope(&["b@example.net"]);
        for hello in ["", "x\r\nBcc: y", "a (b) <c>; \u{0}", &"y".repeat(100_000), "é"] {
            let text = trace(hello, &envelope, None);
            assert!(text.len() < 600 && text.is_ascii(), "{text}");
            assert_eq!(text.matches("\r\n").count(), 5, "{text}");
            assert!(
                text.split("\r\n").skip(1).all(|line| line.is_empty() || line.starts_with('\t')),
                "{text}"
            );
        }
        assert_eq!(return_path(&ReversePath::Null), "Return-Path: <>\r\n");
    }
}
