//! `estafette serve`: runs a node until it is told to stop.

use super::CliError;
use crate::config::{Config, IoConfig};
use crate::node::{Node, StartError, StartOptions};
use crate::signals::Signals;
use clap::Args;
use std::path::{Path, PathBuf};
use tracing_subscriber::EnvFilter;

/// Runs a node. An empty folder will do: it is filled, and the first administrator's password printed.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArguments {
    /// The settings; without it, all are at their defaults.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Make a demonstration domain, and listen on this machine alone unless the settings say otherwise.
    #[arg(long)]
    demo: bool,
    /// Accounts of the demonstration domain.
    #[arg(long, default_value_t = 3, requires = "demo")]
    demo_accounts: usize,
    /// Add this to all ports that are at their defaults: 25 becomes N+25.
    #[arg(long, default_value_t = 0)]
    port_offset: u16,
    /// How sessions move their bytes; goes before the setting `node.io`.
    #[arg(long, value_enum)]
    io: Option<IoConfig>,
    /// Write a JSON object to this file once every listener serves.
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

impl ServeArguments {
    /// Runs it.
    pub(crate) fn run(self, data: &Path) -> Result<(), CliError> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        config.node.io = self.io.unwrap_or(config.node.io);
        config.listen.shift_default_ports(self.port_offset)?;
        if self.demo {
            config.listen.keep_to_loopback();
        }
        start_log(&config);
        if let Some(path) = &self.ready_file {
            // An old one must not be taken for ours.
            let _ = std::fs::remove_file(path);
        }
        let options = StartOptions {
            data: data.to_owned(),
            demo_accounts: self.demo.then_some(self.demo_accounts),
            ready_file: self.ready_file.clone(),
        };
        // Sessions have threads of their own; what runs here (Raft, the queue, HTTP) wakes itself all the
        // time, and is cheaper on few threads.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.node.threads().div_ceil(2))
            .enable_all()
            .build()
            .map_err(|source| CliError::File { path: data.to_owned(), source })?;
        Ok(runtime.block_on(serve(config, options))?)
    }
}

async fn serve(config: Config, options: StartOptions) -> Result<(), StartError> {
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    let (node, ready) = tokio::select! {
        started = Node::start(config, &options) => started?,
        () = signals.stop() => {
            tracing::info!("told to stop before all listeners served");
            return Ok(());
        }
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::File { path, source }
    };
    ready.print(&options.data).map_err(failed(&options.data))?;
    if let Some(path) = &options.ready_file {
        ready.write(path).map_err(failed(path))?;
    }
    tracing::info!("all listeners serve");
    node.run(signals).await
}

/// What libraries say at `info` is for their developers.
const QUIET: &str = "openraft=error,rustls=warn,hyper=warn";

fn start_log(config: &Config) {
    use std::io::IsTerminal;
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.log.filter))
        .unwrap_or_else(|_| EnvFilter::new(QUIET));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if config.log.json { log.json().init() } else { log.with_target(false).init() }
}
