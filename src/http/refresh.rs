//! The server's one act: `refresh`.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use super::Site;
use super::connection::Peer;
use super::guard::{refused, stopping};
use super::slow::until_stopped;
use crate::source::{self, Accept, Gone};
use crate::status::board::{Board, Facts};
use crate::writer::history::AcceptAsked;

/// How long `POST /api/refresh` waits for its calls. A call takes 3 s at most,
/// and one that is under way is waited for first.
const REFRESH_PATIENCE: Duration = Duration::from_secs(10);

/// How much longer it waits for a call that has ended in the last moment, with which
/// losses are accepted, to be published. That takes milliseconds.
const PUBLISHING: Duration = Duration::from_secs(1);

/// What `POST /api/refresh` is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshQuery {
    /// Only this source.
    pub source: Option<String>,
    /// Take losses as they are.
    #[serde(default)]
    pub accept: bool,
    /// Whoever asks waits so many milliseconds; 10,000 when it is not said, and
    /// at most.
    pub within_ms: Option<u64>,
}

/// What it answers, for each source. A missing key is no null: a refresh did not
/// succeed because nobody says that it failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SourceRefreshed {
    /// The source's name.
    pub source: String,
    /// How long the call took, in milliseconds.
    #[serde(deserialize_with = "Option::deserialize")]
    pub took_ms: Option<f64>,
    /// Why there is no new answer, when there is none.
    #[serde(deserialize_with = "Option::deserialize")]
    pub failed: Option<String>,
}

pub(super) async fn refresh(
    State(shared): Site,
    Extension(peer): Extension<Peer>,
    Query(asked): Query<RefreshQuery>,
) -> Response {
    let known = shared.board.known.borrow().clone();
    let names = known.inventory.sources.iter().map(|source| &source.name);
    let mut named: Vec<String> = names
        .filter(|name| asked.source.as_ref().is_none_or(|only| only == *name))
        .cloned()
        .collect();
    named.sort();
    if let Some(only) = asked.source.as_ref().filter(|_| named.is_empty()) {
        return refused(StatusCode::NOT_FOUND, &format!("there is no source {only:?}"));
    }
    if asked.accept {
        let sources = named.clone();
        tell_accept(&shared.board, AcceptAsked { client: peer.0.ip().to_canonical(), sources });
    }
    let patience =
        asked.within_ms.map_or(REFRESH_PATIENCE, Duration::from_millis).min(REFRESH_PATIENCE);
    // All at once: they fail apart and take their time apart.
    let mut calls = tokio::task::JoinSet::new();
    for source in named {
        let known = shared.board.known.clone();
        let accept = asked.accept.then(Accept::new);
        calls.spawn(called(known, source, accept, patience));
    }
    let Some(mut all) = until_stopped(&shared, calls.join_all()).await else { return stopping() };
    all.sort_by(|a, b| a.source.cmp(&b.source));
    Json(all).into_response()
}

/// One call, or why there is none within `patience`. Then losses are not accepted
/// afterwards either.
async fn called(
    known: watch::Receiver<Arc<Facts>>,
    source: String,
    accept: Option<Accept>,
    patience: Duration,
) -> SourceRefreshed {
    let called =
        within(patience, pin!(call(known, &source, accept.as_ref())), accept.as_ref()).await;
    let (took_ms, failed) = match called {
        Some(Ok(done)) => (Some(done.took.as_secs_f64() * 1000.0), done.failed),
        Some(Err(error)) => (None, Some(error.to_string())),
        None => {
            let nothing = if accept.is_some() { "; no loss is accepted" } else { "" };
            (None, Some(format!("no call ended in time{nothing}")))
        }
    };
    SourceRefreshed { source, took_ms, failed }
}

/// What `calling` brings; none if it takes longer than `patience`, after which no
/// loss is accepted.
async fn within<F: Future<Output = Result<source::Refreshed, NoCall>>>(
    patience: Duration,
    mut calling: Pin<&mut F>,
    accept: Option<&Accept>,
) -> Option<F::Output> {
    let called = timeout(patience, calling.as_mut()).await.ok();
    if called.is_some() || accept.is_none_or(Accept::withdraw) {
        return called;
    }
    match timeout(PUBLISHING, calling).await {
        Ok(called) => Some(called),
        // Its answer was lost with a reload, and it was asked again.
        Err(_) if accept.is_none_or(Accept::withdraw) => None,
        Err(_) => Some(Err(NoCall::Accepting)),
    }
}

/// Why a source makes no call.
#[derive(Debug, thiserror::Error)]
enum NoCall {
    #[error("this program was built without EC2")]
    NoEc2,
    #[error("a reload has taken it out of the configuration")]
    TakenOut,
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error(
        "its call has ended, losses in it are accepted, and publishing it takes long: see \
         `eipdns status`"
    )]
    Accepting,
}

/// Asks the source of that name for a call. A reload may put another one in its
/// place meanwhile: then that one, as soon as it is known.
async fn call(
    mut known: watch::Receiver<Arc<Facts>>,
    name: &str,
    accept: Option<&Accept>,
) -> Result<source::Refreshed, NoCall> {
    loop {
        let handle = {
            let known = known.borrow_and_update();
            let at = known.inventory.sources.iter().position(|source| source.name == name);
            at.and_then(|at| known.handles.get(at).cloned()).ok_or(NoCall::TakenOut)?
        };
        match handle.ok_or(NoCall::NoEc2)?.refresh(accept).await {
            Ok(done) => return Ok(done),
            Err(gone) => known.changed().await.map_err(|_| gone)?,
        }
        if let Some(accept) = accept {
            accept.renew();
        }
    }
}

/// Who asked is said before anything is done about it.
fn tell_accept(board: &Board, asked: AcceptAsked) {
    let (now, generation) = (board.clock.now(), board.store.full().snapshot.generation);
    if board.history.add_asked(board.clock.drift().shown(now), generation, &asked) {
        warn!(
            client = %asked.client,
            sources = %asked.sources.join(","),
            "asked to take losses as they are (refresh --accept)"
        );
    }
}
