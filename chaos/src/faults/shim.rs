//! The library that stands in front of the C library's sync calls (`shim/sync.c`).

use crate::error::{ChaosError, Stop};
use crate::node::Plan;
use crate::shim;
use crate::world::World;

const SOURCE: &str = include_str!("../../shim/sync.c");

/// How to start the world's node behind the library. Skipped where gcc is missing.
pub(super) fn plan(world: &mut World) -> Result<Plan, Stop> {
    let library = match shim::compile(&world.folder, "sync", SOURCE) {
        Err(ChaosError::Program { .. }) => return Err(Stop::Skipped("gcc is not installed")),
        library => library?,
    };
    let data = world.data.clone();
    let mut plan = world.plan(&data);
    plan.environment = vec![("LD_PRELOAD".to_owned(), library), ("CHAOS_FOLDER".to_owned(), data)];
    Ok(plan)
}
