//! The metrics of a listener.
//!
//! Looked up once, when the listener starts: a session then only adds to them. Must not be made before
//! the program's recorder is.

use crate::protocol::Refusal;
use metrics::{Counter, Gauge, Histogram};
use std::time::Duration;

pub(crate) struct Meters {
    name: &'static str,
    sessions: Counter,
    open: Gauge,
    received_bytes: Counter,
    sent_bytes: Counter,
    tls_failed: Counter,
    /// By the kind of the question.
    answers: Vec<(Counter, Histogram)>,
}

/// An open session.
pub(crate) struct Opened(Gauge);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Meters {
    pub(crate) fn new(name: &'static str, questions: &'static [&'static str]) -> Meters {
        let answer = |question: &&'static str| {
            let labels = [("listener", name), ("command", *question)];
            (
                metrics::counter!("estafette_commands_total", &labels),
                metrics::histogram!("estafette_answer_seconds", &labels),
            )
        };
        Meters {
            name,
            sessions: metrics::counter!("estafette_sessions_total", "listener" => name),
            open: metrics::gauge!("estafette_sessions", "listener" => name),
            received_bytes: metrics::counter!("estafette_received_bytes_total", "listener" => name),
            sent_bytes: metrics::counter!("estafette_sent_bytes_total", "listener" => name),
            tls_failed: metrics::counter!("estafette_tls_failed_total", "listener" => name),
            answers: questions.iter().map(answer).collect(),
        }
    }

    pub(crate) fn refused(&self, why: Refusal) {
        let labels = [("listener", self.name), ("why", why.label())];
        metrics::counter!("estafette_sessions_refused_total", &labels).increment(1);
    }

    /// A session, counted as open until what is returned is dropped.
    pub(crate) fn opened(&self) -> Opened {
        self.sessions.increment(1);
        self.open.increment(1.0);
        Opened(self.open.clone())
    }

    pub(crate) fn moved(&self, received_bytes: u64, sent_bytes: u64) {
        self.received_bytes.increment(received_bytes);
        self.sent_bytes.increment(sent_bytes);
    }

    pub(crate) fn answered(&self, question: usize, took: Duration) {
        if let Some((count, seconds)) = self.answers.get(question) {
            count.increment(1);
            seconds.record(took.as_secs_f64());
        }
    }

    pub(crate) fn tls_failed(&self) {
        self.tls_failed.increment(1);
    }
}
