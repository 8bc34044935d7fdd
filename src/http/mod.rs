//! The HTTP side: health, metrics, status, history, explanations, dumps, refresh, reload.
//!
//! It changes nothing but by these acts: `refresh`, `refresh` with `accept`, `reload`, and
//! the hint of a peer, which has sources look.
//! Requests must name us as their host and come from no foreign page (DNS
//! rebinding). Beyond loopback everything but `/livez` and `/readyz` wants the
//! bearer token; without one it is closed.
//!
//! HTTP/1 only. Whatever a client may take has a bound: connections, the time
//! for a request and for reading its answer, the size of both its parts, and how
//! many are worked on.
//!
//! * `server`: accepts, and says who makes room for whom.
//! * `connection`: one client, and how long it may take.
//! * `guard`: what a request must be like; `health`, `api`, `refresh`, `reload`, `peer`: what it
//!   gets, `slow`: where that takes its time.

mod api;
mod connection;
mod guard;
mod health;
mod peer;
mod refresh;
mod reload;
mod server;
mod slow;
#[cfg(test)]
mod tests;

use std::fs::Metadata;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use socket2::SockRef;
use tokio::sync::{Semaphore, watch};

use crate::config::{Config, MAX_PEERS};
use crate::host::aside::{self, Place};
use crate::host::files;
use crate::serve::bind::BACKLOG;
use crate::status::board::Board;

pub(crate) use api::MAX_WISHES;
pub(crate) use guard::Refused;
pub(crate) use refresh::SourceRefreshed;
pub(crate) use server::{MAX_CONNECTIONS, Places};

/// Answers that are being made or are on their way to their readers, those of
/// `/livez` and `/readyz` aside. Some are megabytes.
const MAX_ANSWERS: usize = 64;

/// Refreshes that wait for their sources. They share calls, and are fewer than
/// the connections that anybody can have.
const MAX_REFRESHES: usize = 16;

/// Dumps that are made or on their way to their readers: each may take some
/// hundred megabytes, and a second of a processor that answers come before.
const MAX_DUMPS: usize = 2;

/// Verdicts on wishes that are made at once: as many as wait for refreshes.
const MAX_VERDICTS: usize = MAX_REFRESHES;

/// What peers say and ask, worked on at once: each of them has one or two under way.
const MAX_OF_PEERS: usize = 2 * MAX_PEERS;

/// Explanations that are made at once: each looks through all addresses, and
/// through all names for those that may have been meant.
const MAX_EXPLANATIONS: usize = 4;

/// Verdicts on reloads that are made at once. Who waits for the same one shares it.
const MAX_RELOADS: usize = 2;

/// How long the disk has for the token.
pub(crate) const TOKEN: Duration = Duration::from_secs(3);

/// The largest token file, in octets; a header of more is refused anyway.
const MAX_TOKEN: u64 = 8 << 10;

/// Why the HTTP side cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
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
    /// The token that peers have cannot be read.
    #[error("cannot read the peers' token in {path}: {cause}; mend `peers.token_file`")]
    PeerToken {
        /// `peers.token_file`
        path: String,
        /// What the system says, or who may read it.
        cause: io::Error,
    },
}

/// The address bound and the token read, before anything is served.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: TcpListener,
    /// With the port that port 0 became.
    pub address: SocketAddr,
    token: Option<String>,
}

/// The bearer token in a file, without the white space around it.
///
/// # Errors
/// It cannot be read within `time`, is no text, or is empty.
pub(crate) fn read_token(path: &Path, time: Duration) -> io::Result<String> {
    read_token_if(path, time, |_| Ok(()))
}

/// The token that peers have, of a file that not everybody may read: with it anybody
/// would be a peer.
///
/// # Errors
/// As [`read_token`], or everybody may read it.
pub(crate) fn read_peer_token(path: &Path, time: Duration) -> io::Result<String> {
    let closed = |about: &Metadata| match about.mode() & OTHERS_READ {
        0 => Ok(()),
        _ => Err(io::Error::other(
            "everybody may read it; `chmod o-r` it, and if somebody has, write another token",
        )),
    };
    read_token_if(path, time, closed)
}

/// Everybody may read a file of this mode.
const OTHERS_READ: u32 = 0o004;

fn read_token_if(
    path: &Path,
    time: Duration,
    may: impl FnOnce(&Metadata) -> io::Result<()> + Send + 'static,
) -> io::Result<String> {
    let reading = path.to_owned();
    let read = move || files::read_if(&reading, MAX_TOKEN, may);
    let octets = aside::within(&Place::read(path), time, read).map_err(io::Error::other)??;
    let text = String::from_utf8(octets).map_err(|_| io::Error::other("it is not UTF-8"))?;
    match text.trim() {
        "" => Err(io::Error::other("it is empty")),
        token => Ok(token.to_owned()),
    }
}

/// Binds `listen.http`; none when it is off.
///
/// # Errors
/// The address or the token cannot be had.
pub(crate) fn bind(config: &Config) -> Result<Option<Bound>, HttpError> {
    let listen = &config.server.listen;
    let Some(address) = listen.http else { return Ok(None) };
    let token = match &listen.http_token_file {
        None => None,
        Some(path) => {
            let failed = |cause| HttpError::Token { path: path.display().to_string(), cause };
            Some(read_token(path, TOKEN).map_err(failed)?)
        }
    };
    let failed = |cause| HttpError::Bind { address, cause };
    let listener = TcpListener::bind(address).map_err(failed)?;
    // The standard library's backlog is 128: less than a crowd.
    SockRef::from(&listener).listen(BACKLOG).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Some(Bound { listener, address, token }))
}

/// What every handler sees.
struct Shared {
    board: Board,
    address: SocketAddr,
    token: Option<String>,
    /// Places for slow work; it has one until it has ended, also when nobody
    /// waits for it any longer.
    dumps: Arc<Semaphore>,
    verdicts: Arc<Semaphore>,
    explanations: Arc<Semaphore>,
    reloads: Arc<Semaphore>,
    /// The server goes down: nobody waits for anything slow any longer.
    stop: watch::Receiver<bool>,
}

type Site = State<Arc<Shared>>;

/// Serves until told to stop, then ends as soon as what is under way is
/// answered. Must be called within a tokio runtime.
///
/// # Errors
/// The event loop does not take the listening socket.
pub(crate) async fn serve(
    bound: Bound,
    places: Places,
    board: Board,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let Bound { listener, address, token } = bound;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let stats = Arc::clone(&board.sockets);
    let shared = Arc::new(Shared {
        board,
        address,
        token,
        dumps: Arc::new(Semaphore::new(MAX_DUMPS)),
        verdicts: Arc::new(Semaphore::new(MAX_VERDICTS)),
        explanations: Arc::new(Semaphore::new(MAX_EXPLANATIONS)),
        reloads: Arc::new(Semaphore::new(MAX_RELOADS)),
        stop: stop.clone(),
    });
    server::serve(listener, router(shared), places, stats, stop).await;
    Ok(())
}

/// Who is asked for what. The last layer is the first to see a request: who may
/// not ask is told so before anything is read or taken for it.
fn router(shared: Arc<Shared>) -> Router {
    let limited = |most| from_fn_with_state(Arc::new(Semaphore::new(most)), guard::limited);
    let caught_up = || from_fn_with_state(Arc::clone(&shared), guard::caught_up);
    let told = Router::new()
        .route("/metrics", get(api::metrics))
        .route("/api/status", get(api::status))
        .route("/api/history", get(api::history))
        .route("/api/explain", get(api::explanation))
        .route("/api/answered", get(api::answered))
        .route_layer(caught_up())
        .route_layer(limited(MAX_ANSWERS));
    let done = Router::new()
        .route("/api/refresh", post(refresh::refresh))
        .route_layer(limited(MAX_REFRESHES));
    let dumped = Router::new().route("/api/dump", get(api::dump));
    let dumped = dumped.route_layer(caught_up()).route_layer(limited(MAX_DUMPS));
    let of_peers = Router::new()
        .route("/api/hint", post(peer::hint))
        .route("/api/digests", get(peer::digests))
        .route_layer(limited(MAX_OF_PEERS))
        .route_layer(from_fn(guard::with_body))
        .route_layer(from_fn_with_state(Arc::clone(&shared), guard::authorised_as_peer));
    let ready = Router::new().route("/readyz", get(health::readyz)).route_layer(caught_up());
    // It has places of its own, which are counted.
    let reloaded = Router::new().route("/api/reload", post(reload::reload));
    let closed = told
        .merge(done)
        .merge(reloaded)
        .merge(dumped)
        .route_layer(from_fn(guard::with_body))
        .route_layer(from_fn_with_state(Arc::clone(&shared), guard::authorised));
    Router::new()
        .route("/livez", get(health::livez))
        .merge(ready)
        .merge(closed)
        .merge(of_peers)
        .layer(from_fn(guard::named))
        .with_state(shared)
}
