//! `estafette config`

use super::{CliError, Context};
use crate::config::Config;
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether a file of settings is good
    Check {
        /// The file
        file: PathBuf,
    },
}

impl ConfigCommand {
    pub(super) fn run(self, context: &Context) -> Result<(), CliError> {
        let ConfigCommand::Check { file } = self;
        Config::read(&file)?;
        context.output.done(&json!({ "good": true }), &format!("{} is good", file.display()))
    }
}
