//! Talking to the running server over `listen.http`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;

use super::{Common, Exit};
use crate::http;

/// How long to wait for a connection: the server is near.
const CONNECT: Duration = Duration::from_secs(2);

/// How long to wait for an answer: longer than the server itself waits for
/// its sources.
const ANSWER: Duration = Duration::from_secs(15);

/// The longest answer that is taken, in octets.
const MAX_ANSWER: u64 = 256 << 20;

/// Where the server is and how it lets us in.
#[derive(Debug, Clone, Args)]
pub(super) struct Remote {
    #[command(flatten)]
    pub(super) common: Common,
    /// Bearer token [default: read from `listen.http_token_file`]
    #[arg(long, value_name = "TOKEN", env = "EIPDNS_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    #[error("the server has no HTTP side: set `listen.http` in server.toml and restart it")]
    Off,
    #[error("cannot reach the server at http://{address}: {cause}; is it running?")]
    Unreachable { address: SocketAddr, cause: std::io::Error },
    #[error("the token in {path} cannot be read: {cause}; give it with --token")]
    Token { path: String, cause: std::io::Error },
    #[error("the server at http://{address} says {status}: {why}")]
    Refused { address: SocketAddr, status: u16, why: String },
    #[error("what answers at http://{address} is no eipdns of this version: {why}")]
    Foreign { address: SocketAddr, why: String },
    #[error("the configuration cannot be read")]
    Config,
}

impl RemoteError {
    /// The exit code that says so.
    pub(super) fn exit(&self) -> Exit {
        match self {
            RemoteError::Config => Exit::Config,
            RemoteError::Refused { status: 400 | 404, .. } => Exit::Usage,
            _ => Exit::Unreachable,
        }
    }
}

/// A connection's worth of knowledge.
pub(super) struct Client {
    address: SocketAddr,
    token: Option<String>,
}

impl Remote {
    /// Finds out where the server is.
    pub(super) fn client(&self) -> Result<Client, RemoteError> {
        // The configuration says where; what is wrong with it is no matter as
        // long as flag or environment say it.
        let loaded = match self.common.listen_http {
            Some(_) if self.token.is_some() => None,
            _ => match self.common.load() {
                Ok(loaded) => Some(loaded),
                Err(_) if self.common.listen_http.is_some() => None,
                Err(_) => return Err(RemoteError::Config),
            },
        };
        let listen = loaded.as_ref().map(|l| &l.config.server.listen);
        let address = self.common.listen_http.or_else(|| listen?.http).ok_or(RemoteError::Off)?;
        let token = match (&self.token, listen.and_then(|l| l.http_token_file.as_ref())) {
            (Some(token), _) => Some(token.clone()),
            (None, None) => None,
            (None, Some(path)) => {
                let path_shown = || path.display().to_string();
                let failed = |cause| RemoteError::Token { path: path_shown(), cause };
                Some(http::read_token(path).map_err(failed)?)
            }
        };
        let address = match address {
            any if any.ip().is_unspecified() && any.is_ipv4() => {
                ([127, 0, 0, 1], any.port()).into()
            }
            any if any.ip().is_unspecified() => {
                SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, any.port()))
            }
            other => other,
        };
        Ok(Client { address, token })
    }
}

impl Client {
    /// GET.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, RemoteError> {
        self.call("GET", path, query)
    }

    /// POST without a body.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, RemoteError> {
        self.call("POST", path, query)
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, RemoteError> {
        let address = self.address;
        let foreign = |why: String| RemoteError::Foreign { address, why };
        let (status, body) = self
            .exchange(method, path, query)
            .map_err(|cause| RemoteError::Unreachable { address, cause })?;
        if status != 200 {
            #[derive(serde::Deserialize)]
            struct Refusal {
                error: String,
            }
            let why = match serde_json::from_slice::<Refusal>(&body) {
                Ok(refusal) => refusal.error,
                Err(_) => String::from_utf8_lossy(&body).trim().to_string(),
            };
            return Err(RemoteError::Refused { address, status, why });
        }
        serde_json::from_slice(&body).map_err(|e| foreign(e.to_string()))
    }

    /// One request, HTTP/1.0: the answer ends with the connection.
    fn exchange(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
    ) -> std::io::Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect_timeout(&self.address, CONNECT)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let query: Vec<_> = query.iter().map(|(k, v)| format!("{k}={}", escaped(v))).collect();
        let mut head = format!(
            "{method} {path}?{} HTTP/1.0\r\nHost: {}\r\nContent-Length: 0\r\n",
            query.join("&"),
            self.address
        );
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        let mut reader = BufReader::new(stream.take(MAX_ANSWER));
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let odd = || std::io::Error::other("what answers speaks no HTTP");
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(odd)?;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err(odd());
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        let mut body = Vec::new();
        reader.read_to_end(&mut body)?;
        Ok((status, body))
    }
}

/// Percent-encoded for a query (RFC 3986 section 2).
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(b).to_string()
            }
            b => format!("%{b:02X}"),
        })
        .collect()
}
