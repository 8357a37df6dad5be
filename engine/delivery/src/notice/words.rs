//! What a person reads of a notice, in English.

use super::{Facts, Returned};
use crate::compose;
use crate::queue::{LastReply, NoticeKind, Recipient, State};
use std::fmt::Write as _;

pub(super) fn subject(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Failure => "Undelivered mail returned to sender",
        NoticeKind::Delay => "Your message is delayed (it is still being tried)",
        NoticeKind::Success => "Your message was delivered",
    }
}

/// The first part of the notice.
pub(super) fn text(facts: &Facts<'_>, recipients: &[&Recipient], returned: &Returned) -> String {
    let mut text = format!("This is the mail system at {}.\r\n\r\n", facts.hostname);
    // Writing to a String cannot fail.
    match facts.kind {
        NoticeKind::Failure => {
            text.push_str("Your message could not be delivered to one or more recipients.\r\n");
            text.push_str(match returned {
                Returned::Whole(_) => "It is attached.\r\n",
                Returned::Header(_) => "Its header is attached.\r\n",
            });
        }
        NoticeKind::Delay => {
            text.push_str("Your message could not yet be delivered to one or more recipients.\r\n");
            let _ = write!(text, "It will be tried until {}.\r\n", compose::date(facts.retry_until_ms));
            text.push_str("You need not send it again.\r\n");
        }
        NoticeKind::Success => {
            text.push_str("As you asked, this tells you what became of your message.\r\n");
        }
    }
    for recipient in recipients {
        let _ = write!(text, "\r\n<{}>:\r\n", recipient.address);
        text.push_str(&became(recipient));
    }
    text
}

fn became(recipient: &Recipient) -> String {
    let said = |reply: &LastReply| match reply.server.as_str() {
        "" => format!("    {reply}\r\n"),
        server => format!("    {server} said: {reply}\r\n"),
    };
    let mut text = String::new();
    match recipient.state {
        State::Delivered => text.push_str("    delivered into its mailbox\r\n"),
        State::Relayed | State::Passed => {
            text.push_str("    handed to another server, which sends no such notices\r\n");
        }
        State::Expired => text.push_str("    given up: it was tried for too long\r\n"),
        State::Failed | State::Pending => {}
    }
    if let Some(reply) = recipient.last.as_ref().filter(|_| recipient.state != State::Delivered) {
        text.push_str(&said(reply));
    }
    text
}
