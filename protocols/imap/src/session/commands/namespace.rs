//! NAMESPACE (RFC 9051 §6.3.10): one's own mailboxes, without a prefix, and no others.

use super::super::core::{Core, DELIMITER, Next, Outcome};
use crate::codec::command::Tag;

pub(super) fn start(core: &mut Core, tag: Tag) -> Next {
    core.encoder.namespace([&[("", DELIMITER)], &[], &[]]);
    Outcome::ok("NAMESPACE completed").of(tag)
}
