//! Paths: `<local@domain>`, `<>`, `<Postmaster>`, with old source routes taken off (RFC 5321 §4.1.2).

use crate::Error;
use estafette_types::{Address, Domain, ForwardPath, ReversePath};

/// The longest path in bytes, brackets included, as we take it. RFC 5321 §4.5.3.1.3 has 256; a
/// source route or a non-ASCII domain needs more.
const PATH_MAX: usize = 1024;

/// Splits `<path> rest` at the closing bracket, heeding quotes. The path comes without brackets.
pub fn split_path(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in inner.bytes().enumerate().take(PATH_MAX) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some((inner.get(..at)?, inner.get(at + 1..)?)),
            b'<' | b' ' if !quoted => return None,
            _ => {}
        }
    }
    None
}

/// Reads the inside of the path of MAIL FROM.
pub fn reverse_path(inner: &str) -> Result<ReversePath, Error> {
    if inner.is_empty() {
        return Ok(ReversePath::Null);
    }
    mailbox(inner).map(ReversePath::Address).ok_or(Error::ReversePath)
}

/// Reads the inside of the path of RCPT TO.
pub fn forward_path(inner: &str) -> Result<ForwardPath, Error> {
    if inner.eq_ignore_ascii_case("postmaster") {
        return Ok(ForwardPath::Postmaster);
    }
    mailbox(inner).map(ForwardPath::Address).ok_or(Error::ForwardPath)
}

/// An address behind an optional source route, which is checked and forgotten (RFC 5321 §3.6.1).
fn mailbox(inner: &str) -> Option<Address> {
    let address = if inner.starts_with('@') {
        let end = route_end(inner)?;
        let mut hops = inner.get(..end)?.split(',');
        if !hops.all(|hop| hop.strip_prefix('@').is_some_and(|domain| Domain::parse(domain).is_ok())) {
            return None;
        }
        inner.get(end + 1..)?
    } else {
        inner
    };
    Address::parse(address).ok()
}

/// Where the route's colon stands; one within an address literal is not it.
fn route_end(inner: &str) -> Option<usize> {
    let mut literal = false;
    inner.bytes().position(|byte| {
        match byte {
            b'[' => literal = true,
            b']' => literal = false,
            _ => {}
        }
        byte == b':' && !literal
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_outside_quotes_only() {
        assert_eq!(split_path("<a@b.c> SIZE=1"), Some(("a@b.c", " SIZE=1")));
        assert_eq!(split_path("<\"a> \\\"b\"@c.d>"), Some(("\"a> \\\"b\"@c.d", "")));
        assert_eq!(split_path("<>"), Some(("", "")));
        for bad in
            ["", "a@b.c", "<a@b.c", "<a b@c.d>", "<<a@b.c>>", "<\"a@b.c>", &format!("<{}>", "a".repeat(5000))]
        {
            assert_eq!(split_path(bad), None, "{bad}");
        }
    }

    #[test]
    fn routes_are_taken_off() {
        let bob = ForwardPath::Address(Address::parse("bob@example.org").unwrap());
        assert_eq!(forward_path("@a.test,@b.test:bob@example.org"), Ok(bob.clone()));
        assert_eq!(forward_path("@[IPv6:2001:db8::1]:bob@example.org"), Ok(bob));
        assert_eq!(forward_path("POSTMASTER"), Ok(ForwardPath::Postmaster));
        assert_eq!(reverse_path(""), Ok(ReversePath::Null));
        for bad in [
            "@a.test bob@example.org",
            "@a.test:",
            "a.test:bob",
            "@:bob@example.org",
            "@a.test,:b@c.d",
            "",
            "user",
        ] {
            assert_eq!(forward_path(bad), Err(Error::ForwardPath), "{bad}");
        }
    }
}
