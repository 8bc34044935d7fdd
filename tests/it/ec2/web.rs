//! HTTP/1.1 as far as the stand-ins and the tests need it.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::PATIENCE;

/// What a client of a stand-in asked.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// By name in lower case.
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Request {
    /// The next one on a connection; none at its end.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let mut request = Self {
            method: words.next().unwrap_or_default().into(),
            path: words.next().unwrap_or_default().into(),
            ..Self::default()
        };
        request.headers = headers(from)?;
        let length = request.headers.get("content-length").map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        request.body = String::from_utf8(body).unwrap();
        Ok(Some(request))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A parameter of a form, as it was escaped.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The access key it is signed with, or says it is.
    pub(super) fn access_key(&self) -> &str {
        let (_, rest) = self.header("authorization").split_once("Credential=").unwrap_or_default();
        rest.split('/').next().unwrap_or_default()
    }
}

fn headers(from: &mut impl BufRead) -> io::Result<HashMap<String, String>> {
    let mut all = HashMap::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(all) };
        all.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

/// A whole response.
pub(super) fn response(status: &str, content_type: &str, more: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{more}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Status and body of a GET.
pub(super) fn get(at: SocketAddr, path: &str) -> (u16, String) {
    exchange(at, &format!("GET {path} HTTP/1.1\r\n"), "")
}

/// Status and body of a POST without a body.
pub(super) fn post(at: SocketAddr, path: &str) -> (u16, String) {
    exchange(at, &format!("POST {path} HTTP/1.1\r\n"), "")
}

/// Status and body of a POST of a text.
pub(super) fn post_text(at: SocketAddr, path: &str, text: &str) -> (u16, String) {
    exchange(at, &format!("POST {path} HTTP/1.1\r\n"), text)
}

/// Status and body of a form that is posted with an Authorization header and
/// what `more` says.
pub(super) fn form(at: SocketAddr, more: &str, form: &str) -> (u16, String) {
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    exchange(at, &format!("POST / HTTP/1.1\r\n{kind}{more}"), form)
}

fn exchange(at: SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request =
        format!("{head}Host: {at}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).expect("a status line").parse().unwrap();
    let headers = headers(&mut reader).unwrap();
    let mut body = Vec::new();
    match headers.get("content-length") {
        Some(length) => {
            body.resize(length.parse().unwrap(), 0);
            reader.read_exact(&mut body).unwrap();
        }
        None => drop(reader.read_to_end(&mut body).unwrap()),
    }
    (status, String::from_utf8(body).unwrap())
}
