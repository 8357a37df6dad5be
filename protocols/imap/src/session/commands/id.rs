//! ID (RFC 2971): who is there. What the client says of itself changes nothing.

use super::super::core::{Core, Next, Outcome};
use crate::codec::command::Tag;

pub(super) fn start(core: &mut Core, tag: Tag) -> Next {
    let config = core.config.clone();
    let fields: Vec<(&str, Option<&str>)> =
        config.id.iter().map(|(name, value)| (name.as_str(), Some(value.as_str()))).collect();
    core.encoder.id(&fields);
    Outcome::ok("ID completed").of(tag)
}
