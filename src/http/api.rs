//! What the server tells about itself, and its one act: `refresh`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use hickory_proto::rr::RecordType;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Site;
use super::connection::Peer;
use super::guard::refused;
use crate::board::Board;
use crate::compile::Input;
use crate::explain::{Explanation, Who, explain};
use crate::history::Asked as AcceptAsked;
use crate::metrics;
use crate::name::Key;
use crate::run::own_addresses;

/// How long `POST /api/refresh` waits for its calls. A call takes 3 s at most,
/// and one that is under way is waited for first.
const REFRESH_PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn metrics(State(shared): Site, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = metrics::Format::wanted(accept.unwrap_or_default());
    let text = metrics::render(&shared.board, format);
    ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
}

pub(super) async fn status(State(shared): Site) -> Response {
    Json(shared.board.status()).into_response()
}

pub(super) async fn history(State(shared): Site) -> Response {
    let kind = "application/json";
    ([(header::CONTENT_TYPE, kind)], shared.board.history.newest_first()).into_response()
}

/// What `/api/explain` is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The name.
    pub name: String,
    /// The type; A when there is none.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub rtype: Option<String>,
    /// On behalf of this client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Asking at this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<SocketAddr>,
    /// On behalf of anyone in this view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
}

pub(super) async fn explanation(State(shared): Site, Query(asked): Query<Asked>) -> Response {
    let bad = |why: &str| refused(StatusCode::BAD_REQUEST, why);
    let Ok(name) = Key::parse(&asked.name, None) else { return bad("`name` is no domain name") };
    let rtype = asked.rtype.as_deref().unwrap_or("A").to_uppercase();
    let Ok(rtype) = rtype.parse::<RecordType>() else { return bad("`type` is no record type") };
    let known = shared.board.known.borrow().clone();
    let views = &known.config.server.views;
    let who = match (asked.client, &asked.view) {
        (Some(client), _) => {
            let local = asked.at.or_else(|| known.listening.first().copied());
            vec![Who::Client { client, local: local.unwrap_or(([127, 0, 0, 1], 53).into()) }]
        }
        (None, Some(wanted)) => match views.iter().position(|v| v.name == *wanted) {
            Some(view) => vec![Who::View(view)],
            None => {
                let known: Vec<_> = views.iter().map(|v| v.name.as_str()).collect();
                return bad(&format!("no view {wanted:?}; the views are {}", known.join(", ")));
            }
        },
        (None, None) => (0..views.len()).map(Who::View).collect(),
    };
    let addresses = own_addresses(&known.config.server.listen);
    let input = Input {
        config: &known.config,
        epoch: 1,
        inventory: &known.inventory,
        addresses: &addresses,
        now: shared.board.clock.now(),
        drift: shared.board.clock.drift(),
    };
    let snapshot = shared.board.store.full();
    let all: Vec<Explanation> =
        who.into_iter().map(|who| explain(&input, &snapshot, who, &name, rtype)).collect();
    Json(all).into_response()
}

/// What `POST /api/refresh` is asked.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// Only this source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Take losses as they are.
    #[serde(default)]
    pub accept: bool,
}

/// What it answers, for each source.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refreshed {
    /// The source's name.
    pub source: String,
    /// How long the call took, in milliseconds.
    pub took_ms: Option<f64>,
    /// Why there is no new answer, when there is none.
    pub failed: Option<String>,
}

pub(super) async fn refresh(
    State(shared): Site,
    Extension(peer): Extension<Peer>,
    Query(asked): Query<Refresh>,
) -> Response {
    let known = shared.board.known.borrow().clone();
    let named: HashMap<_, _> = known
        .inventory
        .sources
        .iter()
        .zip(&known.handles)
        .filter(|(source, _)| asked.source.as_ref().is_none_or(|only| *only == source.name))
        .map(|(source, handle)| (source.name.clone(), handle.clone()))
        .collect();
    if let Some(only) = asked.source.as_ref().filter(|_| named.is_empty()) {
        return refused(StatusCode::NOT_FOUND, &format!("there is no source {only:?}"));
    }
    if asked.accept {
        let mut sources: Vec<_> = named.keys().cloned().collect();
        sources.sort();
        tell_accept(&shared.board, AcceptAsked { client: peer.0.ip().to_canonical(), sources });
    }
    // All at once: they fail apart and take their time apart.
    let mut calls = tokio::task::JoinSet::new();
    for (source, handle) in named {
        let accept = asked.accept;
        calls.spawn(async move {
            let called = match &handle {
                Some(handle) => {
                    tokio::time::timeout(REFRESH_PATIENCE, handle.refresh(accept)).await
                }
                None => {
                    let failed = Some("this program was built without EC2".to_string());
                    return Refreshed { source, took_ms: None, failed };
                }
            };
            let (took_ms, failed) = match called {
                Ok(Ok(done)) => {
                    let took = Some(done.took.as_secs_f64() * 1000.0);
                    (took, done.failed)
                }
                Ok(Err(gone)) => (None, Some(gone.to_string())),
                Err(_) => (None, Some("no call ended in time".to_string())),
            };
            Refreshed { source, took_ms, failed }
        });
    }
    let mut all = calls.join_all().await;
    all.sort_by(|a, b| a.source.cmp(&b.source));
    Json(all).into_response()
}

/// Who asked is said before anything is done about it.
fn tell_accept(board: &Board, asked: AcceptAsked) {
    let (now, generation) = (board.clock.now(), board.store.full().generation);
    if board.history.add_asked(board.clock.drift().shown(now), generation, &asked) {
        warn!(
            client = %asked.client,
            sources = %asked.sources.join(","),
            "asked to take losses as they are (refresh --accept)"
        );
    }
}
