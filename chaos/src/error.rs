//! Why a run ends: the node broke a rule, or the harness cannot go on.

use crate::finding::Finding;
use std::path::{Path, PathBuf};

/// A failure of the harness itself; it says nothing about the node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChaosError {
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{program} cannot be started: {source}")]
    Program { program: String, source: std::io::Error },
    #[error("{path} is not empty; a run begins with an empty folder", path = path.display())]
    NotEmpty { path: PathBuf },
    #[error("the ready file cannot be read: {0}")]
    Ready(serde_json::Error),
    #[error("the node has no listener '{0}'")]
    NoListener(&'static str),
    #[error("the node has no demonstration accounts")]
    NoAccounts,
    #[error("there is no node {0}")]
    NoNode(usize),
    #[error("gcc did not compile the library: {0}")]
    Compiler(String),
    #[error("{call}: {source}")]
    System { call: &'static str, source: std::io::Error },
    #[error("this program was built without bugs to plant (feature `planted`)")]
    #[cfg(not(feature = "planted"))]
    NotPlanted,
    #[error("'{0}' is no bug that can be planted; there are: {1}")]
    #[cfg(feature = "planted")]
    NoBug(String, String),
    #[error("seed {seed}: {what}")]
    Seed { seed: u64, what: String },
    #[error("{tool}: {output}")]
    Tool { tool: String, output: String },
    #[error("'{0}' is no fault of this kind of run; there are: {1}")]
    NoFault(String, String),
    #[error("the report cannot be printed: {0}")]
    Report(#[from] serde_json::Error),
}

impl ChaosError {
    /// For `map_err`: names the file.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> ChaosError + use<> {
        let path = path.to_owned();
        move |source| ChaosError::File { path, source }
    }

    /// For `map_err`: names the system call.
    pub(crate) fn system<E: Into<std::io::Error>>(call: &'static str) -> impl FnOnce(E) -> ChaosError {
        move |error| ChaosError::System { call, source: error.into() }
    }
}

/// What ends a round before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The node broke a rule.
    Found(Vec<Finding>),
    /// This machine cannot do this fault.
    Skipped(&'static str),
    Failed(ChaosError),
}

impl From<ChaosError> for Stop {
    fn from(error: ChaosError) -> Stop {
        Stop::Failed(error)
    }
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Stop {
        Stop::Found(vec![finding])
    }
}
