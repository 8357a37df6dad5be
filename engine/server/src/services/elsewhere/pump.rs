//! Carries bytes between another node and a session that was taken over from it.
//!
//! Each direction holds one piece at most, and only while there is one: most sessions wait most of the time.

use bytes::BytesMut;
use estafette_mesh::Stream;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

/// Bytes of one piece.
const PIECE_BYTES: usize = 16 * 1024;

/// Carries bytes both ways until both directions have ended, or one of the sides is lost.
pub(super) async fn carry(session: UnixStream, node: Stream) {
    let (from_session, to_session) = tokio::io::split(session);
    let (from_node, to_node) = tokio::io::split(node);
    // One that takes no more ends its own direction alone: what the session has said, or was told, still goes its way.
    let ended = tokio::join!(pour(from_session, to_node), pour(from_node, to_session));
    tracing::debug!(?ended, "a session of another node has ended");
}

/// From one side to the other, to the end, which it is told, whichever that is.
async fn pour(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    loop {
        let mut piece = BytesMut::new();
        match fill(&mut from, &mut piece).await {
            Ok(1..) => {}
            Ok(0) => return to.shutdown().await,
            Err(error) => {
                to.shutdown().await?;
                return Err(error);
            }
        }
        to.write_all_buf(&mut piece).await?;
        to.flush().await?;
    }
}

async fn fill(from: &mut (impl AsyncRead + Unpin), piece: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|context| {
        piece.reserve(PIECE_BYTES);
        let polled = pin!(from.read_buf(piece)).poll(context);
        if polled.is_pending() {
            *piece = BytesMut::new();
        }
        polled
    })
    .await
}
