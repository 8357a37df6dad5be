//! Messages that come in: completed with the fields of this server, large ones part by part, and given to delivery.

use super::SmtpService;
use crate::engine::{Engine, now_ms};
use crate::replies;
use bytes::Bytes;
use estafette_delivery::compose::{self, Text, Trace};
use estafette_delivery::{Error, Incoming, Intake, Outcome, Problem};
use estafette_machine::Deposit;
use estafette_raft::NewBody;
use estafette_reactor::Peer;
use estafette_smtp::Reply;
use estafette_smtp::server::{Answer, Delivery, Kind, Part, Peer as Client};
use estafette_types::{AccountId, Envelope};
use std::sync::Arc;
use std::time::Instant;

/// A large message between its parts. The session has it as a deposit: when it drops that, all of it goes.
struct Coming {
    /// The name that it has in the log.
    trace: String,
    state: State,
}

enum State {
    /// Nothing is written while the header may go on: fields are added to it.
    Header(Vec<Bytes>),
    Text(Box<Intake>),
}

/// What the fields that are added tell of.
struct Head<'a> {
    engine: &'a Arc<Engine>,
    peer: Peer,
    client: &'a Client,
    envelope: &'a Envelope,
}

impl SmtpService {
    fn next_trace(&mut self) -> String {
        self.messages += 1;
        // The second tells runs of the program apart.
        format!("{:x}.{}.{}", now_ms() / 1000, self.peer.session, self.messages)
    }

    pub(super) async fn part(&mut self, part: Part) -> Answer {
        if !self.engine.takes_mail() {
            return Answer::Refused(replies::disk_full());
        }
        let Part { envelope, deposit, pieces, peer: client } = part;
        let coming = match deposit {
            None => Coming { trace: self.next_trace(), state: State::Header(Vec::new()) },
            Some(deposit) => match deposit.open::<Coming>() {
                Some(coming) => *coming,
                None => return Answer::Refused(replies::temporary()),
            },
        };
        let head = Head { engine: &self.engine, peer: self.peer, client: &client, envelope: &envelope };
        match coming.take(pieces, &head).await {
            Ok(coming) => Answer::Taken(Deposit::new(coming)),
            Err(reply) => Answer::Refused(reply),
        }
    }

    pub(super) async fn deliver(&mut self, delivery: Delivery) -> Answer {
        let began = Instant::now();
        let lmtp = self.kind == Kind::Lmtp;
        let Delivery { envelope, deposit, body, size, peer: client, .. } = delivery;
        let coming = deposit.and_then(Deposit::open::<Coming>);
        let trace = coming.as_ref().map(|coming| coming.trace.clone()).unwrap_or_else(|| self.next_trace());
        let head = Head { engine: &self.engine, peer: self.peer, client: &client, envelope: &envelope };
        let whole = match coming {
            Some(coming) => coming.finish(body, &head).await,
            None => head.complete(Text::split(body), &trace).map(NewBody::of),
        };
        let body = match whole {
            Ok(body) => body,
            Err(reply) => return Answer::Refused(reply),
        };
        let (from, recipients) = (envelope.reverse_path.to_string(), envelope.recipients.len());
        let submitter: Option<AccountId> = client.identity.as_ref().map(|identity| identity.account);
        let outcomes = self.acceptor.accept(Incoming { envelope, body, submitter, strict_quota: lmtp }).await;
        metrics::histogram!("estafette_accept_seconds", "listener" => self.name)
            .record(began.elapsed().as_secs_f64());
        metrics::counter!("estafette_accepted_bytes_total", "listener" => self.name).increment(size);
        let failed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed(_))).count();
        let what = if failed == recipients { "message not taken" } else { "message taken in" };
        tracing::info!(message = trace, %from, size, recipients, failed, "{what}");
        let reply = |outcome: &Outcome| match outcome {
            Outcome::Done => Reply::accepted(&trace),
            Outcome::Failed(problem) => replies::of_problem(problem),
        };
        if lmtp {
            return Answer::Delivered(outcomes.iter().map(reply).collect());
        }
        // One answer for all: a fault for one of them puts the whole off, so that the client tries again.
        let worst = outcomes.iter().find(|outcome| matches!(outcome, Outcome::Failed(_)));
        Answer::Delivered(vec![worst.map_or_else(|| Reply::accepted(&trace), reply)])
    }
}

impl Coming {
    async fn take(self, pieces: Vec<Bytes>, head: &Head<'_>) -> Result<Coming, Reply> {
        let Coming { trace, state } = self;
        let (pieces, mut intake) = match state {
            State::Text(intake) => (pieces, intake),
            State::Header(mut before) => {
                before.extend(pieces);
                let text = Text::split(before);
                if text.is_open() {
                    return Ok(Coming { trace, state: State::Header(text.into_pieces()) });
                }
                let intake = Intake::new(&head.engine.store).map_err(refusal)?;
                (head.complete(text, &trace)?, Box::new(intake))
            }
        };
        let intake = aside(move || intake.push(&pieces).map(|()| intake)).await?;
        Ok(Coming { trace, state: State::Text(intake) })
    }

    async fn finish(self, rest: Vec<Bytes>, head: &Head<'_>) -> Result<NewBody, Reply> {
        let Coming { trace, state } = self.take(rest, head).await?;
        match state {
            State::Text(intake) => aside(move || intake.finish()).await,
            // All of it is header.
            State::Header(pieces) => head.complete(Text::split(pieces), &trace).map(NewBody::of),
        }
    }
}

impl Head<'_> {
    /// The message with the fields that are added on the way in; the same bytes for all recipients.
    fn complete(&self, mut text: Text, id: &str) -> Result<Vec<Bytes>, Reply> {
        let Head { engine, peer, client, envelope } = self;
        if text.hops() > engine.config.smtp.hops_max {
            let reply = Reply::new(554, (5, 4, 6), "the message has come through too many servers: it loops");
            return Err(reply);
        }
        let time_ms = now_ms();
        if client.identity.is_some() {
            text.complete_submission(time_ms, id, &engine.hostname);
        }
        let received = compose::received(&Trace {
            hello: &client.hello,
            remote: peer.remote.ip().to_canonical(),
            hostname: &engine.hostname,
            protocol: client.protocol(envelope.smtputf8),
            tls: client.tls.as_ref(),
            id,
            envelope,
            time_ms,
        });
        Ok(text.under([compose::return_path(&envelope.reverse_path), received]))
    }
}

/// Writes to the disk on a thread of its own.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Reply> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(refusal),
        // It panicked, which has been logged.
        Err(_) => Err(replies::temporary()),
    }
}

fn refusal(error: Error) -> Reply {
    let full = error.is_disk_full();
    replies::of_problem(&if full { Problem::DiskFull } else { Problem::Fault(Arc::new(error)) })
}
