//! What a node says once it serves: to people on standard output, to programs in the ready file.

use crate::bootstrap::{Demo, FirstOperator};
use crate::listeners::Bound;
use estafette_reactor::Io;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Accounts of the demonstration that are printed; the ready file has all.
const PRINTED_ACCOUNTS: usize = 5;

/// The ready file's contents.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ready {
    listeners: BTreeMap<String, String>,
    admin: Value,
    demo: Option<Value>,
    ca: Option<PathBuf>,
    io: &'static str,
    pid: u32,
}

impl Ready {
    pub(crate) fn new(
        io: Io,
        bound: &Bound,
        made: Option<&FirstOperator>,
        demo: Option<Demo>,
        ca: Option<PathBuf>,
    ) -> Ready {
        let operator = made.cloned().or_else(|| demo.as_ref().and_then(|demo| demo.admin.clone()));
        let admin = match operator {
            Some(operator) => json!({ "user": operator.user, "password": operator.password }),
            None => json!({ "user": "admin", "password": null }),
        };
        Ready {
            listeners: bound.addresses(),
            admin,
            demo: demo.map(|demo| json!({ "domain": demo.domain, "accounts": demo.accounts })),
            ca,
            io: io.name(),
            pid: std::process::id(),
        }
    }

    /// Writes the file so that whoever sees it sees all of it; it has passwords in it.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let part = path.with_extension("part");
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        drop(file);
        std::fs::rename(part, path)
    }

    /// Says it to a person.
    pub(crate) fn print(&self, data: &Path) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "Estafette serves from {}:", data.display())?;
        for (name, address) in &self.listeners {
            writeln!(out, "  {name:<12} {address}")?;
        }
        writeln!(out, "  {:<12} {}", "(moved by)", self.io)?;
        if let Some(ca) = &self.ca {
            writeln!(out, "Certificates are self-made; clients may trust {}", ca.display())?;
        }
        if let Some(password) = self.admin.get("password").and_then(Value::as_str) {
            writeln!(out, "The first administrator is 'admin' with the password {password}")?;
        }
        let accounts = self.demo.as_ref().and_then(|demo| demo.get("accounts")).and_then(Value::as_array);
        if let Some(accounts) = accounts {
            writeln!(out, "Demonstration accounts (username or address, password):")?;
            for account in accounts.iter().take(PRINTED_ACCOUNTS) {
                let text =
                    |key: &str| account.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                writeln!(out, "  {:<12} {:<24} {}", text("username"), text("address"), text("password"))?;
            }
            if accounts.len() > PRINTED_ACCOUNTS {
                writeln!(out, "  … and {} more", accounts.len() - PRINTED_ACCOUNTS)?;
            }
        }
        out.flush()
    }
}
