//! What a request must be like before anything is done for it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::connection::{Peer, Pulse};
use super::{Shared, Site};
use crate::status::board::peers::Token;

/// The longest request body that is read: ours are a few words.
const MAX_BODY: usize = 16 * 1024;

/// How long a request's body may take after its headers.
const BODY_TIME: Duration = Duration::from_secs(5);

/// Any answer but 200, as every client can read it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// Why.
    pub error: String,
}

pub(super) fn refused(status: StatusCode, why: &str) -> Response {
    (status, Json(Refused { error: why.to_owned() })).into_response()
}

/// All places are taken.
pub(super) fn busy() -> Response {
    let why = "too many requests are being worked on; try again in a second";
    let mut response = refused(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(header::RETRY_AFTER, 1.into());
    response
}

/// The server goes down; whoever waits is not kept waiting.
pub(super) fn stopping() -> Response {
    let why = "the server is stopping; ask again once it runs again";
    refused(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// The target must be a path, and Host one address or localhost (or the name we
/// are reached by on purpose: an address it is, since pages cannot forge that).
/// Origin, if there is one, must be the same host.
///
/// An absolute target is for proxies. A server should take its authority for
/// the Host (RFC 9112 section 3.2.2); nobody sends us one for good, and refusing
/// leaves no doubt which of the two counts.
pub(super) async fn named(request: Request, next: Next) -> Response {
    let bad = |why| refused(StatusCode::BAD_REQUEST, why);
    let uri = request.uri();
    if uri.scheme().is_some() || uri.authority().is_some() || !uri.path().starts_with('/') {
        return bad("the request's target is not a path; this is no proxy");
    }
    let host = match host(request.headers()) {
        Ok(host) => host,
        Err(why) => return bad(why),
    };
    if !is_address(host) {
        let why = "reach this server by address or as localhost, not by a name: a web page \
                   could make any name point here";
        return refused(StatusCode::MISDIRECTED_REQUEST, why);
    }
    if let Some(origin) = request.headers().get(header::ORIGIN) {
        let same = origin.to_str().is_ok_and(|o| o.strip_prefix("http://") == Some(host));
        if !same {
            return refused(StatusCode::FORBIDDEN, "the request comes from another site's page");
        }
    }
    next.run(request).await
}

/// The one valid Host of a request (RFC 9112 section 3.2).
fn host(headers: &HeaderMap) -> Result<&str, &'static str> {
    let mut all = headers.get_all(header::HOST).iter();
    let host = match (all.next(), all.next()) {
        (None, _) => return Err("the request names no host"),
        (Some(host), None) => host.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => return Err("the request names more than one host"),
    };
    match host.parse::<Authority>() {
        // Userinfo is no part of a Host.
        Ok(authority) if !authority.as_str().contains('@') => Ok(host),
        _ => Err("the request's Host is none"),
    }
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
pub(super) async fn authorised(
    State(shared): Site,
    Extension(Peer(client)): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let tokens = shared.token.as_deref();
    match admitted(&shared, client, request.headers(), tokens.as_slice()) {
        Ok(()) => next.run(request).await,
        Err((status, why)) => refused(status, why),
    }
}

/// Likewise, with the token that peers have as well: it opens what is for them, and nothing
/// else.
pub(super) async fn authorised_as_peer(
    State(shared): Site,
    Extension(Peer(client)): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let of_peers = shared.board.peers.token();
    let of_peers = of_peers.as_ref().map(Token::secret);
    let tokens: Vec<&str> = shared.token.as_deref().into_iter().chain(of_peers).collect();
    match admitted(&shared, client, request.headers(), &tokens) {
        Ok(()) => next.run(request).await,
        Err((status, why)) => refused(status, why),
    }
}

/// One of the tokens; without any, only who is here on this host.
fn admitted(
    shared: &Shared,
    client: SocketAddr,
    headers: &HeaderMap,
    tokens: &[&str],
) -> Result<(), (StatusCode, &'static str)> {
    let loopback = client.ip().to_canonical().is_loopback() && shared.address.ip().is_loopback();
    let closed = "closed beyond loopback without a token; set listen.http_token_file";
    // All are compared, whichever it is.
    let has_one = tokens.iter().fold(false, |any, token| has_token(headers, token) | any);
    match tokens {
        [] if loopback => Ok(()),
        [] => Err((StatusCode::FORBIDDEN, closed)),
        _ if has_one => Ok(()),
        _ => Err((StatusCode::UNAUTHORIZED, "wants `Authorization: Bearer <token>`")),
    }
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok());
    let Some(given) = given.and_then(|g| g.strip_prefix("Bearer ")) else { return false };
    // The same time for every wrong token of the same length.
    given.len() == token.len()
        && given.bytes().zip(token.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
}

/// What is told is as new as the answers, if that does not take long.
pub(super) async fn caught_up(State(shared): Site, request: Request, next: Next) -> Response {
    shared.board.catch_up().await;
    next.run(request).await
}

/// Reads the whole body, if there is one, before anything is done: it is short,
/// and comes soon, or not at all.
pub(super) async fn with_body(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let too_long = || refused(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too long");
    if request.body().size_hint().lower() > MAX_BODY as u64 {
        return too_long();
    }
    let (head, body) = request.into_parts();
    match timeout(BODY_TIME, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(octets)) => next.run(Request::from_parts(head, Body::from(octets))).await,
        // Or the connection broke, and nobody reads this.
        Ok(Err(_)) => too_long(),
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the request's body does not come"),
    }
}

/// One of so many that are worked on at once; it counts until its answer has
/// been taken.
pub(super) async fn limited(
    State(places): State<Arc<Semaphore>>,
    Extension(pulse): Extension<Arc<Pulse>>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(place) = places.try_acquire_owned() else { return busy() };
    pulse.hold(place);
    next.run(request).await
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
    fn a_request_has_one_valid_host() {
        let with = |hosts: &[&str]| {
            let mut headers = HeaderMap::new();
            for one in hosts {
                headers.append(header::HOST, one.parse().unwrap());
            }
            host(&headers).map(str::to_owned)
        };
        assert_eq!(with(&["127.0.0.1:8053"]).as_deref(), Ok("127.0.0.1:8053"));
        assert_eq!(with(&["[::1]"]).as_deref(), Ok("[::1]"));
        assert_eq!(with(&["evil.example"]).as_deref(), Ok("evil.example"));
        for bad in [
            &[][..],
            &[""],
            &[" "],
            &["127.0.0.1", "127.0.0.1"],
            &["127.0.0.1", "evil.example"],
            &["user@127.0.0.1"],
            &["user:secret@127.0.0.1:80"],
            &["127.0.0.1/path"],
            &["127.0.0.1 evil.example"],
            &["[::1"],
        ] {
            assert!(with(bad).is_err(), "{bad:?}");
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
