//! DATA and BDAT: the message itself, and its hand-over to the engine.

use super::Session;
use super::ask::{Answer, Ask, Delivery, Part};
use super::phase::{Chunk, Phase, Question};
use super::session::{Out, Outcome};
use crate::codec::{self, Framing, Progress, Receiver};
use crate::{Error, Reply};
use bytes::{Buf, BytesMut};
use estafette_types::BodyType;
use std::sync::Arc;

/// The engine's answer has nothing to do with the question: a fault of ours, told as passing.
pub(super) fn not_fitting() -> Reply {
    Reply::new(451, (4, 3, 0), "local error in processing")
}

/// A transaction with at least one recipient is needed.
fn ready(session: &Session) -> Outcome {
    let Some(transaction) = &session.transaction else {
        return Err(Reply::new(503, (5, 5, 1), "send MAIL first"));
    };
    if !transaction.envelope.recipients.is_empty() {
        return Ok(());
    }
    // RFC 2033 §4.2 asks for 503 in LMTP.
    if transaction.refused && !session.is_lmtp() {
        return Err(Reply::new(554, (5, 5, 1), "no valid recipients"));
    }
    Err(Reply::new(503, (5, 5, 1), "send RCPT first"))
}

fn ask_for_room(session: &mut Session, question: Question, out: &mut Out) {
    if let Some(transaction) = &session.transaction {
        let ask = Ask::Data { envelope: Arc::clone(&transaction.envelope), peer: Arc::clone(&session.peer) };
        session.ask(question, ask, out);
    }
}

pub(super) fn data(session: &mut Session, _argument: &str, out: &mut Out) -> Outcome {
    ready(session)?;
    if session.transaction.as_ref().is_some_and(|transaction| transaction.receiver.is_some()) {
        return Err(Reply::new(503, (5, 5, 1), "the message has begun with BDAT"));
    }
    let binary = |body| body == BodyType::BinaryMime;
    if session.transaction.as_ref().is_some_and(|transaction| binary(transaction.envelope.body_type)) {
        return Err(Reply::new(503, (5, 5, 1), "BODY=BINARYMIME needs BDAT"));
    }
    ask_for_room(session, Question::Data, out);
    Ok(())
}

pub(super) fn data_answered(session: &mut Session, answer: Answer, out: &mut Out) {
    match (answer, session.transaction.as_mut()) {
        (Answer::Accepted, Some(transaction)) => {
            transaction.receiver = Some(Receiver::new(Framing::Dots, session.config.limits.body));
            session.phase = Phase::Data;
            session.say(&Reply::bare(354, "end data with <CR><LF>.<CR><LF>"), out);
        }
        (Answer::Refused(reply), _) => {
            session.transaction = None;
            session.say(&reply, out);
        }
        _ => {
            session.transaction = None;
            session.say(&not_fitting(), out);
        }
    }
}

/// Bytes of DATA; false when more are needed.
pub(super) fn data_arrived(session: &mut Session, input: &mut BytesMut, out: &mut Out) -> bool {
    if input.is_empty() {
        return false;
    }
    let before = input.len();
    let receiver = session.transaction.as_mut().and_then(|transaction| transaction.receiver.as_mut());
    let progress = receiver.map_or(Progress::Flood, |receiver| receiver.data(input));
    match progress {
        // True once more for a step that got on; the one after it sees what is left.
        Progress::More => return hand_over(session, out) || input.len() < before,
        Progress::End => complete(session, out),
        Progress::Flood => flood(session, out),
    }
    true
}

pub(super) fn bdat(session: &mut Session, argument: &str, out: &mut Out) -> Outcome {
    let (size, last) = codec::chunk(argument)?;
    let limits = session.config.limits.body;
    if size > limits.size.saturating_add(limits.swallow) {
        session.say(&Error::MessageTooLarge.reply(), out);
        session.close(out);
        return Ok(());
    }
    let refusal = session.conditions(true, true).and_then(|()| ready(session)).err();
    let refused = refusal.is_some();
    let chunk = Chunk { remaining: size, size, last, refusal };
    let begun = session.transaction.as_ref().is_some_and(|transaction| transaction.receiver.is_some());
    if begun || refused {
        begin_chunk(session, chunk, out);
    } else {
        ask_for_room(session, Question::Chunk(chunk), out);
    }
    Ok(())
}

pub(super) fn chunk_answered(session: &mut Session, mut chunk: Chunk, answer: Answer, out: &mut Out) {
    match (answer, session.transaction.as_mut()) {
        (Answer::Accepted, Some(transaction)) => {
            let binary = transaction.envelope.body_type == BodyType::BinaryMime;
            let framing = if binary { Framing::Binary } else { Framing::Text };
            transaction.receiver = Some(Receiver::new(framing, session.config.limits.body));
        }
        (Answer::Refused(reply), _) => {
            session.transaction = None;
            chunk.refusal = Some(reply);
        }
        _ => {
            session.transaction = None;
            chunk.refusal = Some(not_fitting());
        }
    }
    begin_chunk(session, chunk, out);
}

/// Reads the chunk; an empty one is there already.
fn begin_chunk(session: &mut Session, chunk: Chunk, out: &mut Out) {
    session.phase = Phase::Chunk(chunk);
    if matches!(&session.phase, Phase::Chunk(chunk) if chunk.remaining == 0) {
        chunk_arrived(session, &mut BytesMut::new(), out);
    }
}

/// Bytes of a chunk; false when more are needed.
pub(super) fn chunk_arrived(session: &mut Session, input: &mut BytesMut, out: &mut Out) -> bool {
    let Phase::Chunk(chunk) = &mut session.phase else { return false };
    if chunk.remaining > 0 && input.is_empty() {
        return false;
    }
    let receiver = session.transaction.as_mut().and_then(|transaction| transaction.receiver.as_mut());
    let progress = match receiver {
        Some(receiver) if chunk.refusal.is_none() => receiver.chunk(input, &mut chunk.remaining),
        _ => {
            let skipped = usize::try_from(chunk.remaining).unwrap_or(usize::MAX).min(input.len());
            chunk.remaining -= skipped as u64;
            input.advance(skipped);
            if chunk.remaining == 0 { Progress::End } else { Progress::More }
        }
    };
    match progress {
        Progress::Flood => flood(session, out),
        // The end of the last one is handed over with the whole.
        Progress::End if matches!(&session.phase, Phase::Chunk(chunk) if chunk.last) => {
            chunk_ended(session, out)
        }
        Progress::End if !hand_over(session, out) => chunk_ended(session, out),
        Progress::More => {
            hand_over(session, out);
        }
        Progress::End => {}
    }
    true
}

/// Hands over what is gathered of a large message; false when it is not large, or little has come since the last time.
fn hand_over(session: &mut Session, out: &mut Out) -> bool {
    let part_from = session.config.limits.part_from;
    let Some(transaction) = session.transaction.as_mut() else { return false };
    if !transaction.part_is_due(part_from) {
        return false;
    }
    let part = Part {
        envelope: Arc::clone(&transaction.envelope),
        deposit: transaction.deposit.take(),
        pieces: transaction.receiver.as_mut().map(Receiver::part).unwrap_or_default(),
        peer: Arc::clone(&session.peer),
    };
    let chunk = match std::mem::replace(&mut session.phase, Phase::Command) {
        Phase::Chunk(chunk) => Some(chunk),
        _ => None,
    };
    session.ask(Question::Part(chunk), Ask::Part(Box::new(part)), out);
    true
}

/// The message goes on. Of one that is refused, the rest is read and thrown away.
pub(super) fn part_answered(session: &mut Session, chunk: Option<Chunk>, answer: Answer, out: &mut Out) {
    if let Some(transaction) = session.transaction.as_mut() {
        let refusal = match answer {
            Answer::Taken(deposit) => {
                transaction.deposit = Some(deposit);
                None
            }
            Answer::Refused(reply) => Some(reply),
            _ => Some(not_fitting()),
        };
        if let (Some(reply), Some(receiver)) = (refusal, transaction.receiver.as_mut()) {
            receiver.discard();
            transaction.refusal = Some(reply);
        }
    }
    session.phase = chunk.map_or(Phase::Data, Phase::Chunk);
    if matches!(&session.phase, Phase::Chunk(chunk) if chunk.remaining == 0) {
        chunk_ended(session, out);
    }
}

fn chunk_ended(session: &mut Session, out: &mut Out) {
    session.pace = None;
    let Phase::Chunk(chunk) = std::mem::replace(&mut session.phase, Phase::Command) else { return };
    if let Some(reply) = chunk.refusal {
        return session.refuse(&reply, out);
    }
    if chunk.last {
        return complete(session, out);
    }
    let fault = session.transaction.as_ref().and_then(|transaction| {
        let fault = transaction.receiver.as_ref().and_then(Receiver::fault);
        transaction.refusal.clone().or(fault.map(Error::reply))
    });
    if let Some(reply) = fault {
        // What follows is answered with 503 until RSET or MAIL (RFC 3030 §2).
        session.transaction = None;
        return session.say(&reply, out);
    }
    session.say(&Reply::new(250, (2, 0, 0), format!("{} bytes received", chunk.size)), out);
}

/// The whole message is here.
fn complete(session: &mut Session, out: &mut Out) {
    session.pace = None;
    session.phase = Phase::Command;
    let Some(transaction) = session.transaction.take() else { return };
    let transaction = *transaction;
    let replies = if session.is_lmtp() { transaction.envelope.recipients.len() } else { 1 };
    let Some(receiver) = transaction.receiver else { return };
    let whole = receiver.finish();
    if let Some(reply) = transaction.refusal {
        return say_all(session, &vec![reply; replies], out);
    }
    match whole {
        Err(fault) => say_all(session, &vec![fault.reply(); replies], out),
        Ok(message) => {
            let envelope = Arc::unwrap_or_clone(transaction.envelope);
            let delivery = Delivery {
                protocol: session.peer.protocol(envelope.smtputf8),
                envelope,
                deposit: transaction.deposit,
                body: message.pieces,
                size: message.size,
                peer: Arc::clone(&session.peer),
            };
            session.ask(Question::Deliver { replies }, Ask::Deliver(Box::new(delivery)), out);
        }
    }
}

/// One reply for SMTP, one per recipient for LMTP; what is missing is told as passing.
pub(super) fn delivered(session: &mut Session, replies: usize, answer: Answer, out: &mut Out) {
    let mut given = match answer {
        Answer::Delivered(given) => given,
        Answer::Refused(reply) => vec![reply; replies],
        _ => Vec::new(),
    };
    given.resize_with(replies, not_fitting);
    if given.iter().any(Reply::is_positive) {
        session.counters.idle = 0;
    }
    say_all(session, &given, out);
}

/// All replies, then the close if one of them asks for it.
fn say_all(session: &mut Session, replies: &[Reply], out: &mut Out) {
    let (closing, others) = replies.split_last().map_or((None, replies), |(last, rest)| (Some(last), rest));
    let ends = others.iter().any(Reply::is_closing);
    others.iter().for_each(|reply| session.write(reply));
    if let Some(last) = closing {
        session.say(last, out);
    }
    if ends {
        session.close(out);
    }
}

/// Too much beyond the limit: say so, as often as the peer awaits it, and hang up.
fn flood(session: &mut Session, out: &mut Out) {
    let in_data = matches!(session.phase, Phase::Data);
    let recipients = session.transaction.as_ref().map_or(1, |t| t.envelope.recipients.len());
    let replies = if in_data && session.is_lmtp() { recipients } else { 1 };
    say_all(session, &vec![Error::MessageTooLarge.reply(); replies], out);
    session.close(out);
}
