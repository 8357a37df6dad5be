//! A server that takes mail and plays the part that a test gives it.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Where a connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Connect,
    Greeting,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    /// In the middle of the message.
    Body,
    /// The whole message came, but it was not taken.
    Dot,
    /// After the message was taken and that was said.
    Taken,
}

/// The part that it plays; may be changed while it runs.
#[derive(Clone, Default)]
pub(crate) struct Part {
    /// How often to drop the connection there.
    pub(crate) drops: HashMap<Stage, u32>,
    /// Replies to RCPT by address, each used once; then 250.
    pub(crate) rcpt: HashMap<String, Vec<String>>,
    /// Replies to MAIL, each used once; then 250.
    pub(crate) mail: Vec<String>,
    /// Replies to messages, each used once; then 250.
    pub(crate) message: Vec<String>,
    /// Lines of EHLO.
    pub(crate) offers: Vec<&'static str>,
    /// `user` and `password` for AUTH PLAIN.
    pub(crate) login: Option<(String, String)>,
    pub(crate) tls: Option<TlsAcceptor>,
    /// TLS from the first byte.
    pub(crate) implicit: bool,
    /// Its handshakes fail.
    pub(crate) broken_tls: bool,
    /// Milliseconds before a message is answered.
    pub(crate) slow_ms: u64,
    /// Milliseconds before DATA is answered, each used once; then none.
    pub(crate) slow_data_ms: Vec<u64>,
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) body: String,
    pub(crate) tls: bool,
    pub(crate) login: bool,
}

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) part: Arc<Mutex<Part>>,
    pub(crate) mails: Arc<Mutex<Vec<Mail>>>,
    /// Connections so far.
    pub(crate) connections: Arc<Mutex<u32>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    pub(crate) async fn start(part: Part) -> Relay {
        Relay::start_at("127.0.0.1:0".parse().unwrap(), part).await
    }

    pub(crate) async fn start_at(address: SocketAddr, part: Part) -> Relay {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let part = Arc::new(Mutex::new(part));
        let mails: Arc<Mutex<Vec<Mail>>> = Arc::default();
        let connections: Arc<Mutex<u32>> = Arc::default();
        let shared = (Arc::clone(&part), Arc::clone(&mails), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            let (part, mails, connections) = shared;
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                *connections.lock() += 1;
                tokio::spawn(serve(socket, Arc::clone(&part), Arc::clone(&mails)));
            }
        });
        Relay { address, part, mails, connections, task }
    }

    /// The bodies of all messages taken, sorted.
    pub(crate) fn bodies(&self) -> Vec<String> {
        let mut bodies: Vec<String> = self.mails.lock().iter().map(|mail| mail.body.clone()).collect();
        bodies.sort();
        bodies
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Session {
    stream: BufReader<Box<dyn Stream>>,
    part: Arc<Mutex<Part>>,
    mails: Arc<Mutex<Vec<Mail>>>,
    mail: Mail,
}

async fn serve(socket: TcpStream, part: Arc<Mutex<Part>>, mails: Arc<Mutex<Vec<Mail>>>) {
    let Part { tls, implicit, .. } = part.lock().clone();
    let mail = Mail { from: String::new(), to: vec![], body: String::new(), tls: implicit, login: false };
    let stream: Box<dyn Stream> = match tls.filter(|_| implicit) {
        Some(tls) => match tls.accept(socket).await {
            Ok(stream) => Box::new(stream),
            Err(_) => return,
        },
        None => Box::new(socket),
    };
    let mut session = Session { stream: BufReader::new(stream), part, mails, mail };
    // A connection that ends early is what tests are about.
    let _ = session.run().await;
}

type End<T> = Result<T, std::io::Error>;

impl Session {
    fn dropped(&self, stage: Stage) -> End<()> {
        match self.part.lock().drops.get_mut(&stage) {
            Some(left) if *left > 0 => {
                *left -= 1;
                Err(std::io::ErrorKind::ConnectionAborted.into())
            }
            _ => Ok(()),
        }
    }

    async fn say(&mut self, line: &str) -> End<()> {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    async fn line(&mut self) -> End<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        assert!(line.ends_with("\r\n"), "{line:?}");
        Ok(line.trim_end().to_owned())
    }

    async fn run(&mut self) -> End<()> {
        self.dropped(Stage::Connect)?;
        self.say("220 relay.example.net ESMTP").await?;
        self.dropped(Stage::Greeting)?;
        loop {
            let line = self.line().await?;
            let upper = line.to_ascii_uppercase();
            match upper.split([' ', ':']).next().unwrap() {
                "EHLO" => self.ehlo().await?,
                "STARTTLS" => self.starttls().await?,
                "AUTH" => self.auth(&line).await?,
                "MAIL" => {
                    self.dropped(Stage::Mail)?;
                    let (tls, login) = (self.mail.tls, self.mail.login);
                    self.mail = Mail { from: line, to: vec![], body: String::new(), tls, login };
                    let reply = next(&mut self.part.lock().mail, "250 2.1.0 ok");
                    self.say(&reply).await?;
                }
                "RCPT" => self.rcpt(line).await?,
                "DATA" if self.mail.to.is_empty() => self.say("554 5.5.1 no recipients").await?,
                "DATA" => self.data().await?,
                "RSET" | "NOOP" => self.say("250 2.0.0 ok").await?,
                "QUIT" => return self.say("221 2.0.0 bye").await,
                other => panic!("{other}"),
            }
        }
    }

    async fn ehlo(&mut self) -> End<()> {
        self.dropped(Stage::Ehlo)?;
        let mut lines = vec!["relay.example.net"];
        let offers = self.part.lock().offers.clone();
        lines.extend(offers);
        if self.part.lock().tls.is_some() && !self.mail.tls {
            lines.push("STARTTLS");
        }
        if self.part.lock().login.is_some() {
            lines.push("AUTH PLAIN");
        }
        let last = lines.len() - 1;
        for (place, line) in lines.iter().enumerate() {
            let separator = if place == last { ' ' } else { '-' };
            self.say(&format!("250{separator}{line}")).await?;
        }
        Ok(())
    }

    async fn starttls(&mut self) -> End<()> {
        self.say("220 2.0.0 go on").await?;
        if self.part.lock().broken_tls {
            return self.say("what is TLS?").await;
        }
        let tls = self.part.lock().tls.clone().unwrap();
        let nothing: Box<dyn Stream> = Box::new(tokio::io::duplex(1).0);
        let plain = std::mem::replace(&mut self.stream, BufReader::new(nothing));
        let secure = tls.accept(plain.into_inner()).await?;
        self.stream = BufReader::new(Box::new(secure));
        self.mail.tls = true;
        Ok(())
    }

    async fn auth(&mut self, line: &str) -> End<()> {
        let (user, password) = self.part.lock().login.clone().unwrap();
        let want = base64(format!("\0{user}\0{password}").as_bytes());
        self.mail.login = line == format!("AUTH PLAIN {want}");
        let reply = if self.mail.login { "235 2.7.0 welcome" } else { "535 5.7.8 no" };
        self.say(reply).await
    }

    async fn rcpt(&mut self, line: String) -> End<()> {
        self.dropped(Stage::Rcpt)?;
        let address = line.split(['<', '>']).nth(1).unwrap().to_owned();
        let reply = next(self.part.lock().rcpt.entry(address).or_default(), "250 2.1.5 ok");
        if reply.starts_with('2') {
            self.mail.to.push(line);
        }
        self.say(&reply).await
    }

    async fn data(&mut self) -> End<()> {
        let slow_ms = self.part.lock().slow_data_ms.pop().unwrap_or(0);
        tokio::time::sleep(std::time::Duration::from_millis(slow_ms)).await;
        self.say("354 go on").await?;
        self.dropped(Stage::Data)?;
        let mut body = String::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                break;
            }
            body.push_str(line.strip_prefix('.').unwrap_or(&line));
            body.push_str("\r\n");
            self.dropped(Stage::Body)?;
        }
        self.dropped(Stage::Dot)?;
        let slow_ms = self.part.lock().slow_ms;
        tokio::time::sleep(std::time::Duration::from_millis(slow_ms)).await;
        let reply = next(&mut self.part.lock().message, "250 2.0.0 taken");
        if reply.starts_with('2') {
            self.mails.lock().push(Mail { body, ..self.mail.clone() });
        }
        self.say(&reply).await?;
        self.dropped(Stage::Taken)
    }
}

fn next(replies: &mut Vec<String>, usual: &str) -> String {
    if replies.is_empty() { usual.to_owned() } else { replies.remove(0) }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|three| {
        let number =
            three.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        (0..4).map(move |place| {
            if place > three.len() { '=' } else { DIGITS[(number >> (18 - 6 * place) & 63) as usize] as char }
        })
    });
    digits.collect()
}
