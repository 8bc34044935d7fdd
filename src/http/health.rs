//! Is it alive, and ready? Open to everybody, and answered whatever else goes on.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Site;
use crate::host::pulse::{HANGS, Pulse};

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

/// See [`Readiness`](crate::status::board::Readiness).
pub(super) async fn readyz(State(shared): Site) -> Response {
    match shared.board.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
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
