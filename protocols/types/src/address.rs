//! Mail addresses: local part and domain (RFC 5321 §4.1.2, RFC 6531 §3.3).

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest local part in bytes (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_MAX: usize = 64;
/// The longest domain in bytes (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_MAX: usize = 255;

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@`.
    #[error("an address has a local part, '@' and a domain")]
    NoAt,
    /// The local part is empty, too long or has characters that it must not have.
    #[error("the part before '@' is empty, too long or has characters that are not allowed")]
    LocalPart,
    /// The domain is no domain name and no address literal.
    #[error("the domain is not a valid domain name")]
    Domain,
}

/// A domain name in canonical form: lower case U-labels (`bücher.example`), no dot at the end; or
/// an address literal in brackets (`[192.0.2.1]`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

impl Domain {
    /// Checks and brings into canonical form.
    pub fn parse(text: &str) -> Result<Domain, AddressError> {
        if text.is_empty() || text.len() > DOMAIN_MAX {
            return Err(AddressError::Domain);
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            return Self::literal(inner);
        }
        if text.is_ascii() {
            let lower = text.to_ascii_lowercase();
            if !lower.split('.').any(|label| label.starts_with("xn--")) {
                return if valid_ascii(&lower) { Ok(Domain(lower)) } else { Err(AddressError::Domain) };
            }
        }
        let ascii = idna::domain_to_ascii(text).map_err(|_| AddressError::Domain)?;
        if !valid_ascii(&ascii) {
            return Err(AddressError::Domain);
        }
        let (unicode, result) = idna::domain_to_unicode(&ascii);
        result.map_err(|_| AddressError::Domain)?;
        // The canonical form must be a name itself, of the same meaning: punycode is shorter than what
        // it stands for, and may hide what looks like punycode again.
        let same = unicode.len() <= DOMAIN_MAX && idna::domain_to_ascii(&unicode).is_ok_and(|a| a == ascii);
        if same { Ok(Domain(unicode)) } else { Err(AddressError::Domain) }
    }

    /// RFC 5321 §4.1.3: IPv4 or `IPv6:` and an IPv6 address.
    fn literal(inner: &str) -> Result<Domain, AddressError> {
        let six = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")).and(inner.get(5..));
        let canonical = match six {
            Some(address) => address.parse::<std::net::Ipv6Addr>().map(|ip| format!("[IPv6:{ip}]")),
            None => inner.parse::<std::net::Ipv4Addr>().map(|ip| format!("[{ip}]")),
        };
        canonical.map(Domain).map_err(|_| AddressError::Domain)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it stands in the DNS (`xn--bcher-kva.example`).
    pub fn to_ascii(&self) -> String {
        idna::domain_to_ascii(&self.0).unwrap_or_else(|_| self.0.clone())
    }

    /// True for an address literal.
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
}

fn valid_ascii(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= DOMAIN_MAX && name.split('.').all(label)
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Domain {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Domain, AddressError> {
        Domain::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> String {
        domain.0
    }
}

/// A local part with its quotes taken off (`a b` for `"a b"`), in the case that was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalPart(String);

impl LocalPart {
    /// Takes the unquoted text: 1 to 64 bytes, no control characters.
    pub fn parse(text: &str) -> Result<LocalPart, AddressError> {
        let bad = text.is_empty() || text.len() > LOCAL_PART_MAX || text.chars().any(char::is_control);
        if bad { Err(AddressError::LocalPart) } else { Ok(LocalPart(text.to_owned())) }
    }

    /// The unquoted text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form by which local addresses are compared: lower case.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }

    /// True when it can stand without quotes (RFC 5321 `Dot-string`, RFC 6531).
    fn is_dot_string(&self) -> bool {
        let atext = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
        self.0.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext))
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_dot_string() {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if c == '"' || c == '\\' {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

impl TryFrom<String> for LocalPart {
    type Error = AddressError;
    fn try_from(text: String) -> Result<LocalPart, AddressError> {
        LocalPart::parse(&text)
    }
}

impl From<LocalPart> for String {
    fn from(local: LocalPart) -> String {
        local.0
    }
}

/// A mail address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// Before the `@`.
    pub local: LocalPart,
    /// After it.
    pub domain: Domain,
}

impl Address {
    /// Reads `local@domain`, the local part quoted or not, without angle brackets or comments.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let at = text.rfind('@').ok_or(AddressError::NoAt)?;
        let (local, domain) = text.split_at(at);
        let domain = Domain::parse(domain.trim_start_matches('@'))?;
        let local = match local.strip_prefix('"') {
            Some(rest) => unquote(rest.strip_suffix('"').ok_or(AddressError::LocalPart)?)?,
            None => {
                let local = LocalPart::parse(local)?;
                if !local.is_dot_string() {
                    return Err(AddressError::LocalPart);
                }
                local
            }
        };
        Ok(Address { local, domain })
    }

    /// True when the address cannot be said without SMTPUTF8 (RFC 6531): the local part is not ASCII.
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.as_str().is_ascii()
    }
}

/// The inside of a quoted string (RFC 5321 `QcontentSMTP`).
fn unquote(inner: &str) -> Result<LocalPart, AddressError> {
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().ok_or(AddressError::LocalPart)?),
            '"' => return Err(AddressError::LocalPart),
            c => text.push(c),
        }
    }
    LocalPart::parse(&text)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in [
            "a@example.org",
            "a.b+c@example.org",
            "\"a b\"@example.org",
            "\"a\\\"b\"@x.y",
            "δοκιμή@παράδειγμα.δοκιμή",
            "u@[192.0.2.1]",
            "u@[IPv6:2001:db8::1]",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn domains_have_one_form() {
        assert_eq!(Domain::parse("EXAMPLE.Org").unwrap().as_str(), "example.org");
        assert_eq!(Domain::parse("xn--bcher-kva.example").unwrap(), Domain::parse("Bücher.example").unwrap());
        assert_eq!(Domain::parse("bücher.example").unwrap().to_ascii(), "xn--bcher-kva.example");
    }

    /// Found by fuzzing: the canonical form was longer than a domain may be, so that it was not read again.
    #[test]
    fn punycode_does_not_grow_over_the_limit() {
        let label = idna::domain_to_ascii(&"台".repeat(40)).unwrap();
        let name = [&label[..]; 3].join(".");
        assert!(name.len() < DOMAIN_MAX);
        assert_eq!(Domain::parse(&name), Err(AddressError::Domain));
        assert!(Domain::parse(&[&label[..]; 2].join(".")).is_ok());
    }

    /// Found by fuzzing: punycode of a label that begins with `xn--` and is none.
    #[test]
    fn punycode_within_punycode_is_refused() {
        let name = "xD.xn--xn--6-b0chexA5n--bchxamexear";
        assert_eq!(Domain::parse(name), Err(AddressError::Domain));
    }

    #[test]
    fn bad_addresses_are_refused() {
        for text in [
            "",
            "a",
            "@b",
            "a@",
            "a b@c.d",
            "a..b@c.d",
            "\"a@c.d",
            "a@-b.c",
            "a@b..c",
            "a@b.c.",
            "a@[300.0.0.1]",
            "a\u{0}@b.c",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        assert!(Address::parse(&format!("{}@b.c", "a".repeat(65))).is_err());
    }
}
