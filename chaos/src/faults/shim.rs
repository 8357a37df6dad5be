//! The library that stands in front of the C library's sync calls (`shim/sync.c`).

use crate::error::{ChaosError, Stop};
use crate::node::Plan;
use crate::world::World;
use std::path::{Path, PathBuf};

const SOURCE: &str = include_str!("../../shim/sync.c");

/// How to start the world's node behind the library. Skipped where gcc is missing.
pub(super) fn plan(world: &mut World) -> Result<Plan, Stop> {
    let library = library(&world.folder)?;
    let data = world.data.clone();
    let mut plan = world.plan(&data);
    plan.environment = vec![("LD_PRELOAD".to_owned(), library), ("CHAOS_FOLDER".to_owned(), data)];
    Ok(plan)
}

/// Compiles it once.
fn library(folder: &Path) -> Result<PathBuf, Stop> {
    let (source, library) = (folder.join("sync.c"), folder.join("sync.so"));
    if library.exists() {
        return Ok(library);
    }
    std::fs::write(&source, SOURCE).map_err(ChaosError::file(&source))?;
    let gcc = std::process::Command::new("gcc")
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output();
    match gcc {
        Err(_) => Err(Stop::Skipped("gcc is not installed")),
        Ok(output) if output.status.success() => Ok(library),
        Ok(output) => Err(ChaosError::Compiler(String::from_utf8_lossy(&output.stderr).into_owned()).into()),
    }
}
