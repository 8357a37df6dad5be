//! Estafette itself, with its defaults but for logins in plain, which the loads use on all servers.

use super::certificate::Certificate;
use super::{Server, Services, wait_for};
use crate::error::BenchError;
use serde_json::Value;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that it may take to end by itself.
const END_MAX: Duration = Duration::from_secs(30);

/// Between two looks whether it has ended.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// A private node.
pub(crate) struct Estafette {
    child: Child,
    ready: Value,
    services: Services,
}

const LISTENERS: [&str; 9] =
    ["smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s", "http"];

/// How a node is started, once and again.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its data, settings, certificate, ready file and log lie here.
    pub(crate) folder: PathBuf,
    /// The address of loopback whose free ports it listens on.
    pub(crate) host: Ipv4Addr,
    /// Accounts of the demonstration domain; 0 for what is there already.
    pub(crate) accounts: usize,
    /// Its way of moving bytes.
    pub(crate) io: String,
    /// By how much others go before it on the processors, as `nice` has it; 0: none does.
    pub(crate) niceness: u8,
}

impl Plan {
    /// Where its data lies.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where its settings are.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("estafette.toml")
    }

    /// Writes its settings: these in sections of their own (but `login`, `log`, `listen`), and what loads need.
    pub(crate) fn configure(&self, settings: &str) -> Result<(), BenchError> {
        let certificate = Certificate::make(&self.folder)?;
        let host = self.host;
        let listen: String = LISTENERS.iter().map(|name| format!("{name} = [\"{host}:0\"]\n")).collect();
        std::fs::write(
            self.config(),
            format!(
                "{settings}\n[login]\nallow_plaintext = true\n[log]\nfilter = \"warn\"\n\
                 [[tls.certificates]]\nchain = {:?}\nkey = {:?}\nnames = [\"load.test\"]\n[listen]\n{listen}",
                certificate.chain, certificate.key
            ),
        )?;
        Ok(())
    }

    /// Starts it by the settings that were written, and waits until it serves. Blocks the thread.
    pub(crate) fn launch(&self) -> Result<Estafette, BenchError> {
        let (ready_file, log) = (self.folder.join("ready.json"), self.folder.join("log.txt"));
        if ready_file.exists() {
            std::fs::remove_file(&ready_file)?;
        }
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = match self.niceness {
            0 => Command::new(&self.program),
            niceness => {
                let mut nice = Command::new("nice");
                nice.args(["-n", &niceness.to_string()]).arg(&self.program);
                nice
            }
        };
        command.arg("serve").arg("--data").arg(self.data()).arg("--config").arg(self.config());
        command.args(io_arguments(&self.program, &self.io)?);
        if self.accounts > 0 {
            command.args(["--demo", "--demo-accounts", &self.accounts.to_string()]);
        }
        command.arg("--ready-file").arg(&ready_file).stdout(Stdio::null()).stderr(output);
        let child = command.spawn()?;
        let mut server = Estafette { child, ready: Value::Null, services: Services::default() };
        let mut ended = false;
        wait_for("estafette", || {
            ended = matches!(server.child.try_wait(), Ok(Some(_)));
            ended || ready_file.exists()
        })?;
        if ended {
            let why = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(BenchError::Start { server: "estafette", why });
        }
        server.ready = serde_json::from_slice(&std::fs::read(&ready_file)?)?;
        server.services = server.listeners();
        Ok(server)
    }
}

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
        let plan = Plan {
            program: program.to_owned(),
            folder: folder.to_owned(),
            host: Ipv4Addr::LOCALHOST,
            accounts,
            io: io.to_owned(),
            niceness: 0,
        };
        plan.configure(settings)?;
        plan.launch()
    }

    fn listeners(&self) -> Services {
        Services {
            lmtp: self.listener("lmtp"),
            smtp: self.listener("smtp"),
            imap: self.listener("imap"),
            imaps: self.listener("imaps"),
            pop3: self.listener("pop3"),
            pop3s: self.listener("pop3s"),
        }
    }

    /// SIGKILL; it is gone when this returns.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let end = Instant::now() + END_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(LOOK_PAUSE);
        }
        self.kill();
    }
}

impl Drop for Estafette {
    fn drop(&mut self) {
        self.stop();
    }
}
