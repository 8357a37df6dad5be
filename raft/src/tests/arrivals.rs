//! Bodies that come in parts before the request that names them.

use std::sync::Arc;

use bytes::Bytes;
use estafette_storage::{BodyHash, NewBody};

use crate::counter;
use crate::peers::Hub;
use crate::peers::arrivals::ARRIVALS_MAX;
use crate::peers::bodies::Trouble;
use crate::peers::wire::{BodyHead, BodyPart, Refused, Way};
use crate::{Call, Lane, NodeId, Transport, Unreached};

struct Nobody;

impl Transport for Nobody {
    fn call(&self, _: NodeId, _: Lane, _: Vec<Bytes>) -> Call {
        Box::pin(async { Err(Unreached::NotSent) })
    }
}

/// A body comes whole in one part; gives how a request names it.
async fn arrives(hub: &Hub, number: usize) -> Result<BodyHead, Refused> {
    let bytes = Bytes::from(format!("body {number}"));
    let (hash, len) = (BodyHash::of(std::slice::from_ref(&bytes)).0, bytes.len() as u64);
    let part = BodyPart { transfer: number as u64, hash, offset: 0, last: true, structure_bytes: 0 };
    hub.take_part(NodeId(2), part, bytes).await?;
    Ok(BodyHead { hash, len, way: Way::Before })
}

/// They were kept for a minute after they had been used: a node that took more than a thousand large messages in that time
/// refused the next.
#[tokio::test]
async fn bodies_that_were_used_make_room_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = counter::store(folder.path());
    let snapshots = counter::settings(folder.path()).snapshots;
    let hub = Hub::new(NodeId(1), store, Arc::new(Nobody), snapshots);
    for number in 0..ARRIVALS_MAX + 10 {
        let heads = [arrives(&hub, number).await.unwrap()];
        let bodies = hub.received(&heads, &mut Bytes::new()).unwrap();
        assert_eq!(bodies.values().map(NewBody::len).sum::<u64>(), heads[0].len);
        hub.arrivals.used(&heads);
        let missing = hub.received(&heads, &mut Bytes::new()).unwrap_err();
        assert_eq!(missing, Trouble::Missing(vec![heads[0].hash]));
    }
    // Those that nobody has used have a limit.
    for number in 0..ARRIVALS_MAX {
        arrives(&hub, number).await.unwrap();
    }
    assert_eq!(arrives(&hub, ARRIVALS_MAX).await.unwrap_err(), Refused::Storage);
}
