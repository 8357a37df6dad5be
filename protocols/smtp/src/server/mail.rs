//! MAIL and RCPT.

use super::Session;
use super::ask::{Answer, Ask};
use super::message::not_fitting;
use super::phase::{Question, Transaction};
use super::session::{Out, Outcome};
use crate::codec;
use crate::{Error, Reply};
use estafette_types::{Envelope, Recipient};
use std::sync::Arc;

pub(super) fn mail(session: &mut Session, argument: &str, out: &mut Out) -> Outcome {
    if session.transaction.is_some() {
        return Err(Reply::new(503, (5, 5, 1), "MAIL was sent already"));
    }
    if session.counters.mails >= session.config.limits.mails {
        return Err(Reply::new(421, (4, 7, 0), "too many messages in this session"));
    }
    let requiretls = session.config.offer_requiretls && session.peer.tls.is_some();
    let envelope = codec::mail(argument, requiretls)?;
    if envelope.declared_size.is_some_and(|size| size > session.config.limits.body.size) {
        // A refusal of the message, not a fault of the command.
        session.say(&Error::MessageTooLarge.reply(), out);
        return Ok(());
    }
    let envelope = Arc::new(envelope);
    let ask = Ask::Mail { envelope: Arc::clone(&envelope), peer: Arc::clone(&session.peer) };
    session.ask(Question::Mail(envelope), ask, out);
    Ok(())
}

pub(super) fn mail_answered(session: &mut Session, envelope: Arc<Envelope>, answer: Answer, out: &mut Out) {
    let reply = match answer {
        Answer::Accepted => {
            session.counters.mails += 1;
            session.transaction = Some(Box::new(Transaction::new(envelope)));
            Reply::new(250, (2, 1, 0), "sender ok")
        }
        Answer::Refused(reply) => reply,
        _ => not_fitting(),
    };
    session.say(&reply, out);
}

pub(super) fn rcpt(session: &mut Session, argument: &str, out: &mut Out) -> Outcome {
    let Some(transaction) = session.transaction.as_mut() else {
        return Err(Reply::new(503, (5, 5, 1), "send MAIL first"));
    };
    if transaction.receiver.is_some() {
        return Err(Reply::new(503, (5, 5, 1), "the message has begun"));
    }
    if transaction.envelope.recipients.len() >= session.config.limits.recipients {
        transaction.refused = true;
        // The client is to send the rest in another transaction (RFC 5321 §4.5.3.1.10).
        session.say(&Reply::new(452, (4, 5, 3), "too many recipients"), out);
        return Ok(());
    }
    let recipient = codec::recipient(argument, transaction.envelope.smtputf8).inspect_err(|_| {
        transaction.refused = true;
    })?;
    let ask = Ask::Rcpt {
        recipient: recipient.clone(),
        envelope: Arc::clone(&transaction.envelope),
        peer: Arc::clone(&session.peer),
    };
    session.ask(Question::Recipient(recipient), ask, out);
    Ok(())
}

pub(super) fn rcpt_answered(session: &mut Session, recipient: Recipient, answer: Answer, out: &mut Out) {
    let Some(transaction) = session.transaction.as_mut() else {
        return session.say(&not_fitting(), out);
    };
    let reply = match answer {
        Answer::Accepted => {
            Arc::make_mut(&mut transaction.envelope).recipients.push(recipient);
            Reply::new(250, (2, 1, 5), "recipient ok")
        }
        Answer::Refused(reply) => {
            transaction.refused = true;
            reply
        }
        _ => {
            transaction.refused = true;
            not_fitting()
        }
    };
    session.say(&reply, out);
}
