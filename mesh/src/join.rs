//! The way in of one who has no certificate: one request to a node of the cluster, one answer.

use crate::frame::Kind;
use crate::greet::{self, receive, send};
use crate::hello::{Hello, Limits, Purpose, VERSIONS};
use crate::{ClusterId, Error, NodeName, Settings, connection, tls};
use bytes::{Bytes, BytesMut};
use rustls_pki_types::ServerName;
use std::time::Duration;
use tokio::time::timeout;

/// Asks the node at `address` (host and port) to let this one into `cluster`, and returns its answer.
///
/// Only a node is believed whose certificate is by the authority with this fingerprint: nobody else reads `request`.
pub async fn ask_to_join(
    address: &str,
    cluster: ClusterId,
    fingerprint: [u8; 32],
    request: Bytes,
    within: Duration,
) -> Result<Bytes, Error> {
    let asked = timeout(within, ask(address, cluster, fingerprint, &request)).await;
    asked.unwrap_or_else(|_| {
        let why = format!("no answer within {} ms", within.as_millis()).into();
        Err(Error::Unreached { address: address.to_owned(), why })
    })
}

async fn ask(
    address: &str,
    cluster: ClusterId,
    fingerprint: [u8; 32],
    request: &[u8],
) -> Result<Bytes, Error> {
    let unreached = |why: String| Error::Unreached { address: address.to_owned(), why: why.into() };
    let refused = |why: String| Error::Refused { address: address.to_owned(), why: why.into() };
    let limits = Limits {
        frame_max_bytes: Settings::default().join_max_bytes,
        requests_max: 1,
        under_way_max_bytes: 0,
    };
    let hello = Hello { versions: VERSIONS, purpose: Purpose::Join, cluster, node: NodeName(0), limits };
    let connector = tls::joiner(cluster, fingerprint)?;
    // No name is expected: any node of the cluster may answer.
    let name = ServerName::try_from("estafette.internal").map_err(|e| Error::Identity(e.to_string()))?;
    let greeted = greet::dial(address, (connector, name), &hello).await;
    let mut greeted = greeted.map_err(|unheard| match unheard {
        greet::Unheard::Unreached(why) => unreached(why),
        greet::Unheard::Refused(why) => refused(why),
    })?;
    send(&mut greeted.stream, Kind::Join, request).await.map_err(unreached)?;
    let max = usize::try_from(limits.frame_max_bytes).unwrap_or(usize::MAX);
    let mut buffer: BytesMut = greeted.buffer;
    let answer = receive(&mut greeted.stream, &mut buffer, max).await.map_err(unreached)?;
    match answer.kind {
        Kind::Answer => Ok(answer.body),
        Kind::Bye => Err(refused(connection::said(&answer.body))),
        other => Err(unreached(format!("it answered with {other:?}"))),
    }
}
