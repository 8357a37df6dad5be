//! The grammar of commands (RFC 1939 §9, RFC 2449, RFC 5034 §4, RFC 6856 §2).

use crate::Secret;

/// What is wrong with a command: always the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such command.
    #[error("unknown command")]
    Unknown,
    /// The arguments do not fit; how they should be.
    #[error("syntax: {0}")]
    Syntax(&'static str),
    /// More bytes than a line may have.
    #[error("line too long")]
    TooLong,
    /// LF without CR before it (RFC 1939 §3). What reads lines in another way, such as a proxy, may
    /// take what follows for a part of this line, so nothing of it is carried out.
    #[error("a line ends with CR LF, not with LF alone")]
    BareLf,
    /// CR without LF after it.
    #[error("CR within a line")]
    BareCr,
    /// NUL, or text that is not UTF-8.
    #[error("line holds characters that are not allowed")]
    Characters,
}

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    User(String),
    Pass(Secret),
    /// Mechanism and initial response; without a mechanism: which are there?
    Auth(Option<(String, Option<Secret>)>),
    Apop,
    Capa,
    Stls,
    Utf8,
    Stat,
    List(Option<u32>),
    Uidl(Option<u32>),
    Retr(u32),
    Top(u32, u64),
    Dele(u32),
    Noop,
    Rset,
    Quit,
}

impl Command {
    /// Reads a line without its line end.
    pub(crate) fn parse(line: &[u8]) -> Result<Command, Error> {
        if let Some(at) = memchr::memchr2(b'\r', 0, line) {
            return Err(if line.get(at) == Some(&0) { Error::Characters } else { Error::BareCr });
        }
        let line = std::str::from_utf8(line).map_err(|_| Error::Characters)?;
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let arguments = rest.trim_matches(' ');
        let none =
            |command, syntax| if arguments.is_empty() { Ok(command) } else { Err(Error::Syntax(syntax)) };
        match name.to_ascii_uppercase().as_str() {
            "USER" if !arguments.is_empty() => Ok(Command::User(arguments.to_owned())),
            "USER" => Err(Error::Syntax("USER name")),
            // All after the one space is the password, spaces too (RFC 1939 §7).
            "PASS" if !rest.is_empty() => Ok(Command::Pass(Secret(rest.to_owned()))),
            "PASS" => Err(Error::Syntax("PASS password")),
            "AUTH" => auth(arguments),
            "APOP" => Ok(Command::Apop),
            "CAPA" => none(Command::Capa, "CAPA"),
            "STLS" => none(Command::Stls, "STLS"),
            "UTF8" => none(Command::Utf8, "UTF8"),
            "STAT" => none(Command::Stat, "STAT"),
            "LIST" => Ok(Command::List(optional_number(arguments, "LIST [message]")?)),
            "UIDL" => Ok(Command::Uidl(optional_number(arguments, "UIDL [message]")?)),
            "RETR" => Ok(Command::Retr(number(arguments, "RETR message")?)),
            "DELE" => Ok(Command::Dele(number(arguments, "DELE message")?)),
            "TOP" => top(arguments),
            "NOOP" => none(Command::Noop, "NOOP"),
            "RSET" => none(Command::Rset, "RSET"),
            "QUIT" => none(Command::Quit, "QUIT"),
            _ => Err(Error::Unknown),
        }
    }
}

fn auth(arguments: &str) -> Result<Command, Error> {
    let mut words = arguments.split(' ').filter(|word| !word.is_empty());
    let mechanism = words.next().map(str::to_ascii_uppercase);
    let initial = words.next().map(|word| Secret(word.to_owned()));
    match words.next() {
        None => Ok(Command::Auth(mechanism.map(|mechanism| (mechanism, initial)))),
        Some(_) => Err(Error::Syntax("AUTH [mechanism [initial-response]]")),
    }
}

fn top(arguments: &str) -> Result<Command, Error> {
    const SYNTAX: &str = "TOP message lines";
    let (message, lines) = arguments.split_once(' ').ok_or(Error::Syntax(SYNTAX))?;
    let lines = lines.trim_start_matches(' ');
    if lines.is_empty() || !lines.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::Syntax(SYNTAX));
    }
    // A number that does not fit is more lines than any message has.
    Ok(Command::Top(number(message, SYNTAX)?, lines.parse().unwrap_or(u64::MAX)))
}

/// A message number; one that does not fit 32 bits names no message, as zero does.
fn number(text: &str, syntax: &'static str) -> Result<u32, Error> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::Syntax(syntax));
    }
    Ok(text.parse().unwrap_or(0))
}

fn optional_number(text: &str, syntax: &'static str) -> Result<Option<u32>, Error> {
    if text.is_empty() { Ok(None) } else { number(text, syntax).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands() {
        let parse = |line: &str| Command::parse(line.as_bytes());
        assert_eq!(parse("user Jürgen"), Ok(Command::User("Jürgen".into())));
        assert_eq!(parse("PASS  a b "), Ok(Command::Pass(Secret(" a b ".into()))));
        assert_eq!(parse("AUTH"), Ok(Command::Auth(None)));
        assert_eq!(
            parse("auth plain ="),
            Ok(Command::Auth(Some(("PLAIN".into(), Some(Secret("=".into()))))))
        );
        assert_eq!(parse("LIST"), Ok(Command::List(None)));
        assert_eq!(parse("LIST 0012 "), Ok(Command::List(Some(12))));
        assert_eq!(parse("RETR 99999999999999"), Ok(Command::Retr(0)));
        assert_eq!(parse("TOP 1  0"), Ok(Command::Top(1, 0)));
        assert_eq!(parse("TOP 1 99999999999999999999"), Ok(Command::Top(1, u64::MAX)));
    }

    #[test]
    fn malformed_commands() {
        for line in [
            "USER",
            "PASS",
            "PASS ",
            "AUTH a b c",
            "LIST x",
            "LIST -1",
            "RETR",
            "TOP 1",
            "TOP 1 +2",
            "QUIT now",
        ] {
            assert!(matches!(Command::parse(line.as_bytes()), Err(Error::Syntax(_))), "{line}");
        }
        for line in ["", " ", "HELO", "RETR1", "\u{e9}"] {
            assert_eq!(Command::parse(line.as_bytes()), Err(Error::Unknown), "{line}");
        }
        for line in [&b"\rNOOP"[..], b"NOOP\rNOOP", b"NOOP\r"] {
            assert_eq!(Command::parse(line), Err(Error::BareCr), "{line:?}");
        }
        for line in [&b"USER a\0b"[..], b"USER \xff"] {
            assert_eq!(Command::parse(line), Err(Error::Characters), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Command::parse(&line);
        }
    }
}
