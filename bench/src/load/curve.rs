//! How commands on one mailbox take longer, or not, as it grows.

use super::connection::Connection;
use super::greeting::Login;
use super::ingest::{Ingest, Mail, Protocol};
use super::run::Span;
use super::target::Target;
use crate::error::BenchError;
use crate::message::Messages;
use crate::process::Meter;
use clap::Args;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::time::{Duration, Instant};

/// Measurements of each command at each size; the median is told.
const TURNS: usize = 201;

/// Fills one mailbox by LMTP and measures IMAP commands and deliveries at several sizes on the way.
#[derive(Args, Clone, Debug)]
pub(crate) struct Curve {
    /// Where LMTP is: host:port.
    #[arg(long)]
    pub(crate) lmtp: String,
    /// Where IMAP is: host:port, in plain.
    #[arg(long)]
    pub(crate) imap: String,
    /// The account's address.
    #[arg(long)]
    pub(crate) recipient: String,
    /// `user:password` of the account.
    #[arg(long)]
    pub(crate) login: String,
    /// The sizes of the mailbox, ascending.
    #[arg(long, value_delimiter = ',', default_values = ["1000", "10000", "100000", "1000000"])]
    pub(crate) sizes: Vec<usize>,
    /// Bytes of each message.
    #[arg(long, default_value_t = 512)]
    pub(crate) size: usize,
    /// Sessions that fill it.
    #[arg(long, default_value_t = 64)]
    pub(crate) sessions: usize,
}

/// The medians at one size, in ms.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CurvePoint {
    /// Messages in the mailbox.
    pub(crate) messages: u64,
    /// The first SELECT after the filling.
    pub(crate) first_select_ms: f64,
    /// SELECT.
    pub(crate) select_ms: f64,
    /// STATUS.
    pub(crate) status_ms: f64,
    /// FETCH of the headers of the last 50.
    pub(crate) fetch_last_50_ms: f64,
    /// APPEND.
    pub(crate) append_ms: f64,
    /// A delivery over LMTP.
    pub(crate) deliver_ms: f64,
}

impl Curve {
    /// Runs it.
    pub(crate) async fn run(self) -> Result<Vec<CurvePoint>, BenchError> {
        let mut points = Vec::new();
        let mut imap = Target::plain(&self.imap).dialer(false)?.imap().await?;
        imap.imap_login(&Login::of(std::slice::from_ref(&self.login), 0)).await?;
        let mut held = imap.select().await?;
        let bar = ProgressBar::new(self.sizes.last().copied().unwrap_or(0) as u64);
        for size in self.sizes.clone() {
            while held < size as u64 {
                bar.set_position(held);
                let missing = usize::try_from(size as u64 - held).unwrap_or(usize::MAX);
                self.fill(missing.min(50_000)).await?;
                held = imap.select().await?;
            }
            points.push(self.measure(&mut imap).await?);
            held = imap.select().await?;
        }
        bar.finish_and_clear();
        Ok(points)
    }

    fn load(&self, sessions: usize, messages: usize) -> Ingest {
        let mail = Mail {
            protocol: Protocol::Lmtp,
            target: Target::plain(&self.lmtp),
            recipients: vec![self.recipient.clone()],
            size: self.size,
            span: Span::operations(messages),
            meter: Meter::default(),
        };
        Ingest::of(mail, sessions)
    }

    async fn fill(&self, messages: usize) -> Result<(), BenchError> {
        let sessions = self.sessions.min(messages).max(1);
        self.load(sessions, messages).run().await.map(|_| ())
    }

    async fn measure(&self, imap: &mut Connection) -> Result<CurvePoint, BenchError> {
        let began = Instant::now();
        let messages = imap.select().await?;
        let first_select_ms = began.elapsed().as_secs_f64() * 1000.0;
        let last = messages.max(1);
        let first = last.saturating_sub(49).max(1);
        let fetch = format!(
            "FETCH {first}:{last} (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (From Subject Date)])"
        );
        Ok(CurvePoint {
            messages,
            first_select_ms,
            select_ms: commands(imap, "SELECT INBOX").await?,
            status_ms: commands(imap, "STATUS INBOX (MESSAGES UNSEEN UIDNEXT UIDVALIDITY SIZE)").await?,
            fetch_last_50_ms: commands(imap, &fetch).await?,
            append_ms: self.append(imap).await?,
            deliver_ms: self.load(1, TURNS).run().await?.p50_ms,
        })
    }

    async fn append(&self, imap: &mut Connection) -> Result<f64, BenchError> {
        let mut messages = Messages::new(999);
        let mut times = Vec::with_capacity(TURNS);
        let mut message = Vec::new();
        for _ in 0..TURNS {
            messages.write(self.size, &mut message);
            let began = Instant::now();
            write!(imap.command(), "a APPEND INBOX {{{}+}}\r\n", message.len())?;
            imap.flush().await?;
            message.extend_from_slice(b"\r\n");
            imap.send(&message).await?;
            imap.imap_done().await?;
            times.push(began.elapsed());
        }
        Ok(median(times))
    }
}

async fn commands(imap: &mut Connection, command: &str) -> Result<f64, BenchError> {
    let mut times = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        let began = Instant::now();
        imap.imap(command).await?;
        times.push(began.elapsed());
    }
    Ok(median(times))
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}
