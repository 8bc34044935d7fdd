//! What the server tells about itself, and its one act: `refresh`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use hickory_proto::rr::RecordType;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tracing::{error, warn};

use super::connection::Peer;
use super::guard::{busy, refused, stopping};
use super::{Shared, Site};
use crate::compile::Input;
use crate::config::ViewId;
use crate::dns::name::Key;
use crate::host::addresses::own_addresses;
use crate::host::background;
use crate::snapshot::Snapshot;
use crate::source::inventory::Inventory;
use crate::source::{self, Gone};
use crate::status::board::{Board, Known};
use crate::status::dump::{self, NoDump, Word};
use crate::status::explain::{Explanation, Who, explain};
use crate::status::metrics;
use crate::status::wish::{Answered, Wish, judge};
use crate::writer::history::AcceptAsked;

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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainQuery {
    /// The name.
    pub name: String,
    /// The type; A when there is none.
    #[serde(rename = "type", default)]
    pub rtype: Option<String>,
    /// On behalf of this client.
    pub client: Option<IpAddr>,
    /// Asking at this address.
    pub at: Option<SocketAddr>,
    /// On behalf of anyone in this view.
    pub view: Option<String>,
}

pub(super) async fn explanation(
    State(shared): Site,
    Query(asked): Query<ExplainQuery>,
) -> Response {
    let bad = |why: &str| refused(StatusCode::BAD_REQUEST, why);
    let Ok(name) = Key::parse(&asked.name, None) else { return bad("`name` is no domain name") };
    let rtype = asked.rtype.as_deref().unwrap_or("A").to_uppercase();
    let Ok(rtype) = rtype.parse::<RecordType>() else { return bad("`type` is no record type") };
    let current = shared.board.store.full();
    let snapshot = &current.snapshot;
    let known = shared.board.known.borrow().clone();
    let who = match (asked.client, &asked.view) {
        (Some(client), _) => {
            let local = asked.at.or_else(|| known.listening.first().copied());
            vec![Who::Client { client, local: local.unwrap_or(([127, 0, 0, 1], 53).into()) }]
        }
        (None, Some(wanted)) => match view_of(snapshot, wanted) {
            Ok(view) => vec![Who::View(view)],
            Err(why) => return bad(&why.to_string()),
        },
        (None, None) => (0..snapshot.views.len()).map(Who::View).collect(),
    };
    let addresses = own_addresses(&known.config.server.listen.dns);
    let input = Input {
        config: &known.config,
        epoch: snapshot.epoch,
        inventory: &with_ages(&snapshot.inventory, &known.inventory),
        addresses: &addresses,
        now: shared.board.clock.now(),
        drift: shared.board.clock.drift(),
    };
    let all: Vec<Explanation> =
        who.into_iter().map(|who| explain(&input, &current, who, &name, rtype)).collect();
    Json(all).into_response()
}

/// The view of that name, else what to say.
fn view_of(snapshot: &Snapshot, wanted: &str) -> Result<ViewId, NoView> {
    let of_name = snapshot.views.iter().position(|view| *view.name == *wanted);
    of_name.ok_or_else(|| {
        let known: Vec<_> = snapshot.views.iter().map(|view| &*view.name).collect();
        NoView { wanted: wanted.to_owned(), known: known.join(", ") }
    })
}

/// There is no such view.
#[derive(Debug, thiserror::Error)]
#[error("no view {wanted:?}; the views are {known}")]
struct NoView {
    wanted: String,
    known: String,
}

/// What the answers were made from, with how old it is: an answer of a source
/// that is equal to the one before publishes nothing.
fn with_ages(published: &Inventory, known: &Inventory) -> Inventory {
    let mut inventory = published.clone();
    for (source, known) in inventory.sources.iter_mut().zip(&known.sources) {
        if source.name == known.name {
            source.delivered_at = source.delivered_at.max(known.delivered_at);
        }
    }
    inventory
}

/// What `/api/dump` is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DumpQuery {
    /// The zone's origin.
    pub zone: String,
    /// As this view is answered it.
    pub view: Option<String>,
}

pub(super) async fn dump(State(shared): Site, Query(asked): Query<DumpQuery>) -> Response {
    let Ok(origin) = Key::parse(&asked.zone, None) else {
        return refused(StatusCode::BAD_REQUEST, "`zone` is no domain name");
    };
    let current = shared.board.store.full();
    let work = move || {
        let (view, word) = (asked.view.as_deref(), Word::Server);
        let dumped = dump::dump(&current.snapshot, &origin, view, word, dump::MAX_OCTETS)?;
        Ok::<_, NoDump>(serde_json::to_vec(&dumped))
    };
    match slowly(&shared, &shared.dumps, work).await {
        Ok(Ok(Ok(json))) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(Ok(Err(error))) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Ok(Err(why)) => refused(
            match why {
                NoDump::View { .. } | NoDump::Several { .. } => StatusCode::BAD_REQUEST,
                NoDump::Zone(_) => StatusCode::NOT_FOUND,
                NoDump::TooLong { .. } => StatusCode::INSUFFICIENT_STORAGE,
            },
            &why.to_string(),
        ),
        Err(response) => response,
    }
}

/// So many wishes are judged at once.
pub(crate) const MAX_WISHES: usize = 64;

/// What `/api/answered` is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnsweredQuery {
    /// `NAME=ADDRESS` or `NAME=eipassoc-…`; several, with line feeds between
    /// them, are judged by one snapshot.
    pub wait_for: String,
    /// As this view is answered it alone.
    pub view: Option<String>,
}

pub(super) async fn answered(State(shared): Site, Query(asked): Query<AnsweredQuery>) -> Response {
    let bad = |why: &str| refused(StatusCode::BAD_REQUEST, why);
    let wishes: Result<Vec<Wish>, _> = asked.wait_for.split('\n').map(str::parse).collect();
    let wishes = match wishes {
        Ok(wishes) if wishes.len() <= MAX_WISHES => wishes,
        Ok(_) => return bad(&format!("`wait_for` has more than {MAX_WISHES} lines")),
        Err(error) => return bad(&format!("`wait_for`: {error}")),
    };
    let current = shared.board.store.full();
    let of_name = |wanted| view_of(&current.snapshot, wanted);
    let view = match asked.view.as_deref().map(of_name).transpose() {
        Ok(view) => view,
        Err(why) => return bad(&why.to_string()),
    };
    let known = shared.board.known.borrow().clone();
    let (now, drift) = (shared.board.clock.now(), shared.board.clock.drift());
    let work = move || {
        let snapshot = &current.snapshot;
        let input = Input {
            config: &known.config,
            epoch: snapshot.epoch,
            inventory: &snapshot.inventory,
            addresses: &[],
            now,
            drift,
        };
        let wishes = wishes.iter().map(|wish| judge(&input, snapshot, wish, view)).collect();
        Answered { generation: snapshot.generation, wishes }
    };
    match slowly(&shared, &shared.verdicts, work).await {
        Ok(answered) => Json(answered).into_response(),
        Err(response) => response,
    }
}

/// Does slow work where no answer waits for it: not on the loop that publishes,
/// and with a lower priority than what answers DNS. Else the response to send.
async fn slowly<T: Send + 'static>(
    shared: &Shared,
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Response> {
    let place = Arc::clone(places).try_acquire_owned().map_err(|_| busy())?;
    let working = background::run(move || {
        let done = work();
        drop(place);
        done
    });
    match until_stopped(shared, working).await {
        Some(Ok(done)) => Ok(done),
        Some(Err(error)) => {
            error!(%error, "a request was lost to a bug");
            Err(refused(StatusCode::INTERNAL_SERVER_ERROR, "this is a bug: see the log"))
        }
        None => Err(stopping()),
    }
}

/// What `work` brings; none once the server is told to stop.
async fn until_stopped<T>(shared: &Shared, work: impl Future<Output = T>) -> Option<T> {
    let mut stop = shared.stop.clone();
    tokio::select! {
        biased;
        done = work => Some(done),
        // An error means that the sender is gone: stop as well.
        _ = stop.wait_for(|stop| *stop) => None,
    }
}

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
        let (known, accept) = (shared.board.known.clone(), asked.accept);
        calls.spawn(async move {
            let called = tokio::time::timeout(patience, call(known, &source, accept)).await;
            let (took_ms, failed) = match called {
                Ok(Ok(done)) => (Some(done.took.as_secs_f64() * 1000.0), done.failed),
                Ok(Err(error)) => (None, Some(error.to_string())),
                Err(_) => (None, Some(format!("no call ended within {patience:?}"))),
            };
            SourceRefreshed { source, took_ms, failed }
        });
    }
    let Some(mut all) = until_stopped(&shared, calls.join_all()).await else { return stopping() };
    all.sort_by(|a, b| a.source.cmp(&b.source));
    Json(all).into_response()
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
}

/// Asks the source of that name for a call. A reload may put another one in its
/// place meanwhile: then that one, as soon as it is known.
async fn call(
    mut known: watch::Receiver<Arc<Known>>,
    name: &str,
    accept: bool,
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
