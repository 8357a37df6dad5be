//! The mesh as the transport of groups, and groups as what the mesh answers with.
//!
//! A request begins with a byte that says for which part of the node it is, so that others than groups may use the mesh.

use super::{admit, crowds, questions};
use crate::engine::Engine;
use bytes::{Buf, Bytes};
use estafette_mesh::{BoxFuture, Identity, Mesh, NodeName, Serve, Settings, Taken};
use estafette_raft::{Call, Lane, Node as RaftNode, NodeId, Transport, Unreached};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use tokio::net::TcpListener;

/// The first byte of requests about groups.
const GROUPS: &[u8] = &[1];
/// The first byte of questions about what shards hold.
const QUESTIONS: &[u8] = &[2];
/// The first byte of what is told of sessions.
const CROWDS: &[u8] = &[3];
/// The first byte of the question whether a node stops and still has something to do.
const ENDING: &[u8] = &[4];
/// The first byte of the request to know all of the directory that was told to anybody.
const CATCH_UP: &[u8] = &[5];

/// A node's end of the mesh, which may not be there yet.
#[derive(Default)]
pub(crate) struct Link {
    mesh: OnceLock<Mesh>,
    doors: Arc<Doors>,
    /// Streams of each direction; none for what the mesh sets itself.
    streams_max: Option<usize>,
}

/// Who takes what comes in, once the node can.
#[derive(Default)]
struct Doors {
    /// Questions, and those who want to join.
    engine: OnceLock<Weak<Engine>>,
    /// Streams.
    streams: OnceLock<Weak<dyn Doorway>>,
}

/// Takes streams of other nodes.
pub(crate) trait Doorway: Send + Sync {
    /// Decides on a stream by its head, or says in words why not.
    fn take(self: Arc<Self>, from: NodeId, head: Bytes) -> BoxFuture<'static, Result<Taken, String>>;
}

impl Doors {
    fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get().and_then(Weak::upgrade)
    }
}

impl Link {
    /// With so many streams of each direction at most.
    pub(crate) fn with_streams(max: usize) -> Link {
        Link { streams_max: Some(max), ..Link::default() }
    }

    pub(super) fn mesh(&self) -> Option<Mesh> {
        self.mesh.get().cloned()
    }

    /// Begins to listen and to answer. Once.
    pub(super) async fn start(
        &self,
        identity: Identity,
        listener: TcpListener,
        raft: Arc<RaftNode>,
    ) -> Result<(), estafette_mesh::Error> {
        let answering = Answering { raft: Arc::downgrade(&raft), doors: Arc::clone(&self.doors) };
        let mut settings = Settings::default();
        settings.streams_max = self.streams_max.unwrap_or(settings.streams_max).min(settings.streams_max);
        let mesh = Mesh::start(identity, listener, settings, Arc::new(answering)).await?;
        // Only one is ever started: a node joins one cluster.
        let _ = self.mesh.set(mesh);
        Ok(())
    }

    /// Asks another node what shards hold.
    pub(super) async fn ask(&self, to: NodeId, question: Vec<Bytes>) -> Result<Bytes, Unreached> {
        self.call_about(QUESTIONS, to, estafette_mesh::Lane::Entries, question).await
    }

    /// Tells another node of sessions here.
    pub(super) async fn tell_crowds(&self, to: NodeId, crowds: Bytes) -> Result<(), Unreached> {
        self.call_about(CROWDS, to, estafette_mesh::Lane::Entries, vec![crowds]).await.map(|_| ())
    }

    /// Asks another node whether it stops and still has something to do.
    pub(super) async fn ask_whether_busy(&self, node: NodeId) -> Result<Bytes, Unreached> {
        self.call_about(ENDING, node, estafette_mesh::Lane::Urgent, Vec::new()).await
    }

    /// Has another node know all of the directory that was told to anybody; answered when it does, or cannot.
    pub(super) async fn have_catch_up(&self, node: NodeId) -> Result<(), Unreached> {
        self.call_about(CATCH_UP, node, estafette_mesh::Lane::Entries, Vec::new()).await.map(|_| ())
    }

    fn call_about(
        &self,
        what: &'static [u8],
        to: NodeId,
        over: estafette_mesh::Lane,
        request: Vec<Bytes>,
    ) -> Call {
        let Some(mesh) = self.mesh.get() else { return Box::pin(async { Err(Unreached::NotSent) }) };
        let pieces = std::iter::once(Bytes::from_static(what)).chain(request).collect();
        let call = mesh.call(NodeName(to.0), over, pieces);
        Box::pin(async move {
            call.await
                .map_err(|error| if error.never_left() { Unreached::NotSent } else { Unreached::NoAnswer })
        })
    }

    pub(super) fn open_door(&self, engine: Weak<Engine>) {
        let _ = self.doors.engine.set(engine);
    }

    pub(super) fn open_doorway(&self, doorway: Weak<dyn Doorway>) {
        let _ = self.doors.streams.set(doorway);
    }
}

fn lane(lane: Lane) -> estafette_mesh::Lane {
    match lane {
        Lane::Urgent => estafette_mesh::Lane::Urgent,
        Lane::Entries => estafette_mesh::Lane::Entries,
        Lane::Bulk => estafette_mesh::Lane::Bulk,
    }
}

impl Transport for Link {
    fn call(&self, to: NodeId, over: Lane, request: Vec<Bytes>) -> Call {
        self.call_about(GROUPS, to, lane(over), request)
    }
}

struct Answering {
    /// The node goes when it stops; who asks then gets no answer.
    raft: Weak<RaftNode>,
    doors: Arc<Doors>,
}

impl Serve for Answering {
    fn serve(
        &self,
        from: NodeName,
        _: estafette_mesh::Lane,
        mut request: Bytes,
    ) -> BoxFuture<'static, Vec<Bytes>> {
        let (raft, doors) = (self.raft.upgrade(), Arc::clone(&self.doors));
        Box::pin(async move {
            if request.starts_with(GROUPS) {
                request.advance(GROUPS.len());
                let Some(raft) = raft else { return Vec::new() };
                return vec![raft.serve(NodeId(from.0), request).await];
            }
            let Some(engine) = doors.engine() else { return Vec::new() };
            if request.starts_with(QUESTIONS) {
                request.advance(QUESTIONS.len());
                return vec![questions::answer(&engine, &request).await];
            }
            if request.starts_with(CROWDS) {
                request.advance(CROWDS.len());
                crowds::told(&engine, NodeId(from.0), &request);
            }
            if request.starts_with(ENDING) {
                return vec![engine.cluster.ending.answer()];
            }
            if request.starts_with(CATCH_UP) {
                // A node that cannot is not waited for either.
                let _ = engine.fresh_directory().await;
            }
            Vec::new()
        })
    }

    fn join(&self, from: SocketAddr, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let engine = self.doors.engine();
        Box::pin(async move {
            match engine {
                Some(engine) => admit::admit(&engine, from, request).await,
                None => Err("this node is not ready to let others in; try again in a moment".to_owned()),
            }
        })
    }

    fn stream(&self, from: NodeName, head: Bytes) -> BoxFuture<'static, Result<Taken, String>> {
        match self.doors.streams.get().and_then(Weak::upgrade) {
            Some(doorway) => doorway.take(NodeId(from.0), head),
            None => Box::pin(async { Err("this node takes no sessions at the moment".to_owned()) }),
        }
    }
}
