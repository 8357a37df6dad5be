//! What a node has found damaged among its bodies, and mended, since it was started: as it tells itself.

use super::net::{self, Number};
use crate::node;
use crate::wire;

/// Counts of bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Repairs {
    pub(super) damaged: u64,
    pub(super) repaired: u64,
    /// Known to be damaged now. What is neither repaired nor left was removed before it was repaired.
    pub(super) left: u64,
}

/// Asks a node; nothing of one that does not answer.
pub(super) async fn of(number: Number) -> Repairs {
    let page = wire::page(&node::door(net::own(number), "http"), "/metrics").await;
    parse(&page)
}

fn parse(page: &str) -> Repairs {
    let value = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
    };
    Repairs {
        damaged: value("estafette_storage_bodies_damaged_total "),
        repaired: value("estafette_storage_bodies_repaired_total "),
        left: value("estafette_storage_bodies_damaged "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let page = "HTTP/1.1 200 OK\r\n\r\n# TYPE estafette_storage_bodies_damaged_total counter\n\
                    estafette_storage_bodies_damaged_total 12\nestafette_storage_bodies_damaged 2\n";
        assert_eq!(parse(page), Repairs { damaged: 12, repaired: 0, left: 2 });
    }
}
