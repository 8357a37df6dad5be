//! The AUTHORIZATION state: USER and PASS, AUTH (RFC 5034), STLS, UTF8.

use super::{Out, Question, Session, State, code};
use crate::command::Command;
use crate::maildrop::Maildrop;
use crate::{Answer, Ask, Failure, Mechanism, Refusal, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use estafette_machine::Action;

/// Where an AUTH command stands.
#[derive(Debug)]
pub(super) enum Exchange {
    /// The PLAIN message is awaited.
    Plain,
    /// The name of LOGIN is awaited.
    LoginName,
    /// The password of LOGIN is awaited.
    LoginPassword(String),
}

impl Exchange {
    /// The challenge: empty, or `Username:` and `Password:` in base64, as clients of LOGIN await them.
    fn challenge(&self) -> &'static str {
        match self {
            Exchange::Plain => "",
            Exchange::LoginName => "VXNlcm5hbWU6",
            Exchange::LoginPassword(_) => "UGFzc3dvcmQ6",
        }
    }
}

impl Session {
    pub(super) fn authorization(&mut self, command: Command, out: &mut Out) {
        match command {
            Command::Stls if self.tls.is_some() => self.say("-ERR TLS is up already", out),
            Command::Stls if !self.stls_allowed() => self.say("-ERR STLS is not offered", out),
            // RFC 6856 §2.1: a client must not do this.
            Command::Stls if self.utf8 => self.say("-ERR STLS must come before UTF8", out),
            Command::Stls => {
                self.input.clear();
                self.state = State::Authorization(None);
                self.say("+OK begin TLS", out);
                out.push(Action::StartTls);
            }
            Command::Utf8 => {
                self.utf8 = true;
                self.say("+OK UTF8", out);
            }
            Command::Auth(None) if self.passwords_allowed() => {
                self.send("+OK mechanisms\r\nPLAIN\r\nLOGIN\r\n.\r\n", out);
            }
            Command::Auth(None) => self.send("+OK mechanisms\r\n.\r\n", out),
            Command::User(_) | Command::Pass(_) | Command::Auth(_) if !self.passwords_allowed() => {
                self.say("-ERR TLS is required for logging in; use STLS", out);
            }
            Command::User(name) => {
                self.state = State::Authorization(Some(name));
                self.say("+OK now the password", out);
            }
            Command::Pass(password) => match std::mem::replace(&mut self.state, State::Authorization(None)) {
                State::Authorization(Some(name)) => {
                    self.login(Mechanism::UserPass, "", &name, &password.0, out)
                }
                _ => self.say("-ERR USER comes first", out),
            },
            Command::Auth(Some((mechanism, initial))) => self.auth(&mechanism, initial, out),
            _ => self.say("-ERR log in first", out),
        }
    }

    fn auth(&mut self, mechanism: &str, initial: Option<Secret>, out: &mut Out) {
        let exchange = match mechanism {
            "PLAIN" => Exchange::Plain,
            "LOGIN" => Exchange::LoginName,
            _ => return self.say("-ERR unknown mechanism", out),
        };
        match initial {
            None => self.challenge(exchange, out),
            // RFC 5034 §4: an initial response of no bytes.
            Some(Secret(text)) if text == "=" => self.exchange(exchange, b"", out),
            Some(Secret(text)) => self.exchange(exchange, text.as_bytes(), out),
        }
    }

    fn challenge(&mut self, exchange: Exchange, out: &mut Out) {
        let challenge = exchange.challenge();
        self.state = State::Exchange(exchange);
        self.say(&format!("+ {challenge}"), out);
    }

    /// The client's response, in base64.
    pub(super) fn exchange(&mut self, exchange: Exchange, line: &[u8], out: &mut Out) {
        self.state = State::Authorization(None);
        if line == b"*" {
            return self.say("-ERR AUTH cancelled", out);
        }
        let text = STANDARD.decode(line).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(text) = text else { return self.auth_malformed(out) };
        match exchange {
            Exchange::Plain => {
                let mut words = text.split('\0');
                match (words.next(), words.next(), words.next(), words.next()) {
                    (Some(authzid), Some(authcid), Some(password), None) => {
                        self.login(Mechanism::Plain, authzid, authcid, password, out);
                    }
                    _ => self.auth_malformed(out),
                }
            }
            Exchange::LoginName => self.challenge(Exchange::LoginPassword(text), out),
            Exchange::LoginPassword(name) => self.login(Mechanism::Login, "", &name, &text, out),
        }
    }

    fn auth_malformed(&mut self, out: &mut Out) {
        self.errors = self.errors.saturating_add(1);
        self.say("-ERR the response cannot be read", out);
        if self.errors >= self.config.errors_max {
            self.close(out);
        }
    }

    fn login(&mut self, mechanism: Mechanism, authzid: &str, authcid: &str, password: &str, out: &mut Out) {
        if authcid.is_empty() || password.is_empty() || authcid.contains('\0') || password.contains('\0') {
            return self.auth_malformed(out);
        }
        let ask = Ask::Authenticate {
            mechanism,
            authzid: authzid.to_owned(),
            authcid: authcid.to_owned(),
            password: Secret(password.to_owned()),
        };
        self.ask(Question::Login, ask, out);
    }

    pub(super) fn login_answered(&mut self, answer: Answer, out: &mut Out) {
        match answer {
            Answer::LoggedIn(account) => self.ask(Question::Open, Ask::Open { account }, out),
            answer => self.refuse(&answer, out),
        }
    }

    pub(super) fn open_answered(&mut self, answer: Answer, out: &mut Out) {
        let answer = match answer {
            Answer::Opened(snapshot) => match Maildrop::new(snapshot) {
                Some(maildrop) => {
                    let (count, octets) = (maildrop.count(), maildrop.octets());
                    self.state = State::Transaction(maildrop);
                    self.say(&format!("+OK {count} messages ({octets} octets)"), out);
                    return self.arm(out);
                }
                None => Answer::Failed(Failure::Temporary),
            },
            answer => answer,
        };
        self.refuse(&answer, out);
    }

    /// No login. Only wrong credentials count against the client.
    fn refuse(&mut self, answer: &Answer, out: &mut Out) {
        let response = match answer {
            Answer::Refused(Refusal::Credentials) => {
                self.auth_failures = self.auth_failures.saturating_add(1);
                "-ERR [AUTH] wrong name or password".to_owned()
            }
            Answer::Refused(Refusal::InUse) => "-ERR [IN-USE] the maildrop is in use".to_owned(),
            Answer::Refused(Refusal::LoginDelay) => {
                "-ERR [LOGIN-DELAY] too soon after the last login".to_owned()
            }
            Answer::Refused(Refusal::Failed(failure)) | Answer::Failed(failure) => {
                format!("-ERR {} cannot log you in now", code(*failure))
            }
            _ => "-ERR [SYS/TEMP] cannot log you in now".to_owned(),
        };
        self.say(&response, out);
        if self.auth_failures >= self.config.auth_failures_max {
            self.close(out);
        }
    }
}
