//! One request to a peer: no proxy, no redirect, one connection, and a bound for all of it.
//! A peer may be slow, of another version, or somebody else altogether.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

pub(super) use hyper::Method;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::host::text::{BRIEF, brief};
use crate::status::board::peers::Token;

/// Octets of an answer's headers, its first line included.
const MAX_HEAD: usize = 16 << 10;

/// Headers of an answer: ours have four.
const MAX_HEADERS: usize = 64;

/// What a peer is asked.
#[derive(Debug)]
pub(super) struct Call<'c> {
    pub at: SocketAddr,
    pub method: Method,
    /// Path and query, encoded.
    pub path: &'c str,
    pub token: &'c Token,
    /// The longest body of an answer that is read, in octets.
    pub most: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("no connection: {0}; is it running, and does a security group let us through?")]
    Connect(io::Error),
    #[error("no whole answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
    #[error("what it says is no answer over HTTP: {0}")]
    Broken(String),
    #[error("its answer has more than {0} octets")]
    TooLong(usize),
    #[error("it refuses our token (status {0}): all replicas have the same in `peers.token_file`")]
    Token(u16),
    #[error("it answers with status {0}")]
    Status(u16),
    #[error("the token cannot stand in a header")]
    Unsendable,
}

/// Asks, and reads the whole answer of status 2xx, within `time`.
pub(super) async fn exchange(call: &Call<'_>, time: Duration) -> Result<Vec<u8>, CallError> {
    timeout(time, exchanged(call)).await.map_err(|_| CallError::Late(time))?
}

async fn exchanged(call: &Call<'_>) -> Result<Vec<u8>, CallError> {
    let request = Request::builder()
        .method(call.method.clone())
        .uri(call.path)
        .header(HOST, call.at.to_string())
        .header(AUTHORIZATION, format!("Bearer {}", call.token.secret()))
        .header(CONNECTION, "close")
        .header(CONTENT_LENGTH, 0)
        .body(String::new())
        .map_err(|_| CallError::Unsendable)?;
    let stream = TcpStream::connect(call.at).await.map_err(CallError::Connect)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let mut asked = pin!(async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        body_of(response, call.most).await
    });
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        answer = &mut asked => return answer,
        // Whatever it ended with, what came of the answer is told by that.
        _ = &mut connection => {}
    }
    asked.await
}

async fn body_of(response: Response<Incoming>, most: usize) -> Result<Vec<u8>, CallError> {
    let status = response.status();
    match status.as_u16() {
        status @ (401 | 403) => return Err(CallError::Token(status)),
        status if !(200..300).contains(&status) => return Err(CallError::Status(status)),
        _ => {}
    }
    let mut body = response.into_body();
    let mut octets = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        // Trailers say nothing to us.
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        if octets.len() + data.len() > most {
            return Err(CallError::TooLong(most));
        }
        octets.extend_from_slice(&data);
    }
    Ok(octets)
}

/// It may cite what was read.
fn broken(error: &hyper::Error) -> CallError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    CallError::Broken(brief(&format!("{error}{}", cause.unwrap_or_default()), BRIEF))
}
