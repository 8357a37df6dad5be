//! Estafette itself, with its defaults but for logins in plain, which the loads use on all servers.

use super::certificate::Certificate;
use super::{Server, Services, wait_for};
use crate::error::BenchError;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A private node.
pub(crate) struct Estafette {
    child: Child,
    ready: Value,
    services: Services,
}

const LISTENERS: [&str; 9] =
    ["smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s", "http"];

impl Estafette {
    /// Starts it in a folder that is empty, with this way of moving bytes, and with settings in sections of
    /// their own (but `login`, `log`, `listen`).
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        accounts: usize,
        io: &str,
        settings: &str,
    ) -> Result<Estafette, BenchError> {
        let certificate = Certificate::make(folder)?;
        let listen: String = LISTENERS.iter().map(|name| format!("{name} = [\"127.0.0.1:0\"]\n")).collect();
        let config = folder.join("estafette.toml");
        std::fs::write(
            &config,
            format!(
                "{settings}\n[login]\nallow_plaintext = true\n[log]\nfilter = \"warn\"\n\
                 [[tls.certificates]]\nchain = {:?}\nkey = {:?}\nnames = [\"load.test\"]\n[listen]\n{listen}",
                certificate.chain, certificate.key
            ),
        )?;
        let ready_file = folder.join("ready.json");
        let log = std::fs::File::create(folder.join("log.txt"))?;
        let mut child = Command::new(program)
            .arg("serve")
            .arg("--data")
            .arg(folder.join("data"))
            .arg("--config")
            .arg(&config)
            .args(io_arguments(program, io)?)
            .args(["--demo", "--demo-accounts", &accounts.to_string(), "--ready-file"])
            .arg(&ready_file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut ended = false;
        let waited = wait_for("estafette", || {
            ended = matches!(child.try_wait(), Ok(Some(_)));
            ended || ready_file.exists()
        });
        let mut server = Estafette { child, ready: Value::Null, services: Services::default() };
        waited?;
        if ended {
            let why = std::fs::read_to_string(folder.join("log.txt")).unwrap_or_default();
            return Err(BenchError::Start { server: "estafette", why });
        }
        server.ready = serde_json::from_slice(&std::fs::read(&ready_file)?)?;
        server.services = Services {
            lmtp: server.listener("lmtp"),
            smtp: server.listener("smtp"),
            imap: server.listener("imap"),
            imaps: server.listener("imaps"),
            pop3: server.listener("pop3"),
            pop3s: server.listener("pop3s"),
        };
        Ok(server)
    }

    /// Where this service listens.
    pub(crate) fn listener(&self, name: &str) -> Option<String> {
        self.ready.get("listeners")?.get(name)?.as_str().map(str::to_owned)
    }

    /// The way in which it moves bytes, as it says itself.
    pub(crate) fn io(&self) -> &str {
        self.ready.get("io").and_then(Value::as_str).unwrap_or("unknown")
    }

    fn accounts(&self, text: impl Fn(&Value) -> Option<String>) -> Vec<String> {
        let accounts = self.ready.get("demo").and_then(|demo| demo.get("accounts")).and_then(Value::as_array);
        accounts.into_iter().flatten().filter_map(text).collect()
    }
}

/// `--io`, when the program knows it. One that does not has a single way of moving bytes, and no twin.
fn io_arguments(program: &Path, io: &str) -> Result<Vec<String>, BenchError> {
    let help = Command::new(program).args(["serve", "--help"]).stderr(Stdio::null()).output()?;
    if String::from_utf8_lossy(&help.stdout).contains("--io") {
        return Ok(vec!["--io".to_owned(), io.to_owned()]);
    }
    if io == "auto" {
        return Ok(Vec::new());
    }
    let why = format!("this program has no --io, so not '{io}'");
    Err(BenchError::Start { server: "estafette", why })
}

fn field(account: &Value, name: &str) -> Option<String> {
    account.get(name)?.as_str().map(str::to_owned)
}

impl Server for Estafette {
    fn pids(&self) -> Vec<u32> {
        vec![self.child.id()]
    }
    fn services(&self) -> &Services {
        &self.services
    }
    fn recipients(&self) -> Vec<String> {
        self.accounts(|account| field(account, "address"))
    }
    fn logins(&self) -> Vec<String> {
        self.accounts(|account| {
            Some(format!("{}:{}", field(account, "username")?, field(account, "password")?))
        })
    }
    fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Estafette {
    fn drop(&mut self) {
        self.stop();
    }
}
