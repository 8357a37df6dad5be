//! The parts of a notice: multipart/report with message/delivery-status (RFC 3462, RFC 3464).

use super::{Facts, Returned, words};
use crate::compose;
use crate::queue::{LastReply, NoticeKind, Recipient, State};
use bytes::Bytes;
use estafette_mime::{field_values, unfolded};
use estafette_types::Address;
use std::fmt::Write as _;

/// Characters of a Message-ID of the message that is told of.
const MESSAGE_ID_MAX: usize = 250;

/// The whole notice.
pub(super) fn message(facts: &Facts<'_>, sender: &Address, returned: &Returned, name: &str) -> Vec<Bytes> {
    let place = |place: &u32| facts.item.recipients.get(usize::try_from(*place).ok()?);
    let recipients: Vec<&Recipient> = facts.places.iter().filter_map(place).collect();
    let boundary = format!("=_report_{name}");
    let mut top = head(facts, sender, returned, name, &boundary);
    let text = words::text(facts, &recipients, returned);
    let encoding = if text.is_ascii() { "7bit" } else { "8bit" };
    // Writing to a String cannot fail.
    let _ = write!(
        top,
        "\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: {encoding}\r\nContent-Description: Notification\r\n\r\n{text}\r\n\
         --{boundary}\r\nContent-Type: message/delivery-status\r\n\
         Content-Description: Delivery report\r\n\r\n"
    );
    top.push_str(&per_message(facts));
    for recipient in recipients {
        top.push_str("\r\n");
        top.push_str(&per_recipient(facts, recipient));
    }
    let (kind, description) = match (returned, facts.item.smtputf8 && !returned.is_ascii()) {
        (Returned::Whole(_), false) => ("message/rfc822", "Undelivered message"),
        (Returned::Whole(_), true) => ("message/global", "Undelivered message"),
        (Returned::Header(_), false) => ("text/rfc822-headers", "Header of the message"),
        (Returned::Header(_), true) => ("message/global-headers", "Header of the message"),
    };
    let encoding = if returned.is_ascii() { "7bit" } else { "8bit" };
    let _ = write!(
        top,
        "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\
         Content-Description: {description}\r\n\r\n"
    );
    let end = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let returned = returned.pieces().iter().filter(|piece| !piece.is_empty()).cloned();
    std::iter::once(Bytes::from(top)).chain(returned).chain([end]).collect()
}

fn head(facts: &Facts<'_>, sender: &Address, returned: &Returned, name: &str, boundary: &str) -> String {
    let hostname = facts.hostname;
    let mut head = format!(
        "Date: {}\r\nFrom: Mail Delivery System <postmaster@{hostname}>\r\nTo: <{sender}>\r\n\
         Subject: {}\r\nMessage-ID: <{name}@{hostname}>\r\n",
        compose::date(facts.now_ms),
        words::subject(facts.kind),
    );
    if let Some(id) = message_id(returned.start()) {
        let _ = write!(head, "In-Reply-To: {id}\r\nReferences: {id}\r\n");
    }
    let _ = write!(
        head,
        "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\r\n\
         This is a delivery status notification in MIME format.\r\n"
    );
    head
}

/// The Message-ID of the message, when it is one that can be repeated.
fn message_id(header: &[u8]) -> Option<String> {
    let value = field_values(header, "Message-ID").next().map(unfolded)?;
    let id = String::from_utf8(value).ok()?;
    let fine = id.len() <= MESSAGE_ID_MAX
        && id.starts_with('<')
        && id.ends_with('>')
        && id.bytes().all(|byte| byte.is_ascii_graphic());
    fine.then_some(id)
}

/// RFC 3464 §2.2.
fn per_message(facts: &Facts<'_>) -> String {
    let mut fields = String::new();
    if let Some(id) = &facts.item.dsn_envelope_id {
        let _ = write!(fields, "Original-Envelope-Id: {}\r\n", printable(id));
    }
    let _ = write!(
        fields,
        "Reporting-MTA: dns; {}\r\nArrival-Date: {}\r\n",
        facts.hostname,
        compose::date(facts.item.created_ms)
    );
    fields
}

/// RFC 3464 §2.3.
fn per_recipient(facts: &Facts<'_>, recipient: &Recipient) -> String {
    let mut fields = String::new();
    if let Some((kind, address)) = &recipient.original {
        let kind = if address.is_ascii() { printable(kind) } else { "utf-8".to_owned() };
        let _ = write!(fields, "Original-Recipient: {kind}; {}\r\n", spelled(address));
    }
    let address = recipient.address.to_string();
    let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
    let _ = write!(fields, "Final-Recipient: {kind}; {}\r\n", spelled(&address));
    let _ = write!(
        fields,
        "Action: {}\r\nStatus: {}\r\n",
        action(facts.kind, recipient.state),
        status(recipient)
    );
    if let Some(reply) = recipient.last.as_ref().filter(|reply| !reply.server.is_empty()) {
        let _ = write!(fields, "Remote-MTA: dns; {}\r\n", printable(&reply.server));
        let _ = write!(fields, "Diagnostic-Code: smtp; {}\r\n", folded(reply));
    }
    if recipient.last.is_some() {
        let _ = write!(fields, "Last-Attempt-Date: {}\r\n", compose::date(recipient.last_ms));
    }
    if facts.kind == NoticeKind::Delay {
        let _ = write!(fields, "Will-Retry-Until: {}\r\n", compose::date(facts.retry_until_ms));
    }
    fields
}

fn action(kind: NoticeKind, state: State) -> &'static str {
    match (kind, state) {
        (NoticeKind::Delay, _) => "delayed",
        (NoticeKind::Failure, _) => "failed",
        (NoticeKind::Success, State::Delivered) => "delivered",
        (NoticeKind::Success, _) => "relayed",
    }
}

/// The class says what became of the recipient; the rest is the server's, as far as it fits.
fn status(recipient: &Recipient) -> String {
    let said = recipient.last.as_ref().and_then(|reply| reply.status);
    let tail = said.map_or((0, 0), |status| (status.subject, status.detail));
    let (class, (subject, detail)) = match recipient.state {
        // RFC 3463 §3.5: delivery time expired.
        State::Expired => (5, (4, 7)),
        State::Failed => (5, tail),
        State::Pending => (4, tail),
        State::Delivered | State::Relayed | State::Passed => (2, tail),
    };
    format!("{class}.{subject}.{detail}")
}

/// A reply in lines that are not too long (RFC 5322 §2.1.1).
fn folded(reply: &LastReply) -> String {
    let mut text = String::new();
    let mut line = "Diagnostic-Code: smtp;".len();
    for word in reply.to_string().split(' ').filter(|word| !word.is_empty()) {
        if line + word.len() > 76 && !text.is_empty() {
            text.push_str("\r\n\t");
            line = 8;
        } else if !text.is_empty() {
            text.push(' ');
            line += 1;
        }
        text.push_str(&printable(word));
        line += word.len();
    }
    text
}

/// Printable ASCII in one line.
fn printable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

/// An address; other characters than ASCII as `\x{HEX}` (RFC 6533 §3).
fn spelled(address: &str) -> String {
    let mut text = String::with_capacity(address.len());
    for c in address.chars() {
        if matches!(c, ' '..='~') && (c != '\\' || address.is_ascii()) {
            text.push(c);
        } else {
            let _ = write!(text, "\\x{{{:X}}}", u32::from(c));
        }
    }
    text
}
