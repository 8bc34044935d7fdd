//! Is it alive, and ready? Open to everybody, and answered whatever else goes on.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Site;
use crate::host::pulse::{HANGS, Pulse};
use crate::inventory::Health;
use crate::source::clock::elapsed;

/// Alive while the loop that publishes turns. A disk, a log reader or EC2 that
/// does not answer is no reason to be killed: that loop waits for none of them.
pub(super) async fn livez(State(shared): Site) -> Response {
    alive(&shared.board.pulse)
}

fn alive(pulse: &Pulse) -> Response {
    let since = pulse.since();
    if since < HANGS {
        return "ok\n".into_response();
    }
    let why = format!(
        "the loop that publishes has not turned for {} s: moves are not seen; restart it, and report \
         this with the log\n",
        since.as_secs()
    );
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_hangs_is_not_alive() {
        let mut pulse = Pulse::start();
        assert_eq!(alive(&pulse).status(), StatusCode::OK);
        pulse.age(HANGS);
        assert_eq!(alive(&pulse).status(), StatusCode::SERVICE_UNAVAILABLE);
        pulse.beat();
        assert_eq!(alive(&pulse).status(), StatusCode::OK);
    }
}
