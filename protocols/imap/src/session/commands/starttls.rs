//! STARTTLS (RFC 9051 §6.2.1). What was received in plain after it is thrown away (§11.1).

use super::super::core::{Core, Next, Outcome};
use crate::codec::command::Tag;
use crate::codec::response::Condition;

pub(super) fn start(core: &mut Core, tag: Tag) -> Next {
    if !core.can_start_tls() {
        return Outcome::bad("TLS is not possible here").of(tag);
    }
    core.encoder.tagged(&tag, Condition::Ok, None, "Begin TLS negotiation now");
    Next::StartTls
}
