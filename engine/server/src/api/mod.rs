//! The HTTP API: what the command line speaks over the local socket, and pages and programs over HTTP.
//!
//! JSON under `/api/v1`, described in `docs/api.md`. Every change goes through [`Engine::change`], which asks the
//! directory for the caller's rights; what a caller may *see* is decided in [`caller`].
//! Answers hold no passwords but those made a moment before, and no hashes.
//!
//! Must not: decide what the directory decides, or keep state of its own.

mod accounts;
mod addresses;
mod aliases;
mod audit;
mod caller;
mod cluster;
mod domains;
mod extract;
mod failure;
mod health;
mod import;
mod lent;
mod listen;
mod local;
mod mailboxes;
mod moves;
mod operators;
mod passwords;
mod plans;
mod queue;
mod removal;
mod services;
mod status;

#[cfg(test)]
mod tests;

pub(crate) use health::recorder;
pub(crate) use listen::{serve_local, serve_network};
pub(crate) use local::{connect, socket_path};

use crate::engine::{Engine, now_ms};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, patch, post, put};
use estafette_directory::Directory;
use failure::Failure;
use parking_lot::RwLockReadGuard;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The largest body of a request that is no message.
const JSON_MAX_BYTES: usize = 1024 * 1024;
/// Password hashes that are made at the same time; each takes some 20 MiB.
const HASHES_AT_ONCE: usize = 2;
/// Messages on their way in, together, in KiB.
const IMPORT_ROOM_KIB: usize = 256 * 1024;

/// How a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// By the socket in the data folder, which only its owner can open: everything is allowed.
    LocalSocket,
    /// By the `http` listener: a login is needed.
    Network,
}

/// What all handlers share; a cheap handle.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

pub(crate) struct Shared {
    engine: Arc<Engine>,
    access: Access,
    started_ms: u64,
    hashes: Semaphore,
    import_room: Semaphore,
}

impl std::ops::Deref for Api {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    /// The directory as it is now; must not be held over a wait.
    fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.engine.directory.read()
    }
}

/// All paths. Requests of [`Access::Network`] need the client's address as
/// [`axum::extract::ConnectInfo`], as
/// [`serve_network`] puts it there.
pub(crate) fn router(engine: Arc<Engine>, access: Access) -> Router {
    let api = Api(Arc::new(Shared {
        engine,
        access,
        started_ms: now_ms(),
        hashes: Semaphore::new(HASHES_AT_ONCE),
        import_room: Semaphore::new(IMPORT_ROOM_KIB),
    }));
    Router::new()
        .nest("/api/v1", directory_paths(&api).merge(node_paths()))
        .route("/metrics", get(health::metrics))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .fallback(async || Failure::NoSuchPath)
        .method_not_allowed_fallback(async || Failure::NoSuchMethod)
        .layer(DefaultBodyLimit::max(JSON_MAX_BYTES))
        .with_state(api)
}

/// What the directory says is no older than what any node told before, and so are the refusals of changes.
async fn fresh(State(api): State<Api>, request: Request, next: Next) -> Result<Response, Failure> {
    api.engine.fresh_directory().await?;
    Ok(next.run(request).await)
}

fn directory_paths(api: &Api) -> Router<Api> {
    Router::new()
        .route("/plans", get(plans::list).post(plans::create))
        .route("/plans/{plan}", get(plans::show).patch(plans::change).delete(plans::delete))
        .route("/domains", get(domains::list).post(domains::create))
        .route("/domains/{domain}", get(domains::show).patch(domains::change).delete(domains::delete))
        .route("/domains/{domain}/names/{name}", put(domains::add_name).delete(domains::remove_name))
        .route("/domains/{domain}/catch-all", put(domains::set_catch_all).delete(domains::no_catch_all))
        .route("/operators", get(operators::list).post(operators::create))
        .route("/me", get(accounts::me))
        .route("/accounts", get(accounts::list).post(accounts::create))
        .route("/accounts/{account}", get(accounts::show).patch(accounts::change).delete(accounts::delete))
        .route("/accounts/{account}/password", put(accounts::set_password).delete(accounts::no_password))
        .route(
            "/accounts/{account}/addresses/{address}",
            put(addresses::add).patch(addresses::enable).delete(addresses::remove),
        )
        .route("/accounts/{account}/services", patch(services::change))
        .route(
            "/accounts/{account}/redirection",
            put(services::set_redirection).delete(services::no_redirection),
        )
        .route("/accounts/{account}/members", patch(services::change_members))
        .route("/aliases", get(aliases::list).post(aliases::create))
        .route("/aliases/{alias}", get(aliases::show).patch(aliases::change).delete(aliases::delete))
        .route("/audit", get(audit::list))
        .route("/accounts/{account}/mailboxes", get(mailboxes::list))
        .route("/accounts/{account}/messages", post(import::one))
        .route("/accounts/{account}/messages/batch", post(import::batch))
        .route_layer(middleware::from_fn_with_state(api.clone(), fresh))
}

/// What an operator may want to see of a node that reaches no others.
fn node_paths() -> Router<Api> {
    Router::new()
        .route("/queue", get(queue::list))
        .route("/queue/{id}", get(queue::show).delete(queue::cancel))
        .route("/queue/{id}/retry", post(queue::retry))
        .route("/cluster", get(cluster::show).post(cluster::found).patch(cluster::set))
        .route("/cluster/comparison", get(cluster::compare))
        .route("/cluster/moves", post(moves::begin))
        .route("/cluster/moves/{account}", delete(moves::abandon))
        .route("/cluster/rebalance", post(moves::rebalance))
        .route("/cluster/tokens", post(cluster::token))
        .route("/cluster/nodes/{node}", patch(cluster::change_node).delete(cluster::remove_node))
        .route("/limits", get(status::limits))
        .route("/status", get(status::status))
}
