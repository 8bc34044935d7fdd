//! Is it alive, and ready? Open to everybody, and answered whatever else goes on.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Site;
use crate::inventory::Health;
use crate::source::clock::elapsed;

pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Ready once every source has delivered, has state, or has failed longer than
/// `serve.ready_grace`; then for ever.
pub(super) async fn readyz(State(shared): Site) -> Response {
    if shared.ready.load(Ordering::Relaxed) {
        return "ready\n".into_response();
    }
    let known = shared.board.known.borrow().clone();
    let now = shared.board.clock.now();
    let grace = known.config.server.serve.ready_grace;
    let waits: Vec<_> = known
        .inventory
        .sources
        .iter()
        .filter(|source| {
            let failed_long = match &source.health {
                Health::Stalled { since, .. } => elapsed(*since, now) >= grace,
                Health::Starting | Health::Healthy => false,
            };
            source.entries.is_none() && !failed_long
        })
        .map(|source| source.name.as_str())
        .collect();
    if waits.is_empty() {
        shared.ready.store(true, Ordering::Relaxed);
        return "ready\n".into_response();
    }
    let why = format!("waiting for {}\n", waits.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}
