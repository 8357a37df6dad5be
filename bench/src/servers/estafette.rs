//! Estafette itself, with its defaults but for logins in plain, which the loads use on all servers.

use super::{Server, wait_for};
use crate::error::BenchError;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A private node.
pub(crate) struct Estafette {
    child: Child,
    ready: Value,
}

const LISTENERS: [&str; 9] =
    ["smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s", "http"];

impl Estafette {
    /// Starts it in a folder that is empty.
    pub(crate) fn start(program: &Path, folder: &Path, accounts: usize) -> Result<Estafette, BenchError> {
        let listen: String = LISTENERS.iter().map(|name| format!("{name} = [\"127.0.0.1:0\"]\n")).collect();
        let config = folder.join("estafette.toml");
        std::fs::write(
            &config,
            format!("[login]\nallow_plaintext = true\n[log]\nfilter = \"warn\"\n[listen]\n{listen}"),
        )?;
        let ready_file = folder.join("ready.json");
        let log = std::fs::File::create(folder.join("log.txt"))?;
        let mut child = Command::new(program)
            .arg("serve")
            .arg("--data")
            .arg(folder.join("data"))
            .arg("--config")
            .arg(&config)
            .args(["--demo", "--demo-accounts", &accounts.to_string(), "--ready-file"])
            .arg(&ready_file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut ended = false;
        wait_for("estafette", || {
            ended = matches!(child.try_wait(), Ok(Some(_)));
            ended || ready_file.exists()
        })?;
        if ended {
            let why = std::fs::read_to_string(folder.join("log.txt")).unwrap_or_default();
            return Err(BenchError::Start { server: "estafette", why });
        }
        let ready = serde_json::from_slice(&std::fs::read(&ready_file)?)?;
        Ok(Estafette { child, ready })
    }

    fn listener(&self, name: &str) -> Option<String> {
        self.ready.get("listeners")?.get(name)?.as_str().map(str::to_owned)
    }

    fn accounts(&self, text: impl Fn(&Value) -> Option<String>) -> Vec<String> {
        let accounts = self.ready.get("demo").and_then(|demo| demo.get("accounts")).and_then(Value::as_array);
        accounts.into_iter().flatten().filter_map(text).collect()
    }
}

fn field(account: &Value, name: &str) -> Option<String> {
    account.get(name)?.as_str().map(str::to_owned)
}

impl Server for Estafette {
    fn name(&self) -> &'static str {
        "estafette"
    }
    fn pids(&self) -> Vec<u32> {
        vec![self.child.id()]
    }
    fn lmtp(&self) -> Option<String> {
        self.listener("lmtp")
    }
    fn smtp(&self) -> Option<String> {
        self.listener("smtp")
    }
    fn imap(&self) -> Option<String> {
        self.listener("imap")
    }
    fn pop3(&self) -> Option<String> {
        self.listener("pop3")
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
