//! A node of Estafette for a crowd, and the words of it that a crowd needs.

use crate::error::BenchError;
use crate::servers::{Estafette, Server};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// How the server is started.
#[derive(Args, Clone, Debug)]
pub(crate) struct NodeOptions {
    /// The program.
    #[arg(long, default_value = "estafette")]
    program: PathBuf,
    /// Its way of moving bytes.
    #[arg(long, default_value = "auto")]
    io: String,
    /// A folder for its data, made anew and removed in the end.
    #[arg(long, default_value = "/tmp/estafette-crowd")]
    folder: PathBuf,
}

/// An account as clients know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) address: String,
    pub(super) user: String,
    pub(super) password: String,
}

/// A running node.
pub(super) struct Node {
    server: Estafette,
    folder: PathBuf,
}

impl Node {
    /// Starts it with so many accounts and these settings.
    pub(super) fn start(options: &NodeOptions, accounts: usize, settings: &str) -> Result<Node, BenchError> {
        let folder = options.folder.clone();
        // Not one that holds something else: only what is made here is removed.
        std::fs::create_dir(&folder)?;
        let server = Estafette::start(&options.program, &folder, accounts, &options.io, settings)?;
        Ok(Node { server, folder })
    }

    /// The process.
    pub(super) fn pid(&self) -> u32 {
        self.server.pids().first().copied().unwrap_or_default()
    }

    /// How it moves bytes.
    pub(super) fn io(&self) -> String {
        self.server.io().to_owned()
    }

    /// Where a service listens.
    pub(super) fn address(&self, service: &'static str) -> Result<SocketAddr, BenchError> {
        let address = self.server.listener(service);
        let unknown = || BenchError::Unknown { what: "listener", name: service.to_owned() };
        address.and_then(|address| address.parse().ok()).ok_or_else(unknown)
    }

    /// The accounts.
    pub(super) fn accounts(&self) -> Vec<Account> {
        let logins = self.server.logins();
        let of_login = |(address, login): (String, &String)| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            Account { address, user: user.to_owned(), password: password.to_owned() }
        };
        self.server.recipients().into_iter().zip(&logins).map(of_login).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
