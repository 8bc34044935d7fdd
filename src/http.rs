//! The HTTP side: health, metrics, status, history, explanations, refresh.
//!
//! It changes nothing but by two acts: `refresh`, and `refresh` with `accept`.
//! Requests must name us as their host and come from no foreign page (DNS
//! rebinding). Beyond loopback everything but `/livez` and `/readyz` wants the
//! bearer token; without one it is closed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use hickory_proto::rr::RecordType;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::board::Board;
use crate::compile::Input;
use crate::config::Config;
use crate::explain::{Explanation, Who, explain};
use crate::inventory::Health;
use crate::metrics;
use crate::name::Key;
use crate::run::own_addresses;
use crate::source::clock::elapsed;

/// How long `POST /api/refresh` waits for its calls. A call takes 3 s at most,
/// and one that is under way is waited for first.
const REFRESH_PATIENCE: Duration = Duration::from_secs(10);

/// The longest request body that is looked at: ours are a few words.
const MAX_BODY: usize = 16 * 1024;

/// Why the HTTP side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be had.
    #[error(
        "cannot listen on {address} for HTTP: {cause}; change `listen.http` or end what holds it"
    )]
    Bind {
        /// `listen.http`
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The token cannot be read.
    #[error("cannot read the token in {path}: {cause}; mend `listen.http_token_file`")]
    Token {
        /// `listen.http_token_file`
        path: String,
        /// What the system says.
        cause: io::Error,
    },
}

/// The address bound and the token read, before anything is served.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    /// With the port that port 0 became.
    pub address: SocketAddr,
    token: Option<String>,
}

/// Binds `listen.http`; none when it is off.
///
/// # Errors
/// The address or the token cannot be had.
pub fn bind(config: &Config) -> Result<Option<Bound>, HttpError> {
    let listen = &config.server.listen;
    let Some(address) = listen.http else { return Ok(None) };
    let token = match &listen.http_token_file {
        None => None,
        Some(path) => {
            let failed = |cause| HttpError::Token { path: path.display().to_string(), cause };
            let text = std::fs::read_to_string(path).map_err(failed)?;
            let token = text.trim().to_owned();
            if token.is_empty() {
                return Err(failed(io::Error::other("it is empty")));
            }
            Some(token)
        }
    };
    let failed = |cause| HttpError::Bind { address, cause };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Some(Bound { listener, address, token }))
}

/// What every handler sees.
struct Shared {
    board: Board,
    address: SocketAddr,
    token: Option<String>,
    /// Once ready, always ready: an EC2 outage must not drain all replicas.
    ready: AtomicBool,
}

type Site = State<Arc<Shared>>;

/// Serves until told to stop. Must be called within a tokio runtime.
///
/// # Errors
/// Whatever accepting connections gives that is not over at once.
pub async fn serve(bound: Bound, board: Board, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let Bound { listener, address, token } = bound;
    let shared = Arc::new(Shared { board, address, token, ready: AtomicBool::new(false) });
    let open = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz));
    let closed = Router::new()
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .route("/api/history", get(history))
        .route("/api/explain", get(explanation))
        .route("/api/refresh", post(refresh))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), authorised));
    let router = open
        .merge(closed)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), named))
        .with_state(shared)
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            // An error means that the sender is gone: stop as well.
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .await
}

/// An error as every client can read it.
fn refused(status: StatusCode, why: &str) -> Response {
    #[derive(Serialize)]
    struct Refusal<'w> {
        error: &'w str,
    }
    (status, Json(Refusal { error: why })).into_response()
}

/// Host must be an address or localhost (or the name we are reached by on
/// purpose: an address it is, since pages cannot forge that), and Origin, if
/// there is one, the same host.
async fn named(State(_): Site, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let Some(host) = headers.get(header::HOST).and_then(|h| h.to_str().ok()) else {
        return refused(StatusCode::BAD_REQUEST, "the request names no host");
    };
    if !is_address(host) {
        let why = "reach this server by address or as localhost, not by a name: a web page \
                   could make any name point here";
        return refused(StatusCode::MISDIRECTED_REQUEST, why);
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let same = origin.to_str().is_ok_and(|o| o.strip_prefix("http://") == Some(host));
        if !same {
            return refused(StatusCode::FORBIDDEN, "the request comes from another site's page");
        }
    }
    next.run(request).await
}

/// Is `host` (of a Host header) an address or localhost?
fn is_address(host: &str) -> bool {
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !bare.is_empty() => bare,
        _ => host,
    };
    let bare = bare.strip_prefix('[').and_then(|b| b.strip_suffix(']')).unwrap_or(bare);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// The token, where it is wanted: always when one is configured, and beyond
/// loopback even when none is.
async fn authorised(
    State(shared): Site,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let loopback = client.ip().to_canonical().is_loopback() && shared.address.ip().is_loopback();
    match &shared.token {
        None if loopback => next.run(request).await,
        None => refused(
            StatusCode::FORBIDDEN,
            "closed beyond loopback without a token; set listen.http_token_file",
        ),
        Some(token) if has_token(request.headers(), token) => next.run(request).await,
        Some(_) => refused(StatusCode::UNAUTHORIZED, "wants `Authorization: Bearer <token>`"),
    }
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok());
    let Some(given) = given.and_then(|g| g.strip_prefix("Bearer ")) else { return false };
    // The same time for every wrong token of the same length.
    given.len() == token.len()
        && given.bytes().zip(token.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
}

async fn livez() -> &'static str {
    "ok\n"
}

/// Ready once every source has delivered, has state, or has failed longer than
/// `serve.ready_grace`; then for ever.
async fn readyz(State(shared): Site) -> Response {
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

async fn metrics(State(shared): Site) -> Response {
    match metrics::render(&shared.board) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn status(State(shared): Site) -> Response {
    Json(shared.board.status()).into_response()
}

async fn history(State(shared): Site) -> Response {
    Json(shared.board.history.newest_first()).into_response()
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

async fn explanation(State(shared): Site, Query(asked): Query<Asked>) -> Response {
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

async fn refresh(State(shared): Site, Query(asked): Query<Refresh>) -> Response {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in [
            "127.0.0.1",
            "127.0.0.1:8053",
            "localhost",
            "LocalHost:80",
            "[::1]:8053",
            "[::1]",
            "10.0.0.53:1",
        ] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:8053",
            "localhost.evil.example",
            "127.0.0.1.evil",
            ":80",
            "::1:x",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn tokens() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            has_token(&headers, "s3cret")
        };
        assert!(with("Bearer s3cret"));
        for wrong in
            ["Bearer s3cre", "Bearer s3cretx", "Bearer S3cret", "s3cret", "Basic s3cret", "Bearer "]
        {
            assert!(!with(wrong), "{wrong}");
        }
        assert!(!has_token(&HeaderMap::new(), "s3cret"));
    }
}
