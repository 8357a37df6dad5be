//! The command line. `serve` and `check` work on a data folder; all other commands speak to the server that
//! runs on it, over its local socket, with the HTTP API.
//!
//! What people read goes to standard output as tables, or as JSON with `--json`; errors go to standard
//! error. Exit status: 0 done, 1 not done, 2 wrong usage.

mod account;
mod account_parts;
mod alias;
mod audit;
mod check;
mod client;
mod cluster;
mod cluster_moves;
mod completions;
mod config;
mod confirm;
mod domain;
mod error;
mod import;
mod mailbox;
mod operator;
mod output;
mod plan;
mod queue;
mod serve;
mod size;
mod status;

#[cfg(test)]
mod tests;

pub(crate) use error::CliError;

use clap::{Parser, Subcommand};
use client::Client;
use output::Output;
use std::io::{BufRead, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The longest line that is read as a password.
const PASSWORD_LINE_MAX_BYTES: u64 = 1024;

/// A hosted-mail engine: one program that takes mail in, keeps it durably and serves it.
#[derive(Debug, Parser)]
#[command(name = "estafette", version, disable_help_subcommand = true)]
struct Cli {
    /// The data folder of the server [default: ~/.local/share/estafette]
    #[arg(long, global = true, env = "ESTAFETTE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::ServeArguments),
    /// Plans: what domains may have
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Domains
    #[command(subcommand)]
    Domain(domain::DomainCommand),
    /// Accounts
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Aliases: addresses that lead to others
    #[command(subcommand)]
    Alias(alias::AliasCommand),
    /// Operators: those who may do everything
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
    /// Mailboxes of an account
    #[command(subcommand)]
    Mailbox(mailbox::MailboxCommand),
    /// Mail for other servers that waits
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Bring mail from elsewhere into an account
    ///
    /// Messages are kept to the bit, apart from line ends (a lone LF becomes CRLF). An import that was stopped can be
    /// run again: what is there already is known by its mailbox, its bytes and its place among equal messages, and is
    /// not added twice, not even after it was deleted.
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Who changed what, when, from where
    Audit(audit::AuditArguments),
    /// Several nodes that are one
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// How the server is
    Status,
    /// Verify all that a server has stored, while it does not run
    Check(check::CheckArguments),
    /// Settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print completions for a shell
    Completions(completions::CompletionsArguments),
}

/// What all commands are given.
struct Context {
    data: PathBuf,
    output: Output,
}

impl Context {
    async fn client(&self) -> Result<Client, CliError> {
        Client::connect(&self.data).await
    }
}

/// Runs the command line of the process.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            error.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let data = match cli.data {
        Some(data) => data,
        None => default_data()?,
    };
    let context = Context { data, output: Output::new(cli.json) };
    match cli.command {
        Command::Serve(arguments) => {
            crate::api::recorder();
            arguments.run(&context.data)
        }
        Command::Check(arguments) => arguments.run(&context),
        Command::Config(command) => command.run(&context),
        Command::Completions(arguments) => arguments.run(),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(CliError::Runtime)?.block_on(talk(&context, command))
        }
    }
}

/// Commands that speak to the server.
async fn talk(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Plan(command) => command.run(context).await,
        Command::Domain(command) => command.run(context).await,
        Command::Account(command) => command.run(context).await,
        Command::Alias(command) => command.run(context).await,
        Command::Operator(command) => command.run(context).await,
        Command::Mailbox(command) => command.run(context).await,
        Command::Queue(command) => command.run(context).await,
        Command::Import(command) => command.run(context).await,
        Command::Audit(arguments) => arguments.run(context).await,
        Command::Cluster(command) => command.run(context).await,
        Command::Status => status::run(context).await,
        Command::Serve(_) | Command::Check(_) | Command::Config(_) | Command::Completions(_) => Ok(()),
    }
}

fn default_data() -> Result<PathBuf, CliError> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let share = folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")));
    share.map(|share| share.join("estafette")).ok_or(CliError::NoData)
}

/// The first line of standard input: a password.
fn password_from_stdin() -> Result<String, CliError> {
    let mut line = String::new();
    std::io::stdin().lock().take(PASSWORD_LINE_MAX_BYTES).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
