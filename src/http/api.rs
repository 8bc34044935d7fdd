//! What the server tells about itself.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use hickory_proto::rr::RecordType;
use serde::Deserialize;

use super::Site;
use super::guard::refused;
use super::slow::slowly;
use crate::compile::Input;
use crate::config::ViewId;
use crate::dns::name::Key;
use crate::host::addresses::own_addresses;
use crate::snapshot::Snapshot;
use crate::source::inventory::Inventory;
use crate::status::board::Facts;
use crate::status::dump::{self, NoDump, Word};
use crate::status::explain::{Explanation, Who, explain};
use crate::status::metrics;
use crate::status::wish::{Answered, Wish, judge};

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
    let known = shared.board.known.borrow().clone();
    let who = match who(&asked, &current.snapshot, &known) {
        Ok(who) => who,
        Err(why) => return bad(&why.to_string()),
    };
    let (now, drift) = (shared.board.clock.now(), shared.board.clock.drift());
    let work = move || {
        let input = Input {
            config: &known.config,
            epoch: current.snapshot.epoch,
            inventory: &with_ages(&current.snapshot.inventory, &known.inventory),
            addresses: &own_addresses(&known.config.server.listen.dns),
            now,
            drift,
        };
        let explained = who.into_iter().map(|who| explain(&input, &current, who, &name, rtype));
        explained.collect::<Vec<Explanation>>()
    };
    match slowly(&shared, &shared.explanations, work).await {
        Ok(all) => Json(all).into_response(),
        Err(response) => response,
    }
}

/// On whose behalf: one client, one view, or every view.
fn who(asked: &ExplainQuery, snapshot: &Snapshot, known: &Facts) -> Result<Vec<Who>, NoView> {
    Ok(match (asked.client, &asked.view) {
        (Some(client), _) => {
            let local = asked.at.or_else(|| known.listening.first().copied());
            vec![Who::Client { client, local: local.unwrap_or(([127, 0, 0, 1], 53).into()) }]
        }
        (None, Some(wanted)) => vec![Who::View(view_of(snapshot, wanted)?)],
        (None, None) => (0..snapshot.views.len()).map(Who::View).collect(),
    })
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
