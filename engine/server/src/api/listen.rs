//! Serves the API on the local socket and on the network: HTTP/1.1, so many connections, slow ones are closed.
//!
//! The tasks end when they are aborted, and their connections with them.

use super::lent::Back;
use super::{Access, health, local, router};
use crate::engine::Engine;
use crate::node::StartError;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::EXPECT;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower_service::Service;

/// Connections at the same time on one listener.
const CONNECTIONS_MAX: usize = 256;
/// For the header of the next request to come.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// The header of a request.
const HEADER_MAX_BYTES: usize = 64 * 1024;
/// Pause after a connection could not be taken, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the local socket in the data folder.
pub(crate) fn serve_local(
    engine: &Arc<Engine>,
    data: &Path,
    tasks: &mut JoinSet<()>,
) -> Result<(), StartError> {
    let path = local::socket_path(data);
    let listener = local::listen(data).map_err(|source| StartError::File { path, source })?;
    let router = router(Arc::clone(engine), Access::LocalSocket);
    tasks.spawn(health::upkeep());
    tasks.spawn(async move {
        serve(|| async { Ok((listener.accept().await?.0, None)) }, router).await;
    });
    Ok(())
}

/// Serves a listener of the network.
pub(crate) fn serve_network(engine: &Arc<Engine>, listener: TcpListener, tasks: &mut JoinSet<()>) {
    let router = router(Arc::clone(engine), Access::Network);
    tasks.spawn(async move {
        let accept = || async {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((stream, Some(address)))
        };
        serve(accept, router).await;
    });
}

async fn serve<S, F, A>(accept: F, router: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    A: Future<Output = io::Result<(S, Option<SocketAddr>)>>,
    F: Fn() -> A,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match accept().await {
            Ok((stream, address)) => {
                let router = router.clone();
                connections.spawn(async move {
                    connection(stream, address, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the API could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S>(stream: S, address: Option<SocketAddr>, router: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| answer(request, address, router.clone()));
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEADER_MAX_BYTES);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to the API broke");
    }
}

async fn answer(
    request: Request<Incoming>,
    address: Option<SocketAddr>,
    mut router: Router,
) -> Result<Response, Infallible> {
    // Who waits to be told to go on has sent nothing yet.
    let waits = request.headers().contains_key(EXPECT);
    let back = Back::default();
    let mut request = request.map(|body| back.lend(body));
    if let Some(address) = address {
        request.extensions_mut().insert(ConnectInfo(address));
    }
    let response = router.call(request).await?;
    if !waits {
        back.discard().await;
    }
    Ok(response)
}
