//! `estafette completions`

use super::{Cli, CliError};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;

#[derive(Args, Debug)]
pub(super) struct CompletionsArguments {
    /// The shell: source what is printed, or put it where the shell looks
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArguments {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "estafette", &mut text);
        std::io::stdout().write_all(&text)?;
        Ok(())
    }
}
