//! What other replicas say and ask, with the token that they have.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;

use super::Site;
use crate::config::SourceKind;

/// What `POST /api/hint` says. What else a later version may say is ignored.
#[derive(Debug, Default, Deserialize)]
pub(super) struct HintQuery {
    /// The source in which a peer has seen a change; none: any.
    pub source: Option<String>,
}

/// A peer has seen a change: sources of EC2 look soon. Nobody waits for that, and what is
/// paused because EC2 throttles stays so. A source that we do not have under that name may
/// be any of ours.
pub(super) async fn hint(State(shared): Site, Query(asked): Query<HintQuery>) -> StatusCode {
    let known = shared.board.known.borrow().clone();
    let sources = || {
        let pairs = known.config.server.sources.iter().zip(&known.handles);
        pairs.filter(|(source, _)| matches!(source.kind, SourceKind::Ec2(_)))
    };
    let is_named = |name: &str| asked.source.as_deref() == Some(name);
    let one = sources().any(|(source, _)| is_named(&source.name));
    let mut has_asked = false;
    for (source, handle) in sources() {
        if !one || is_named(&source.name) {
            has_asked |= handle.as_ref().is_some_and(|handle| handle.hint());
        }
    }
    shared.board.peers.count_hint(has_asked);
    StatusCode::NO_CONTENT
}

/// What is answered here, to be compared.
pub(super) async fn digests(State(shared): Site) -> Response {
    Json(shared.board.digests()).into_response()
}
