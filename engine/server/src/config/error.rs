//! What can be wrong with the settings; all of it stops the start.

use std::path::PathBuf;

/// An error in the settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("the settings in {path} cannot be read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no TOML.
    #[error("the settings are not valid TOML: {0}")]
    Syntax(String),
    /// A key that does not exist.
    #[error("there is no setting '{key}'{}", nearest.as_ref().map(|n| format!("; did you mean '{n}'?")).unwrap_or_default())]
    Unknown {
        /// The key as written, with its section.
        key: String,
        /// The key most like it.
        nearest: Option<String>,
    },
    /// A value of the wrong kind.
    #[error("a setting has a value of the wrong kind: {0}")]
    Value(String),
    /// A value out of range.
    #[error("the setting '{key}' must be {wanted}")]
    Range {
        /// The key.
        key: &'static str,
        /// What it may be.
        wanted: &'static str,
    },
}
