//! One connection to the relay: the client machine on a socket.

use super::claims::Hold;
use super::letter::Letter;
use super::settings::{RelayTarget, RelayTls};
use super::tls;
use crate::Error;
use bytes::{Bytes, BytesMut};
use estafette_smtp::Reply;
use estafette_smtp::client::{Client, ClientAction, ClientConfig, Event, Failure, Outcome, Outgoing, Stage};
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// How long a server that takes no more bytes may need to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Makes connections to the relay.
pub(super) struct Relay {
    pub(super) target: RelayTarget,
    connector: TlsConnector,
    name: ServerName<'static>,
    secure: Arc<ClientConfig>,
    plain: Arc<ClientConfig>,
}

/// What became of a message.
#[derive(Debug)]
pub(super) struct Sent {
    /// One for each recipient, in order.
    pub(super) outcomes: Vec<Outcome>,
    /// The server passes on what the sender wants to know (DSN).
    pub(super) dsn: bool,
    /// The connection was closed before the server answered at all: nothing of the message was taken.
    pub(super) unheard: bool,
    /// The session went down with it.
    pub(super) failed: bool,
    /// It was broken off before its end, as another node may have it now.
    pub(super) lost: bool,
}

/// What a client wants of the message that it sends.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Text,
    Look,
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// An open connection.
pub(super) struct Connection {
    client: Client,
    stream: Option<Box<dyn Stream>>,
    connector: TlsConnector,
    name: ServerName<'static>,
    input: BytesMut,
    deadline: Instant,
    /// Bytes came since the last message was given to it.
    heard: bool,
    ready: bool,
    closed: bool,
    finished: Option<Vec<Outcome>>,
    /// The message that is being sent.
    letter: Option<Letter>,
    failure: Option<Failure>,
    /// The right to send it.
    hold: Option<Arc<Hold>>,
    lost: bool,
    /// It was used for a message before.
    pub(super) used: bool,
}

impl Relay {
    pub(super) fn new(target: RelayTarget) -> Result<Relay, Error> {
        let (connector, name) = tls::connector(&target)?;
        let (secure, plain) = (Arc::new(target.client(false)), Arc::new(target.client(true)));
        Ok(Relay { target, connector, name, secure, plain })
    }

    /// A connection that is ready for a message.
    pub(super) async fn connect(&self) -> Result<Connection, Reply> {
        match self.connect_as(&self.secure).await {
            Err(failure) if failure.stage == Stage::Tls && self.target.tls == RelayTls::StartTls => {
                tracing::warn!(relay = self.target.host, reply = %failure.reply, "TLS failed: sending in plain");
                self.connect_as(&self.plain).await.map_err(|failure| failure.reply)
            }
            other => other.map_err(|failure| failure.reply),
        }
    }

    async fn connect_as(&self, config: &Arc<ClientConfig>) -> Result<Connection, Failure> {
        let failed =
            |text: String| Failure { stage: Stage::Greeting, reply: Reply::new(451, (4, 4, 1), text) };
        let to = (self.target.host.as_str(), self.target.port);
        let stream = match timeout(self.target.connect_timeout, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(format!("the relay cannot be reached: {error}"))),
            Err(_) => return Err(failed("the relay cannot be reached: it does not answer".to_owned())),
        };
        // Commands are written whole; waiting for more to join them only costs time.
        let _ = stream.set_nodelay(true);
        let mut connection = Connection {
            client: Client::new(Arc::clone(config)),
            stream: Some(Box::new(stream)),
            connector: self.connector.clone(),
            name: self.name.clone(),
            input: BytesMut::new(),
            deadline: Instant::now() + config.times.tls,
            heard: false,
            ready: false,
            closed: false,
            finished: None,
            letter: None,
            failure: None,
            hold: None,
            lost: false,
            used: false,
        };
        if self.target.tls == RelayTls::Implicit {
            if connection.start_tls().await.is_err() {
                let reply = Reply::new(454, (4, 7, 5), "the TLS handshake failed");
                return Err(Failure { stage: Stage::Tls, reply });
            }
            connection.step(Event::Secured).await;
        }
        connection.step(Event::Connected).await;
        connection.drive(|connection| connection.ready).await;
        match connection.failure.take() {
            Some(failure) => Err(failure),
            None if connection.ready => Ok(connection),
            None => Err(failed("the relay takes no messages".to_owned())),
        }
    }
}

impl Connection {
    /// Sends a message; tells as soon as its outcomes are known. `hold` is looked at once more before its end is
    /// written.
    pub(super) async fn send(&mut self, (message, letter): (Outgoing, Letter), hold: &Arc<Hold>) -> Sent {
        let recipients = message.envelope.recipients.len();
        self.letter = Some(letter);
        self.hold = hold.token().is_some().then(|| Arc::clone(hold));
        self.drive(|connection| connection.ready).await;
        if self.ready {
            (self.ready, self.heard, self.finished) = (false, false, None);
            self.step(Event::Mail(Box::new(message))).await;
            self.drive(|connection| connection.finished.is_some()).await;
        }
        self.used = true;
        (self.letter, self.hold) = (None, None);
        let unheard = self.closed && !self.heard;
        let failure = self.failure.take();
        let failed = failure.is_some();
        let lost =
            || failure.map_or_else(|| Reply::new(451, (4, 4, 2), "the connection was lost"), |f| f.reply);
        let outcomes = match self.finished.take() {
            Some(outcomes) if outcomes.len() == recipients => outcomes,
            // That says nothing about the message, so trying again may help.
            _ => vec![Outcome::Transient(lost()); recipients],
        };
        Sent { outcomes, dsn: self.client.extensions().dsn, unheard, failed, lost: self.lost }
    }

    /// True while another message may be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.closed && self.stream.is_some()
    }

    /// Looks whether an idle connection still serves: nothing may have come, and no end.
    pub(super) async fn is_alive(&mut self) -> bool {
        self.drive(|connection| connection.ready).await;
        let Some(stream) = self.stream.as_mut().filter(|_| self.ready) else { return false };
        let mut byte = [0; 1];
        timeout(Duration::ZERO, stream.read(&mut byte)).await.is_err()
    }

    /// Says goodbye; does not wait long for the answer.
    pub(super) async fn quit(mut self) {
        let farewell = async {
            self.drive(|connection| connection.ready).await;
            self.step(Event::Quit).await;
            self.drive(|connection| connection.closed).await;
        };
        // The server closes by itself if it does not hear us.
        let _ = timeout(LAST_WORDS, farewell).await;
    }

    /// Goes on until `done` or the end.
    async fn drive(&mut self, done: impl Fn(&Connection) -> bool) {
        while !self.closed && !done(self) {
            let Some(stream) = &mut self.stream else {
                self.step(Event::Closed).await;
                return;
            };
            self.input.reserve(READ_BYTES);
            match timeout_at(self.deadline, stream.read_buf(&mut self.input)).await {
                Ok(Ok(0) | Err(_)) => self.step(Event::Closed).await,
                Ok(Ok(_)) => self.received().await,
                Err(_) => self.step(Event::TimedOut).await,
            }
        }
    }

    async fn received(&mut self) {
        self.heard = true;
        let mut input = std::mem::take(&mut self.input);
        let actions = self.client.step(Event::Received(&mut input));
        self.input = input;
        self.carry_out(actions).await;
    }

    async fn step(&mut self, event: Event<'_>) {
        let actions = self.client.step(event);
        self.carry_out(actions).await;
    }

    /// Carries out actions and what follows from them, until the next bytes are awaited.
    async fn carry_out(&mut self, mut actions: Vec<ClientAction>) {
        loop {
            let (mut output, mut secure, mut wanted) = (Vec::new(), false, None);
            for action in actions {
                match action {
                    ClientAction::Send(bytes) => output.push(bytes),
                    ClientAction::StartTls => secure = true,
                    ClientAction::Read => wanted = Some(Wanted::Text),
                    ClientAction::Look => wanted = Some(Wanted::Look),
                    ClientAction::Arm(time) => self.deadline = Instant::now() + time,
                    ClientAction::Ready => self.ready = true,
                    ClientAction::Finished(outcomes) => self.finished = Some(outcomes),
                    ClientAction::Failed(failure) => self.failure = Some(failure),
                    ClientAction::Close => self.closed = true,
                }
            }
            let written = if output.is_empty() { Ok(()) } else { self.write(&output).await };
            actions = if let Err(event) = written {
                self.after_write_failed(event).await
            } else if let (Some(wanted), false) = (wanted, self.closed) {
                let event = self.look_up(wanted).await;
                self.client.step(event)
            } else if !output.is_empty() {
                self.client.step(Event::Drained)
            } else if secure {
                let up = self.start_tls().await.is_ok();
                self.client.step(if up { Event::Secured } else { Event::TlsFailed })
            } else {
                break;
            };
        }
        if self.closed {
            self.stream = None;
        }
    }

    /// What the client wants to know of the message.
    async fn look_up(&mut self, wanted: Wanted) -> Event<'static> {
        match (wanted, &mut self.letter) {
            (Wanted::Text, Some(letter)) => Event::Text(letter.read()),
            (Wanted::Text, None) => Event::Text(Vec::new()),
            (Wanted::Look, Some(letter)) => Event::Looked(letter.look().await),
            (Wanted::Look, None) => Event::Looked(None),
        }
    }

    /// Writes it all; but not the end of a message that this node may not send any more.
    async fn write(&mut self, output: &[Bytes]) -> Result<(), Event<'static>> {
        if let (Some(hold), true, Some((end, before))) =
            (self.hold.clone(), self.client.completes(), output.split_last())
        {
            self.put(before).await?;
            if !hold.is_good() {
                (self.stream, self.lost) = (None, true);
            }
            return self.put(std::slice::from_ref(end)).await;
        }
        self.put(output).await
    }

    async fn put(&mut self, output: &[Bytes]) -> Result<(), Event<'static>> {
        let Some(stream) = &mut self.stream else { return Err(Event::Closed) };
        let writing = async {
            for bytes in output {
                stream.write_all(bytes).await?;
            }
            stream.flush().await
        };
        match timeout_at(self.deadline, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Event::Closed),
            Err(_) => Err(Event::TimedOut),
        }
    }

    /// A server that refuses in the middle of a message may have said why before it closed.
    async fn after_write_failed(&mut self, event: Event<'static>) -> Vec<ClientAction> {
        let Some(stream) = &mut self.stream else { return self.client.step(event) };
        let mut input = std::mem::take(&mut self.input);
        let words = timeout(LAST_WORDS, stream.read_buf(&mut input)).await;
        self.stream = None;
        let mut actions = Vec::new();
        if matches!(words, Ok(Ok(1..))) {
            self.heard = true;
            // What it wants sent in turn can no longer be.
            actions = self.client.step(Event::Received(&mut input));
            actions.retain(|action| !matches!(action, ClientAction::Send(_) | ClientAction::Ready));
        }
        actions.extend(self.client.step(event));
        actions
    }

    async fn start_tls(&mut self) -> std::io::Result<()> {
        let Some(stream) = self.stream.take() else { return Err(std::io::ErrorKind::NotConnected.into()) };
        let handshake = self.connector.connect(self.name.clone(), stream);
        match timeout_at(self.deadline, handshake).await {
            Ok(Ok(stream)) => {
                self.stream = Some(Box::new(stream));
                Ok(())
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "TLS with the relay");
                Err(error)
            }
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }
}
