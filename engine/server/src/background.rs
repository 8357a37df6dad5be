//! Work that goes on beside the sessions: counting failed logins, collecting bodies, certificates, metrics.

use crate::engine::Engine;
use crate::login;
use crate::node::StartError;
use estafette_delivery::Acceptor;
use estafette_reactor::tls::Certificates;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Pause between two rounds of removing bodies that nothing names.
const COLLECT_PAUSE: Duration = Duration::from_secs(30);
/// Bodies looked at in one round.
const COLLECT_BODIES: usize = 1_000;
/// Pause between two readings of gauges.
const GAUGES_PAUSE: Duration = Duration::from_secs(5);

/// Starts all of it.
pub(crate) fn start(
    engine: &Arc<Engine>,
    acceptor: &Acceptor,
    certificates: Arc<Certificates>,
    tasks: &mut JoinSet<()>,
) -> Result<(), StartError> {
    tasks.spawn(login::share_failures(Arc::clone(engine)));
    tasks.spawn(collect(Arc::clone(engine)));
    tasks.spawn(crate::sweep::run(Arc::clone(engine)));
    tasks.spawn(gauges(Arc::clone(engine)));
    tasks.spawn(reload(certificates, Duration::from_secs(engine.config.tls.reload_seconds.max(1))));
    let _ = acceptor;
    Ok(())
}

async fn collect(engine: Arc<Engine>) {
    loop {
        tokio::time::sleep(COLLECT_PAUSE).await;
        let store = engine.store.clone();
        let round = tokio::task::spawn_blocking(move || store.collect(COLLECT_BODIES)).await;
        if let Ok(Err(error)) = round {
            tracing::warn!(%error, "bodies could not be collected");
        }
    }
}

async fn gauges(engine: Arc<Engine>) {
    loop {
        let (domains, accounts, aliases) = engine.directory.read().counts();
        for (what, count) in [("domains", domains), ("accounts", accounts), ("aliases", aliases)] {
            metrics::gauge!("estafette_directory_entries", "kind" => what).set(count as f64);
        }
        estafette_storage::record_metrics(&engine.store);
        metrics::gauge!("estafette_watches").set(engine.watchers.count() as f64);
        tokio::time::sleep(GAUGES_PAUSE).await;
    }
}

async fn reload(certificates: Arc<Certificates>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let certificates = Arc::clone(&certificates);
        match tokio::task::spawn_blocking(move || certificates.reload()).await {
            Ok(Ok(true)) => tracing::info!("new certificates are in use"),
            Ok(Err(error)) => tracing::error!(%error, "the certificates changed but cannot be used; the old ones stay"),
            _ => {}
        }
    }
}
