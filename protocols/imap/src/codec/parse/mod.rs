//! Makes commands of frames (RFC 9051 §9).
//!
//! Total and linear: no frame makes it panic, and nesting and counts have named limits. Strict about
//! what has a meaning, lenient about spaces at the end of a line.

mod cursor;
mod mailbox;
mod message;
mod search;

use super::Dialect;
use super::chars;
use super::command::{Authenticate, Command, CommandBody, Enable, Secret, TAG_MAX, Tag};
use super::fault::{CommandError, Fault};
use super::framer::Frame;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cursor::{Cursor, Parsed};

/// How many fields an ID command may have (RFC 2971 §3.3).
pub const ID_FIELDS_MAX: usize = 30;
/// How many capabilities one ENABLE may name.
pub const ENABLE_MAX: usize = 30;
/// How many resources one SETQUOTA may name.
pub const QUOTA_RESOURCES_MAX: usize = 10;

/// Reads a command.
pub fn command(frame: &Frame, dialect: Dialect) -> Result<Command, CommandError> {
    let mut cursor = Cursor::new(frame, dialect);
    let tag = match tag(&mut cursor) {
        Ok(tag) => tag,
        Err(fault) => return Err(CommandError { tag: None, fault }),
    };
    match tagged(&mut cursor) {
        Ok(body) => Ok(Command { tag, body }),
        Err(fault) => Err(CommandError { tag: Some(tag), fault }),
    }
}

/// Reads a line that answers a challenge of AUTHENTICATE: `base64`, or `*`, which gives `None` and
/// cancels (RFC 9051 §6.2.2).
pub fn authenticate_response(line: &[u8]) -> Result<Option<Secret>, Fault> {
    if line == b"*" { Ok(None) } else { base64(line).map(Some) }
}

/// Whether a line ends IDLE (RFC 9051 §6.3.13).
pub fn is_done(line: &[u8]) -> bool {
    line.trim_ascii_end().eq_ignore_ascii_case(b"DONE")
}

fn base64(text: &[u8]) -> Parsed<Secret> {
    STANDARD.decode(text).map(|bytes| Secret(Bytes::from(bytes))).map_err(|_| Fault::Base64)
}

fn tag(cursor: &mut Cursor<'_>) -> Parsed<Tag> {
    let word = cursor.run(chars::is_tag);
    let tag = Some(word).filter(|word| word.len() <= TAG_MAX).and_then(Tag::new).ok_or(Fault::Tag)?;
    if cursor.peek() == Some(b' ') { Ok(tag) } else { Err(Fault::Tag) }
}

fn tagged(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    let verb = cursor.atom("a command")?.to_ascii_uppercase();
    let body = if verb == "UID" {
        cursor.space()?;
        let verb = cursor.atom("a command")?.to_ascii_uppercase();
        message_command(&verb, true, cursor)?
    } else {
        any_command(&verb, cursor)?
    };
    let body = body.ok_or(Fault::UnknownCommand)?;
    cursor.end()?;
    Ok(body)
}

/// Commands without UID; `None` for what is no command.
fn any_command(verb: &str, cursor: &mut Cursor<'_>) -> Parsed<Option<CommandBody>> {
    Ok(Some(match verb {
        "CAPABILITY" => CommandBody::Capability,
        "NOOP" => CommandBody::Noop,
        "LOGOUT" => CommandBody::Logout,
        "STARTTLS" => CommandBody::StartTls,
        "NAMESPACE" => CommandBody::Namespace,
        "IDLE" => CommandBody::Idle,
        "CHECK" => CommandBody::Check,
        "CLOSE" => CommandBody::Close,
        "UNSELECT" => CommandBody::Unselect,
        "EXPUNGE" => CommandBody::Expunge(None),
        "ID" => id(cursor)?,
        "AUTHENTICATE" => authenticate(cursor)?,
        "LOGIN" => login(cursor)?,
        "ENABLE" => enable(cursor)?,
        "SELECT" => CommandBody::Select(mailbox::select(cursor)?),
        "EXAMINE" => CommandBody::Examine(mailbox::select(cursor)?),
        "CREATE" => CommandBody::Create(mailbox::create(cursor)?),
        "DELETE" => CommandBody::Delete(mailbox::argument(cursor)?),
        "RENAME" => CommandBody::Rename { from: mailbox::argument(cursor)?, to: mailbox::argument(cursor)? },
        "SUBSCRIBE" => CommandBody::Subscribe(mailbox::argument(cursor)?),
        "UNSUBSCRIBE" => CommandBody::Unsubscribe(mailbox::argument(cursor)?),
        "LIST" => CommandBody::List(mailbox::list(cursor)?),
        "LSUB" => mailbox::lsub(cursor)?,
        "STATUS" => mailbox::status(cursor)?,
        "APPEND" => CommandBody::Append(message::append(cursor)?),
        "GETQUOTA" => CommandBody::GetQuota(argument(cursor)?),
        "GETQUOTAROOT" => CommandBody::GetQuotaRoot(mailbox::argument(cursor)?),
        "SETQUOTA" => set_quota(cursor)?,
        _ => return message_command(verb, false, cursor),
    }))
}

/// Commands that have a form with UID.
fn message_command(verb: &str, uid: bool, cursor: &mut Cursor<'_>) -> Parsed<Option<CommandBody>> {
    Ok(Some(match verb {
        "EXPUNGE" if uid => {
            cursor.space()?;
            CommandBody::Expunge(Some(message::sequence_set(cursor)?))
        }
        "SEARCH" => CommandBody::Search { uid, search: search::search(cursor)? },
        "FETCH" => CommandBody::Fetch(message::fetch(uid, cursor)?),
        "STORE" => CommandBody::Store(message::store(uid, cursor)?),
        "COPY" => {
            let (set, mailbox) = message::set_and_mailbox(cursor)?;
            CommandBody::Copy { uid, set, mailbox }
        }
        "MOVE" => {
            let (set, mailbox) = message::set_and_mailbox(cursor)?;
            CommandBody::Move { uid, set, mailbox }
        }
        _ => return Ok(None),
    }))
}

/// `SP astring`
fn argument(cursor: &mut Cursor<'_>) -> Parsed<String> {
    cursor.space()?;
    cursor.text()
}

/// `id-params-list = "(" [string SP nstring *(SP string SP nstring)] ")" / nil` (RFC 2971 §4)
fn id(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    if cursor.eat_text("NIL") {
        return Ok(CommandBody::Id(Vec::new()));
    }
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields = cursor.list(ID_FIELDS_MAX, "fields", true, |cursor| {
        let name = lossy(&cursor.string()?);
        cursor.space()?;
        let value = if cursor.eat_text("NIL") { None } else { Some(lossy(&cursor.string()?)) };
        Ok((name, value))
    })?;
    Ok(CommandBody::Id(fields))
}

fn authenticate(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    let mechanism = cursor.atom("a SASL mechanism")?.to_ascii_uppercase();
    let mut initial_response = None;
    if cursor.more() {
        cursor.space()?;
        let text = cursor.word(|b| b != b' ', "an initial response")?;
        let text = if text == "=" { "" } else { text };
        initial_response = Some(base64(text.as_bytes())?);
    }
    Ok(CommandBody::Authenticate(Authenticate { mechanism, initial_response }))
}

/// `login = "LOGIN" SP userid SP password`
fn login(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    let username = Bytes::copy_from_slice(&cursor.astring_lenient()?);
    cursor.space()?;
    let password = Secret(Bytes::copy_from_slice(&cursor.astring_lenient()?));
    Ok(CommandBody::Login { username, password })
}

fn enable(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let mut names = Vec::new();
    loop {
        cursor.space()?;
        if names.len() == ENABLE_MAX {
            return Err(Fault::TooMany("capabilities"));
        }
        let name = cursor.atom("a capability")?.to_ascii_uppercase();
        names.push(match name.as_str() {
            "IMAP4REV2" => Enable::Imap4Rev2,
            "CONDSTORE" => Enable::CondStore,
            "QRESYNC" => Enable::QResync,
            "UTF8=ACCEPT" => Enable::Utf8Accept,
            _ => Enable::Other(name),
        });
        if !cursor.more() {
            return Ok(CommandBody::Enable(names));
        }
    }
}

/// `setquota = "SETQUOTA" SP quota-root-name SP setquota-list` (RFC 9208 §6)
fn set_quota(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let root = argument(cursor)?;
    cursor.space()?;
    let limits = cursor.list(QUOTA_RESOURCES_MAX, "resources", true, |cursor| {
        let name = cursor.atom("a resource")?.to_ascii_uppercase();
        cursor.space()?;
        Ok((name, cursor.number64()?))
    })?;
    Ok(CommandBody::SetQuota { root, limits })
}

#[cfg(test)]
mod tests;
