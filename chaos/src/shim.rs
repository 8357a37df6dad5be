//! Libraries that stand in front of the C library's calls, made of a source with gcc.

use crate::error::ChaosError;
use std::path::{Path, PathBuf};

/// Compiles a source into the folder, once.
///
/// # Errors
/// [`ChaosError::Program`] where gcc is missing; [`ChaosError::Compiler`].
pub(crate) fn compile(folder: &Path, name: &str, text: &str) -> Result<PathBuf, ChaosError> {
    let (source, library) = (folder.join(name).with_extension("c"), folder.join(name).with_extension("so"));
    if library.exists() {
        return Ok(library);
    }
    std::fs::write(&source, text).map_err(ChaosError::file(&source))?;
    let gcc = std::process::Command::new("gcc")
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output();
    match gcc {
        Err(source) => Err(ChaosError::Program { program: "gcc".to_owned(), source }),
        Ok(output) if output.status.success() => Ok(library),
        Ok(output) => Err(ChaosError::Compiler(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}
