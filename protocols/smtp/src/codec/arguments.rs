//! The arguments of MAIL, RCPT and BDAT.

use super::path::{forward_path, reverse_path, split_path};
use super::xtext::{original_recipient, xtext_decode};
use crate::Error;
use estafette_types::{BodyType, DsnNotify, DsnReturn, Envelope, Recipient, ReversePath};

/// The longest value of ENVID in bytes (RFC 3461 §4.4).
const ENVID_MAX: usize = 100;
/// The longest value of ORCPT in bytes (RFC 3461 §4.2).
const ORCPT_MAX: usize = 500;
/// The longest value of AUTH= in bytes (RFC 4954 §3).
const AUTH_MAX: usize = 500;

/// Reads what follows `MAIL `: `FROM:<path> parameters`. REQUIRETLS is known only if `requiretls`.
pub fn mail(arguments: &str, requiretls: bool) -> Result<Envelope, Error> {
    let text = after_keyword(arguments, "FROM:").ok_or(Error::Syntax("MAIL FROM:<address>"))?;
    let (path, parameters) = split_path(text).ok_or(Error::ReversePath)?;
    let mut envelope = Envelope::new(ReversePath::Null, Vec::new());
    let mut seen = Seen::default();
    for (name, value) in parameters_of(parameters)? {
        if name.eq_ignore_ascii_case("SIZE") {
            envelope.declared_size = Some(seen.value("SIZE", value, decimal)?);
        } else if name.eq_ignore_ascii_case("BODY") {
            envelope.body_type = seen.value("BODY", value, body_type)?;
        } else if name.eq_ignore_ascii_case("SMTPUTF8") {
            seen.flag("SMTPUTF8", value)?;
            envelope.smtputf8 = true;
        } else if name.eq_ignore_ascii_case("RET") {
            envelope.dsn_return = Some(seen.value("RET", value, dsn_return)?);
        } else if name.eq_ignore_ascii_case("ENVID") {
            let read = |text: &str| if text.len() > ENVID_MAX { None } else { xtext_decode(text) };
            envelope.dsn_envelope_id = Some(seen.value("ENVID", value, read)?);
        } else if name.eq_ignore_ascii_case("AUTH") {
            envelope.auth = Some(seen.value("AUTH", value, auth_identity)?);
        } else if requiretls && name.eq_ignore_ascii_case("REQUIRETLS") {
            seen.flag("REQUIRETLS", value)?;
            envelope.require_tls = true;
        } else {
            return Err(Error::UnknownParameter);
        }
    }
    if !arguments.is_ascii() && !envelope.smtputf8 {
        return Err(Error::NeedsSmtpUtf8);
    }
    envelope.reverse_path = reverse_path(path)?;
    Ok(envelope)
}

/// Reads what follows `RCPT `: `TO:<path> parameters`. `smtputf8` is what MAIL said.
pub fn recipient(arguments: &str, smtputf8: bool) -> Result<Recipient, Error> {
    let text = after_keyword(arguments, "TO:").ok_or(Error::Syntax("RCPT TO:<address>"))?;
    if !arguments.is_ascii() && !smtputf8 {
        return Err(Error::NeedsSmtpUtf8);
    }
    let (path, parameters) = split_path(text).ok_or(Error::ForwardPath)?;
    let (mut notify, mut original, mut seen) = (None, None, Seen::default());
    for (name, value) in parameters_of(parameters)? {
        if name.eq_ignore_ascii_case("NOTIFY") {
            notify = Some(seen.value("NOTIFY", value, dsn_notify)?);
        } else if name.eq_ignore_ascii_case("ORCPT") {
            let read = |text: &str| if text.len() > ORCPT_MAX { None } else { original_recipient(text) };
            original = Some(seen.value("ORCPT", value, read)?);
        } else {
            return Err(Error::UnknownParameter);
        }
    }
    Ok(Recipient { path: forward_path(path)?, notify, original })
}

/// Reads what follows `BDAT `: the size in bytes, and whether it is the LAST chunk (RFC 3030 §2).
pub fn chunk(arguments: &str) -> Result<(u64, bool), Error> {
    let mut words = arguments.split(' ').filter(|word| !word.is_empty());
    let size = words.next().and_then(decimal).ok_or(Error::ChunkSize)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(Error::ChunkSize),
    };
    if words.next().is_some() { Err(Error::ChunkSize) } else { Ok((size, last)) }
}

/// What stands after `FROM:` or `TO:`. Spaces after the colon are wrong but common, and harmless.
fn after_keyword<'a>(arguments: &'a str, keyword: &str) -> Option<&'a str> {
    let given = arguments.get(..keyword.len())?;
    let rest = arguments.get(keyword.len()..)?;
    given.eq_ignore_ascii_case(keyword).then(|| rest.trim_start_matches(' '))
}

/// `keyword` or `keyword=value`, separated by spaces (RFC 5321 §4.1.2).
fn parameters_of(text: &str) -> Result<impl Iterator<Item = (&str, Option<&str>)>, Error> {
    if !text.is_empty() && !text.starts_with(' ') {
        return Err(Error::Syntax("a space comes before parameters"));
    }
    let words = text.split(' ').filter(|word| !word.is_empty());
    Ok(words.map(|word| match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    }))
}

/// The parameters that were given already; each may come once.
#[derive(Default)]
struct Seen(Vec<&'static str>);

impl Seen {
    fn once(&mut self, name: &'static str) -> Result<(), Error> {
        if self.0.contains(&name) {
            return Err(Error::Parameter(name));
        }
        self.0.push(name);
        Ok(())
    }

    fn flag(&mut self, name: &'static str, value: Option<&str>) -> Result<(), Error> {
        if value.is_some() { Err(Error::Parameter(name)) } else { self.once(name) }
    }

    fn value<T>(
        &mut self,
        name: &'static str,
        value: Option<&str>,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Error> {
        self.once(name)?;
        value.and_then(read).ok_or(Error::Parameter(name))
    }
}

/// Digits alone, at most 20 of them (RFC 1870 §3).
fn decimal(text: &str) -> Option<u64> {
    let digits = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn body_type(text: &str) -> Option<BodyType> {
    let known = [
        ("7BIT", BodyType::SevenBit),
        ("8BITMIME", BodyType::EightBitMime),
        ("BINARYMIME", BodyType::BinaryMime),
    ];
    known.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn dsn_return(text: &str) -> Option<DsnReturn> {
    if text.eq_ignore_ascii_case("FULL") {
        Some(DsnReturn::Full)
    } else if text.eq_ignore_ascii_case("HDRS") {
        Some(DsnReturn::Headers)
    } else {
        None
    }
}

fn dsn_notify(text: &str) -> Option<DsnNotify> {
    if text.eq_ignore_ascii_case("NEVER") {
        return Some(DsnNotify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in text.split(',') {
        let given = if word.eq_ignore_ascii_case("SUCCESS") {
            &mut success
        } else if word.eq_ignore_ascii_case("FAILURE") {
            &mut failure
        } else if word.eq_ignore_ascii_case("DELAY") {
            &mut delay
        } else {
            return None;
        };
        if std::mem::replace(given, true) {
            return None;
        }
    }
    Some(DsnNotify::On { success, failure, delay })
}

/// `<>` or a mailbox in xtext (RFC 4954 §5).
fn auth_identity(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > AUTH_MAX { None } else { xtext_decode(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use estafette_types::{Address, ForwardPath};
    use proptest::prelude::*;

    #[test]
    fn mail_with_all_parameters() {
        let line = "FROM:<a@example.org> SIZE=12345 body=8bitmime RET=HDRS ENVID=QQ+2B1 AUTH=<> REQUIRETLS";
        let envelope = mail(line, true).unwrap();
        assert_eq!(envelope.reverse_path, ReversePath::Address(Address::parse("a@example.org").unwrap()));
        assert_eq!(envelope.declared_size, Some(12345));
        assert_eq!(envelope.body_type, BodyType::EightBitMime);
        assert_eq!(envelope.dsn_return, Some(DsnReturn::Headers));
        assert_eq!(envelope.dsn_envelope_id.as_deref(), Some("QQ+1"));
        assert_eq!(envelope.auth.as_deref(), Some("<>"));
        assert!(envelope.require_tls);
        assert_eq!(mail("FROM: <>", false).unwrap().reverse_path, ReversePath::Null);
    }

    #[test]
    fn bad_mail_is_told_apart() {
        let cases = [
            ("", Error::Syntax("MAIL FROM:<address>")),
            ("TO:<a@b.c>", Error::Syntax("MAIL FROM:<address>")),
            ("FROM:a@b.c", Error::ReversePath),
            ("FROM:<a>", Error::ReversePath),
            ("FROM:<a@b.c>SIZE=1", Error::Syntax("a space comes before parameters")),
            ("FROM:<a@b.c> SIZE=", Error::Parameter("SIZE")),
            ("FROM:<a@b.c> SIZE=-1", Error::Parameter("SIZE")),
            ("FROM:<a@b.c> SIZE=999999999999999999999", Error::Parameter("SIZE")),
            ("FROM:<a@b.c> SIZE=1 SIZE=2", Error::Parameter("SIZE")),
            ("FROM:<a@b.c> BODY=9BIT", Error::Parameter("BODY")),
            ("FROM:<a@b.c> SMTPUTF8=1", Error::Parameter("SMTPUTF8")),
            ("FROM:<a@b.c> ENVID=+0A", Error::Parameter("ENVID")),
            ("FROM:<a@b.c> REQUIRETLS", Error::UnknownParameter),
            ("FROM:<a@b.c> X=Y", Error::UnknownParameter),
            ("FROM:<ä@b.c>", Error::NeedsSmtpUtf8),
            ("FROM:<a@ä.c>", Error::NeedsSmtpUtf8),
        ];
        for (line, error) in cases {
            assert_eq!(mail(line, false), Err(error), "{line}");
        }
        assert!(mail("FROM:<ä@b.c> SMTPUTF8", false).is_ok());
    }

    #[test]
    fn recipients() {
        let found =
            recipient("TO:<@x.test:b@c.d> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B+2BB@c.d", false).unwrap();
        assert_eq!(found.path, ForwardPath::Address(Address::parse("b@c.d").unwrap()));
        assert_eq!(found.notify, Some(DsnNotify::On { success: true, failure: false, delay: true }));
        assert_eq!(found.original, Some(("rfc822".into(), "B+B@c.d".into())));
        assert_eq!(recipient("TO:<b@c.d> NOTIFY=NEVER,DELAY", false), Err(Error::Parameter("NOTIFY")));
        assert_eq!(recipient("TO:<b@c.d> NOTIFY=DELAY,DELAY", false), Err(Error::Parameter("NOTIFY")));
        assert_eq!(recipient("TO:<>", false), Err(Error::ForwardPath));
        assert_eq!(recipient("TO:<é@c.d>", false), Err(Error::NeedsSmtpUtf8));
        assert!(recipient("TO:<é@c.d>", true).is_ok());
    }

    #[test]
    fn chunks() {
        assert_eq!(chunk("1000"), Ok((1000, false)));
        assert_eq!(chunk("0 last"), Ok((0, true)));
        for bad in ["", "LAST", "-1", "+1", "1 2", "1 LAST LAST", "99999999999999999999999", "0x10"] {
            assert_eq!(chunk(bad), Err(Error::ChunkSize), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parsers_are_total(text in "\\PC{0,200}") {
            let _ = (mail(&text, true), recipient(&text, true), chunk(&text));
            let _ = (mail(&format!("FROM:<{text}"), true), recipient(&format!("TO:<{text}"), true));
        }
    }
}
