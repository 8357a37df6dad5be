//! `/metrics`, `/health/live`, `/health/ready`: for those who watch over the node; no login.

use super::Api;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use estafette_storage::Health;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

/// Pause between two rounds of folding what histograms have gathered.
const UPKEEP_PAUSE: Duration = Duration::from_secs(5);
/// Upper bounds of latencies, in seconds.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// The program's metrics. The first call begins to gather them; there is one recorder in a process.
pub(crate) fn recorder() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(install).clone()
}

fn install() -> PrometheusHandle {
    let builder = PrometheusBuilder::new();
    let suffix = metrics_exporter_prometheus::Matcher::Suffix("_seconds".to_owned());
    let builder = match builder.set_buckets_for_metric(suffix, &SECONDS) {
        Ok(builder) => builder,
        Err(_) => PrometheusBuilder::new(),
    };
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("metrics are gathered by another recorder; /metrics stays empty");
    }
    handle
}

/// Keeps histograms small between readings.
pub(super) async fn upkeep() {
    loop {
        tokio::time::sleep(UPKEEP_PAUSE).await;
        recorder().run_upkeep();
    }
}

/// Prometheus' text format.
pub(super) async fn metrics() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorder().render())
}

/// The program runs.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// The node serves: all groups have a leader, the store takes writes. A full disk does not make it unready,
/// for reads go on.
pub(super) async fn ready(State(api): State<Api>) -> (StatusCode, Json<Value>) {
    let health = api.engine.store.health();
    let led = api.is_led();
    let ready = led && health != Health::Failed;
    let takes_mail = led && api.engine.takes_mail();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "takes_mail": takes_mail })))
}
