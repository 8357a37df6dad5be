//! Commands about mailboxes: SELECT, CREATE, LIST, STATUS and the like.

use super::cursor::{Cursor, Parsed};
use super::message::known_set;
use crate::codec::Dialect;
use crate::codec::chars;
use crate::codec::command::{CommandBody, MAILBOX_MAX, Mailbox, QResync, Select};
use crate::codec::fault::Fault;
use crate::codec::flag::SpecialUse;
use crate::codec::mailbox::{Create, List, ListReturn, ListSelection, PATTERNS_MAX, StatusItem};
use crate::codec::utf7;
use estafette_types::UidValidity;

/// How many options a list of options may have.
const OPTIONS_MAX: usize = 30;

/// `SP mailbox`
pub(super) fn argument(cursor: &mut Cursor<'_>) -> Parsed<Mailbox> {
    cursor.space()?;
    mailbox(cursor)
}

/// `mailbox = "INBOX" / astring`
pub(super) fn mailbox(cursor: &mut Cursor<'_>) -> Parsed<Mailbox> {
    let bytes = cursor.astring()?;
    Mailbox::new(&name(&bytes, cursor.dialect)?).ok_or(Fault::Mailbox)
}

/// A name, or a pattern, in UTF-8. In the UTF-8 dialect there is no shift: `&` is itself.
fn name(bytes: &[u8], dialect: Dialect) -> Parsed<String> {
    // Base64 of a name that is not too long has at most 8 bytes for 3 of UTF-8.
    if bytes.len() > 4 * MAILBOX_MAX {
        return Err(Fault::Mailbox);
    }
    let name = match dialect {
        Dialect::Ascii => utf7::decode(bytes),
        Dialect::Utf8 => String::from_utf8(bytes.to_vec()).ok(),
    };
    name.ok_or(Fault::Mailbox)
}

/// `list-mailbox = 1*list-char / string`
fn pattern(cursor: &mut Cursor<'_>) -> Parsed<String> {
    let bytes = cursor.string_or(chars::is_list)?;
    name(&bytes, cursor.dialect).and_then(short)
}

fn reference(cursor: &mut Cursor<'_>) -> Parsed<String> {
    let bytes = cursor.astring()?;
    name(&bytes, cursor.dialect).and_then(short)
}

fn short(name: String) -> Parsed<String> {
    if name.len() <= MAILBOX_MAX { Ok(name) } else { Err(Fault::Mailbox) }
}

/// `select = "SELECT" SP mailbox [SP "(" select-param *(SP select-param) ")"]`
pub(super) fn select(cursor: &mut Cursor<'_>) -> Parsed<Select> {
    let mut select = Select { mailbox: argument(cursor)?, condstore: false, qresync: None };
    if cursor.more() {
        cursor.space()?;
        cursor.list(OPTIONS_MAX, "parameters", false, |cursor| {
            match cursor.atom("a parameter")?.to_ascii_uppercase().as_str() {
                "CONDSTORE" => select.condstore = true,
                "QRESYNC" => select.qresync = Some(qresync(cursor)?),
                _ => return Err(Fault::Expected("CONDSTORE or QRESYNC")),
            }
            Ok(())
        })?;
    }
    Ok(select)
}

/// ` (uidvalidity mod-sequence [known-uids] [(sequence-set uid-set)])` (RFC 7162 §7)
fn qresync(cursor: &mut Cursor<'_>) -> Parsed<QResync> {
    cursor.space()?;
    cursor.open()?;
    let uid_validity = UidValidity(cursor.nz_number()?);
    cursor.space()?;
    let mod_seq = cursor.mod_seq()?;
    let (mut known_uids, mut seq_match) = (None, None);
    let mut more = cursor.eat(b' ');
    if more && cursor.peek() != Some(b'(') {
        known_uids = Some(known_set(cursor)?);
        more = cursor.eat(b' ');
    }
    if more {
        cursor.open()?;
        let numbers = known_set(cursor)?;
        cursor.space()?;
        seq_match = Some((numbers, known_set(cursor)?));
        cursor.close()?;
    }
    cursor.close()?;
    Ok(QResync { uid_validity, mod_seq, known_uids, seq_match })
}

/// `create = "CREATE" SP mailbox [SP "(" "USE" SP "(" [use-attr *(SP use-attr)] ")" ")"]`
pub(super) fn create(cursor: &mut Cursor<'_>) -> Parsed<Create> {
    let mut create = Create { mailbox: argument(cursor)?, special_use: Vec::new() };
    if cursor.more() {
        cursor.space()?;
        cursor.list(1, "parameters", false, |cursor| {
            if !cursor.eat_text("USE ") {
                return Err(Fault::Expected("USE"));
            }
            create.special_use = cursor.list(OPTIONS_MAX, "uses", true, |cursor| {
                let text = cursor.word(|b| chars::is_atom(b) || b == b'\\', "a use")?;
                SpecialUse::parse(text).ok_or(Fault::Expected("a use of RFC 6154"))
            })?;
            Ok(())
        })?;
    }
    Ok(create)
}

/// `status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"`
pub(super) fn status(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let mailbox = argument(cursor)?;
    cursor.space()?;
    Ok(CommandBody::Status { mailbox, items: status_items(cursor)? })
}

fn status_items(cursor: &mut Cursor<'_>) -> Parsed<Vec<StatusItem>> {
    let mut items = Vec::new();
    cursor.list(OPTIONS_MAX, "items", false, |cursor| {
        let item = StatusItem::parse(cursor.atom("an item")?).ok_or(Fault::Expected("an item of STATUS"))?;
        if !items.contains(&item) {
            items.push(item);
        }
        Ok(())
    })?;
    Ok(items)
}

/// `lsub = "LSUB" SP mailbox SP list-mailbox`
pub(super) fn lsub(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    let reference = reference(cursor)?;
    cursor.space()?;
    Ok(CommandBody::Lsub { reference, pattern: pattern(cursor)? })
}

/// `LIST [select-opts] reference (pattern / (patterns)) [RETURN (options)]`
pub(super) fn list(cursor: &mut Cursor<'_>) -> Parsed<List> {
    let mut list = List::default();
    cursor.space()?;
    if cursor.peek() == Some(b'(') {
        list.extended = true;
        list.selection = selection(cursor)?;
        cursor.space()?;
    }
    list.reference = reference(cursor)?;
    cursor.space()?;
    if cursor.peek() == Some(b'(') {
        list.extended = true;
        list.patterns = cursor.list(PATTERNS_MAX, "patterns", false, pattern)?;
    } else {
        list.patterns.push(pattern(cursor)?);
    }
    if cursor.more() {
        list.extended = true;
        if !cursor.eat_text(" RETURN ") {
            return Err(Fault::Expected("RETURN"));
        }
        list.returns = returns(cursor)?;
    }
    Ok(list)
}

fn selection(cursor: &mut Cursor<'_>) -> Parsed<ListSelection> {
    let mut selection = ListSelection::default();
    cursor.list(OPTIONS_MAX, "options", true, |cursor| {
        match cursor.atom("an option")?.to_ascii_uppercase().as_str() {
            "SUBSCRIBED" => selection.subscribed = true,
            "REMOTE" => selection.remote = true,
            "RECURSIVEMATCH" => selection.recursive_match = true,
            "SPECIAL-USE" => selection.special_use = true,
            _ => return Err(Fault::Expected("a selection option of LIST")),
        }
        Ok(())
    })?;
    // RFC 9051 §6.3.9.1: it does nothing alone or with REMOTE, and must be refused.
    if selection.recursive_match && !selection.subscribed && !selection.special_use {
        return Err(Fault::Expected("SUBSCRIBED beside RECURSIVEMATCH"));
    }
    Ok(selection)
}

fn returns(cursor: &mut Cursor<'_>) -> Parsed<ListReturn> {
    let mut returns = ListReturn::default();
    cursor.list(OPTIONS_MAX, "options", true, |cursor| {
        match cursor.atom("an option")?.to_ascii_uppercase().as_str() {
            "SUBSCRIBED" => returns.subscribed = true,
            "CHILDREN" => returns.children = true,
            "SPECIAL-USE" => returns.special_use = true,
            "STATUS" => {
                cursor.space()?;
                returns.status = Some(status_items(cursor)?);
            }
            _ => return Err(Fault::Expected("a return option of LIST")),
        }
        Ok(())
    })?;
    Ok(returns)
}
