//! Bodies that come back unread. A request may be refused before its body was read; if the connection were closed
//! upon it, the client would be cut off while it sends, and never see why. So what is left is read and thrown away.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The most that is thrown away; with more to come, the connection is closed.
const DISCARD_MAX_BYTES: usize = 128 * 1024 * 1024;
/// For the next piece of it to come: nothing more may ever come.
const FRAME_TIMEOUT: Duration = Duration::from_secs(2);
/// For all of it to come.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a lent body comes back to.
#[derive(Clone, Default)]
pub(super) struct Back(Arc<Mutex<Option<Incoming>>>);

/// A body that goes back when its reader lets go of it.
pub(super) struct Lent {
    body: Option<Incoming>,
    back: Back,
}

impl Back {
    pub(super) fn lend(&self, body: Incoming) -> Lent {
        Lent { body: Some(body), back: self.clone() }
    }

    /// Reads what is left and throws it away.
    pub(super) async fn discard(&self) {
        let Some(mut body) = self.0.lock().take().filter(|body| !body.is_end_stream()) else { return };
        let discard = async {
            let mut left = DISCARD_MAX_BYTES;
            while let Ok(Some(Ok(frame))) = tokio::time::timeout(FRAME_TIMEOUT, body.frame()).await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        };
        let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard).await;
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.back.0.lock() = self.body.take();
    }
}
