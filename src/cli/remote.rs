//! Talking to the running server over `listen.http`.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Common, Exit, print, print_problems};
use crate::config::{self, Invalid, Reach};
use crate::host::text::{BRIEF, brief};
use crate::http::{self, Refused};

/// How long a whole command may take that has no time limit of its own: longer
/// than the server itself waits for its sources.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// How long to wait for a connection: the server is near.
const CONNECT: Duration = Duration::from_secs(2);

/// How long the disk has for server.toml, and once more for the token: less than
/// a container's health check has (3 s).
const READ: Duration = Duration::from_secs(1);

/// The longest answer that is taken, in octets: more than the longest one that
/// is made, a dump with each octet escaped.
const MAX_ANSWER: u64 = 512 << 20;

/// Where the server is and how it lets us in.
#[derive(Debug, Clone, Args)]
pub(super) struct Remote {
    #[command(flatten)]
    pub(super) common: Common,
    /// Bearer token [default: read from `listen.http_token_file`]
    #[arg(long, value_name = "TOKEN", env = "EIPDNS_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// When a command gives up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    whole: Duration,
}

impl Deadline {
    pub(super) fn within(whole: Duration) -> Self {
        let now = Instant::now();
        // So far away that it is never.
        let at = now.checked_add(whole).unwrap_or(now + Duration::from_secs(1 << 30));
        Self { at, whole }
    }

    /// What is left of it.
    pub(super) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// The same, for a socket, for which nothing would be for ever.
    fn for_socket(self) -> io::Result<Duration> {
        let left = self.left();
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    #[error("the server has no HTTP side: set `listen.http` in server.toml and restart it")]
    Off,
    #[error("cannot reach the server at http://{address}: {cause}; is it running?")]
    Unreachable { address: SocketAddr, cause: io::Error },
    #[error(
        "the server at http://{address} is there and has not answered within {}; see its log",
        humantime::format_duration(*.within)
    )]
    Late { address: SocketAddr, within: Duration },
    #[error(
        "the server at http://{address} closed the connection before the whole answer was there \
         ({cause}); it was stopped, or had no place left: see its log, and ask again"
    )]
    Cut { address: SocketAddr, cause: io::Error },
    #[error("the token in {path} cannot be read: {cause}; give it with --token")]
    Token { path: String, cause: io::Error },
    #[error("the server at http://{address} says {status}: {why}")]
    Refused { address: SocketAddr, status: u16, why: String, again: bool },
    #[error("what answers at http://{address} is no eipdns of this version: {why}")]
    Foreign { address: SocketAddr, why: String },
    #[error("server.toml cannot be read, so nothing says where the server is")]
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

    /// Says it, and if there is no server what can be done without one.
    pub(super) fn tell(&self, without_server: &str) -> Exit {
        match self {
            RemoteError::Off | RemoteError::Unreachable { .. } => {
                print::complain(&format_args!("{self} ({without_server})"));
            }
            _ => print::complain(self),
        }
        self.exit()
    }
}

/// Where the server is, for as long as the deadline.
pub(super) struct ServerApi {
    address: SocketAddr,
    token: Option<String>,
    /// Why server.toml said nothing, when something else said where to ask.
    unread: Option<Invalid>,
    pub(super) deadline: Deadline,
}

impl Remote {
    /// Finds out where the server is: flag, environment, or two keys of
    /// server.toml. The rest of the configuration is no matter.
    pub(super) fn client(&self, deadline: Deadline) -> Result<ServerApi, RemoteError> {
        self.find(deadline, true)
    }

    /// The same for what is open to everybody: without a token.
    pub(super) fn stranger(&self, deadline: Deadline) -> Result<ServerApi, RemoteError> {
        self.find(deadline, false)
    }

    fn find(&self, deadline: Deadline, with_token: bool) -> Result<ServerApi, RemoteError> {
        let (reach, unread) = match (self.common.listen_http, &self.token) {
            (Some(_), Some(_)) => (Reach::default(), None),
            (given, _) => match (self.reach(deadline), given) {
                (Ok(reach), _) => (reach, None),
                (Err(invalid), Some(_)) => (Reach::default(), Some(invalid)),
                (Err(invalid), None) => {
                    print_problems(&invalid.problems);
                    return Err(RemoteError::Config);
                }
            },
        };
        let address = self.common.listen_http.or(reach.http).ok_or(RemoteError::Off)?;
        let token = match (&self.token, reach.token_file) {
            _ if !with_token => None,
            (Some(token), _) => Some(token.clone()),
            (None, None) => None,
            (None, Some(path)) => {
                let failed = |cause| RemoteError::Token { path: path.display().to_string(), cause };
                let time = READ.min(deadline.left());
                Some(http::read_token(&path, time).map_err(failed)?)
            }
        };
        Ok(ServerApi { address: of_this_host(address), token, unread, deadline })
    }

    fn reach(&self, deadline: Deadline) -> Result<Reach, Invalid> {
        let common = self.common.clone();
        // Which directory it is, a look at the disk decides, too.
        let named = common.config.clone().unwrap_or_else(|| super::INSTALLED.into());
        config::reach(move || common.directory(), &named, READ.min(deadline.left()))
    }
}

/// A server that listens at every address is asked at loopback.
fn of_this_host(address: SocketAddr) -> SocketAddr {
    match address {
        any if !any.ip().is_unspecified() => any,
        any if any.is_ipv4() => (Ipv4Addr::LOCALHOST, any.port()).into(),
        any => (Ipv6Addr::LOCALHOST, any.port()).into(),
    }
}

/// An answer as it came.
struct Response {
    status: u16,
    /// It may be asked again soon.
    again: bool,
    body: Vec<u8>,
}

/// What of a status says which version wrote it.
#[derive(Deserialize)]
struct Versioned {
    version: String,
}

/// Why an answer cannot be read: most likely the server is of another version.
fn why_foreign(body: &[u8], error: &serde_json::Error) -> String {
    const OURS: &str = env!("CARGO_PKG_VERSION");
    // It may cite what was read, which may be long.
    let error = brief(&error.to_string(), BRIEF);
    match serde_json::from_slice(body) {
        Ok(Versioned { version }) => format!(
            "{error}; it says it is version {}, and this is {OURS}: \
             `eipdns status --json` prints all it says",
            brief(&version, BRIEF)
        ),
        Err(_) => error,
    }
}

impl ServerApi {
    /// GET.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, RemoteError> {
        self.call("GET", path, query)
    }

    /// An answer about fewer things than were asked of is none.
    pub(super) fn expects(&self, has: usize, wanted: usize) -> Result<(), RemoteError> {
        if has == wanted {
            return Ok(());
        }
        let why = format!("{wanted} were asked for and it answers {has}");
        Err(RemoteError::Foreign { address: self.address, why })
    }

    /// Does the server say that it lives?
    pub(super) fn lives(&self) -> Result<(), RemoteError> {
        let Response { status, again, body } = self.exchange("GET", "/livez", &[])?;
        if status == 200 {
            return Ok(());
        }
        let why = brief(&String::from_utf8_lossy(&body), BRIEF);
        Err(RemoteError::Refused { address: self.address, status, why, again })
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
        let Response { status, again, body } = self.exchange(method, path, query)?;
        if status == 200 {
            return serde_json::from_slice(&body).map_err(|error| RemoteError::Foreign {
                address,
                why: why_foreign(&body, &error),
            });
        }
        let why = match serde_json::from_slice(&body) {
            Ok(Refused { error }) => error,
            Err(_) if status == 404 => {
                return Err(RemoteError::Foreign { address, why: format!("it has no {path}") });
            }
            // Some other server's page.
            Err(_) => brief(&String::from_utf8_lossy(&body), BRIEF),
        };
        let why = match (status, self.unread.as_ref().and_then(|u| u.problems.first())) {
            (401 | 403, Some(unread)) => format!("{why}; no token was found: {unread}"),
            _ => why,
        };
        Err(RemoteError::Refused { address, status, why, again })
    }

    /// One request, HTTP/1.0: the answer ends with the connection.
    fn exchange(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Response, RemoteError> {
        let (address, deadline) = (self.address, self.deadline);
        let late = || RemoteError::Late { address, within: deadline.whole };
        let time = deadline.for_socket().map_err(|_| late())?.min(CONNECT);
        let stream = TcpStream::connect_timeout(&address, time)
            .map_err(|cause| RemoteError::Unreachable { address, cause })?;
        let mut stream = Timed { stream, deadline };
        let broken = |cause: io::Error| match cause.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => late(),
            ErrorKind::InvalidData => RemoteError::Foreign { address, why: cause.to_string() },
            _ => RemoteError::Cut { address, cause },
        };
        let head = self.head(method, path, query);
        // A server that refuses early may not read all of it: what it says
        // counts, if it says anything.
        let sent = stream.write_all(head.as_bytes());
        match (read(stream), sent) {
            (Err(cause), Err(_)) | (Err(cause), Ok(())) => Err(broken(cause)),
            (Ok(response), _) => Ok(response),
        }
    }

    fn head(&self, method: &str, path: &str, query: &[(&str, &str)]) -> String {
        let query: Vec<_> = query.iter().map(|(k, v)| format!("{k}={}", escaped(v))).collect();
        let mut head = format!(
            "{method} {path}?{} HTTP/1.0\r\nHost: {}\r\nContent-Length: 0\r\n",
            query.join("&"),
            self.address
        );
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        head + "\r\n"
    }
}

/// Reads an answer to its end; one that ends before is none.
fn read(stream: impl Read) -> io::Result<Response> {
    let odd = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut reader = BufReader::new(stream.take(MAX_ANSWER));
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "it said nothing"));
    }
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| odd("it speaks no HTTP"))?;
    let (mut again, mut length) = (false, None);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let field = line.trim_end();
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':').unwrap_or((field, ""));
        match name.to_ascii_lowercase().as_str() {
            "retry-after" => again = true,
            "content-length" => length = value.trim().parse::<usize>().ok(),
            _ => {}
        }
    }
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    match length {
        Some(length) if length > body.len() => {
            let what = format!("{} of {length} octets", body.len());
            Err(io::Error::new(ErrorKind::UnexpectedEof, what))
        }
        _ => Ok(Response { status, again, body }),
    }
}

/// A connection that ends with the deadline, however little of it each reading
/// and writing takes.
struct Timed {
    stream: TcpStream,
    deadline: Deadline,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.deadline.for_socket()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.deadline.for_socket()?))?;
        self.stream.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::report::Status;

    #[test]
    fn an_answer_that_ends_early_is_none() {
        let read = |text: &str| read(text.as_bytes()).map(|r| (r.status, r.again, r.body.len()));
        let whole = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]";
        assert_eq!(read(whole).unwrap(), (200, false, 2));
        let busy = "HTTP/1.0 503 Busy\r\nretry-after: 1\r\n\r\n";
        assert_eq!(read(busy).unwrap(), (503, true, 0));
        for cut in [&whole[..whole.len() - 1], "", "HTTP/1.0 200 OK\r\nContent-"] {
            assert_eq!(read(cut).unwrap_err().kind(), ErrorKind::UnexpectedEof, "{cut:?}");
        }
        assert_eq!(read("SSH-2.0-x\r\n").unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn an_answer_of_another_version_is_told_as_one() {
        let why = |body: &str| {
            let error = serde_json::from_slice::<Status>(body.as_bytes()).unwrap_err();
            why_foreign(body.as_bytes(), &error)
        };
        let older = why(r#"{"version":"0.0.9"}"#);
        assert!(older.starts_with("missing field `uptime`"), "{older}");
        let ours = env!("CARGO_PKG_VERSION");
        let versions = format!("; it says it is version 0.0.9, and this is {ours}: ");
        assert!(older.contains(&versions), "{older}");
        for no_status in ["{}", "[]", "<html>"] {
            assert!(!why(no_status).contains("it says"), "{no_status}");
        }
        // What is not to be trusted may be long.
        let long = "x".repeat(1 << 20);
        let json = format!(r#"{{"version":"{long}","uptime":"{long}"}}"#);
        assert!(why(&json).len() < 1000, "{}", why(&json).len());
    }

    #[test]
    fn a_server_at_every_address_is_asked_at_loopback() {
        let at = |text: &str| of_this_host(text.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(at("[::]:80"), "[::1]:80");
        assert_eq!(at("10.0.0.53:80"), "10.0.0.53:80");
    }
}
