//! `POST /api/reload`: has the configuration read again, and says what that has come to.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::Site;
use super::connection::{Peer, Pulse};
use super::guard::{busy, refused, stopping};
use super::slow::{slowly_in_turn, until_stopped};
use crate::status::reloaded::Ask;

/// How long the verdict is waited for: less than a connection has for an answer. A directory
/// that hangs is given up after 30 s, and the reading before may take as long.
const PATIENCE: Duration = Duration::from_secs(55);

pub(super) async fn reload(
    State(shared): Site,
    Extension(peer): Extension<Peer>,
    Extension(pulse): Extension<Arc<Pulse>>,
) -> Response {
    let Some(Ask { place, reloaded }) = shared.board.asks.ask(peer.0.ip().to_canonical()) else {
        return busy();
    };
    pulse.hold(place);
    let reloaded = match until_stopped(&shared, timeout(PATIENCE, reloaded)).await {
        Some(Ok(Ok(reloaded))) => reloaded,
        Some(Ok(Err(_))) | None => return stopping(),
        Some(Err(_)) => {
            let why = "nothing has come of it yet: reading the configuration, or taking it, takes \
                       long. It goes on; its log and `eipdns status` say what becomes of it";
            return refused(StatusCode::GATEWAY_TIMEOUT, why);
        }
    };
    // What was in use before may be the last of its kind: it is freed there, too.
    let work = move || serde_json::to_vec(reloaded.verdict());
    match slowly_in_turn(&shared, &shared.reloads, work).await {
        Ok(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(Err(error)) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(response) => response,
    }
}
