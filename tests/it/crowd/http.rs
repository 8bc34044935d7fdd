//! The HTTP side, and who would hold it.

use std::io::Write;
use std::net::TcpStream;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::fixtures::connections::{
    ask, connect_from, is_closed, many_descriptors, start_with_descriptors, until_closed,
};
use crate::fixtures::promtool::Scrape;
use crate::fixtures::waiting::eventually;
use crate::harness::{Dir, PATIENCE, Server, http_get};

/// A server with an HTTP side; `more` is appended to its server.toml.
fn dir(more: &str) -> Dir {
    let dir = Dir::with_db(more);
    dir.http();
    dir
}

/// More connections than there are descriptors: silent ones, half requests,
/// and kept-alive ones.
#[test]
fn idle_connections_take_nothing_from_anybody() {
    let dir = dir("");
    let mut server = start_with_descriptors(dir.path(), 1024);
    let http = server.http();
    let idle: Vec<TcpStream> = (0..1100)
        .map(|nth| {
            let stream = TcpStream::connect(&http).unwrap();
            let sent = match nth % 3 {
                0 => String::new(),
                1 => format!("GET /livez HTTP/1.1\r\nHost: {http}\r\nX-Half: "),
                _ => format!("GET /livez HTTP/1.1\r\nHost: {http}\r\n\r\n"),
            };
            // It may have been closed for another one already.
            let _ = (&stream).write_all(sent.as_bytes());
            stream
        })
        .collect();

    let answer = ask(&connect_from([127, 0, 0, 1], server.dns), "db.example.com.").unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    server.moves(&dir, "10.0.1.6");
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.6"]);
    assert!(http_get(&http, "/livez", "").starts_with("HTTP/1.0 200 "));
    let out = server.command(&dir, &["status"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(idle.iter().filter(|stream| !is_closed(stream)).count() <= 300);
    assert!(server.metric("eipdns_http_connections_total{event=\"evicted\"}") >= 800.0);
}

/// Resident memory in KiB.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// 800 requests whose headers come without end.
#[test]
fn half_requests_hold_no_memory_to_speak_of() {
    let dir = dir("");
    let server = Server::start(dir.path());
    let http = server.http();
    many_descriptors();
    let before = resident(&server);
    let header = format!("X-Long: {}\r\n", "x".repeat(8_000));
    let half: Vec<TcpStream> = (0..800)
        .map(|_| {
            let stream = TcpStream::connect(&http).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let begin = format!("GET /livez HTTP/1.1\r\nHost: {http}\r\n");
            let _ = (&stream).write_all(begin.as_bytes());
            for _ in 0..48 {
                if (&stream).write_all(header.as_bytes()).is_err() {
                    break;
                }
            }
            stream
        })
        .collect();
    assert!(http_get(&http, "/livez", "").starts_with("HTTP/1.0 200 "));
    let after = resident(&server);
    assert!(after < before + 32 * 1024, "{before} KiB, then {after} KiB");
    drop(half);
}

/// What each request, and each connection that never has one, comes to.
#[test]
fn bad_requests_are_refused_and_slow_ones_end() {
    let dir = dir("");
    let server = Server::start(dir.path());
    let http = server.http();
    let said = |request: &str| {
        let stream = TcpStream::connect(&http).unwrap();
        (&stream).write_all(request.as_bytes()).unwrap();
        let all = String::from_utf8(until_closed(&stream)).unwrap();
        all.lines().next().unwrap_or_default().to_owned()
    };
    let host = format!("Host: {http}\r\n");
    let long = format!("X-Long: {}\r\n", "x".repeat(4_000)).repeat(5);
    let many = "X: y\r\n".repeat(200);
    for (request, status) in [
        (format!("GET /livez HTTP/1.1\r\n{host}"), 200),
        ("GET /livez HTTP/1.1\r\n".into(), 400),
        ("GET /livez HTTP/1.1\r\nHost:\r\n".into(), 400),
        (format!("GET /livez HTTP/1.1\r\n{host}{host}"), 400),
        (format!("GET /livez HTTP/1.1\r\n{host}Host: evil.example\r\n"), 400),
        ("GET /livez HTTP/1.1\r\nHost: evil.example\r\n".into(), 421),
        (format!("GET /livez HTTP/1.1\r\nHost: user@{http}\r\n"), 400),
        (format!("GET http://evil.example/livez HTTP/1.1\r\n{host}"), 400),
        (format!("GET http://{http}/livez HTTP/1.1\r\n{host}"), 400),
        (format!("OPTIONS * HTTP/1.1\r\n{host}"), 400),
        (format!("CONNECT {http} HTTP/1.1\r\n{host}"), 400),
        (format!("GET /livez HTTP/1.1\r\n{host}{long}"), 431),
        (format!("GET /livez HTTP/1.1\r\n{host}{many}"), 431),
        (format!("POST /api/refresh HTTP/1.1\r\n{host}Content-Length: 100000\r\n"), 413),
        (format!("GET /livez HTTP/1.1\r\n{host}Origin: http://evil.example\r\n"), 403),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n".into(), 400),
        ("no request at all\r\n".into(), 400),
    ] {
        let line = said(&format!("{request}Connection: close\r\n\r\n"));
        let expected = format!("HTTP/1.1 {status} ");
        assert!(line.starts_with(&expected), "{request:.200}: {line}, not {status}");
    }

    // Neither a silent one nor a half request is waited for without end.
    let silent = TcpStream::connect(&http).unwrap();
    let half = TcpStream::connect(&http).unwrap();
    (&half).write_all(format!("GET /livez HTTP/1.1\r\n{host}").as_bytes()).unwrap();
    let body = TcpStream::connect(&http).unwrap();
    let request = format!("POST /api/refresh HTTP/1.1\r\n{host}Content-Length: 10\r\n\r\nhalf");
    (&body).write_all(request.as_bytes()).unwrap();
    assert_eq!(until_closed(&silent), b"");
    assert_eq!(until_closed(&half), b"");
    assert!(until_closed(&body).starts_with(b"HTTP/1.1 408 "));

    // A connection is counted when its task has ended.
    eventually("both are counted", || {
        server.metric("eipdns_http_connections_total{event=\"slow\"}") == 2.0
    });
    let metrics = Scrape::of(&http);
    let requests =
        |status: u16| metrics.value("eipdns_http_requests_total", &format!("status=\"{status}\""));
    assert_eq!(requests(421), 1.0);
    assert_eq!(requests(403), 1.0);
    assert_eq!(requests(413), 1.0);
}

/// Who has no token is told so before a body was read; with one, all is well.
#[test]
fn the_token_comes_before_the_body() {
    let dir = dir("");
    dir.write("token", "s3cret\n");
    dir.listen("http_token_file = \"token\"");
    let server = Server::start(dir.path());
    let http = server.http();
    for (token, first) in [("wr0ng!", "HTTP/1.1 401 "), ("s3cret", "HTTP/1.1 100 ")] {
        let stream = TcpStream::connect(&http).unwrap();
        let request = format!(
            "POST /api/refresh HTTP/1.1\r\nHost: {http}\r\nAuthorization: Bearer {token}\r\n\
             Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        );
        (&stream).write_all(request.as_bytes()).unwrap();
        let mut said = [0; 13];
        std::io::Read::read_exact(&mut &stream, &mut said).unwrap();
        assert_eq!(std::str::from_utf8(&said).unwrap(), first);
        if token == "s3cret" {
            (&stream).write_all(b"{}").unwrap();
            let rest = String::from_utf8(until_closed(&stream)).unwrap();
            assert!(rest.contains("HTTP/1.1 200 "), "{rest}");
        }
    }
}

/// A stop gives requests under way their answers and waits for no idle client.
#[test]
fn a_stop_waits_for_no_idle_connection() {
    let dir = dir("");
    let mut server = Server::start(dir.path());
    let http = server.http();
    let kept = TcpStream::connect(&http).unwrap();
    let request = format!("GET /livez HTTP/1.1\r\nHost: {http}\r\n\r\n");
    (&kept).write_all(request.as_bytes()).unwrap();
    let mut said = [0; 12];
    std::io::Read::read_exact(&mut &kept, &mut said).unwrap();
    assert_eq!(&said, b"HTTP/1.1 200");
    let silent = TcpStream::connect(&http).unwrap();
    // That it does not wait for its deadline is tested without a clock where the
    // connections are kept (`http::tests`).
    server.signal("TERM");
    assert!(server.ended().success());
    until_closed(&kept);
    until_closed(&silent);
}
