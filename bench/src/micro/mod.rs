//! stub
use crate::error::BenchError;
use clap::Args;
#[derive(Args, Clone, Debug)]
pub(crate) struct Micro {}
impl Micro {
    pub(crate) fn run(self) -> Result<(), BenchError> {
        Ok(())
    }
}
