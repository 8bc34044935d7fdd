//! Credentials from the instance metadata service: renewed in time, used on
//! when a renewal fails, and their absence told as what it is.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::scripted::Ec2;
use super::web::{Request, response};
use super::{answer, asked, bare, configure, refresh, source};
use crate::harness::{Dir, Server};

/// How long the credentials last that the stand-in gives: a little more than
/// the four minutes before their end in which they are renewed.
const LAST: Duration = Duration::from_secs(242);

const ROLE: &str = "/latest/meta-data/iam/security-credentials/";

/// An instance metadata service (EC2 user guide, "Use IMDSv2"): sessions,
/// one role, new keys at each request.
struct Imds {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Keys given so far.
    given: AtomicU32,
    /// There are none at the moment.
    fails: AtomicBool,
    /// Requests that failed for that.
    failed: AtomicU32,
    ended: AtomicBool,
}

impl Imds {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let serves = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if serves.ended.load(Ordering::Relaxed) {
                    return;
                }
                let serves = Arc::clone(&serves);
                // It ends with the connection, however that ends.
                std::thread::spawn(move || drop(serves.serve(connection)));
            }
        });
        Self { address, shared }
    }

    fn given(&self) -> u32 {
        self.shared.given.load(Ordering::Relaxed)
    }
}

impl Drop for Imds {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn serve(&self, connection: TcpStream) -> std::io::Result<()> {
        let mut to = connection.try_clone()?;
        let mut from = BufReader::new(connection);
        while let Some(request) = Request::read(&mut from)? {
            to.write_all(&self.reply(&request))?;
        }
        Ok(())
    }

    fn reply(&self, request: &Request) -> Vec<u8> {
        const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n";
        let plain = |status, body: &str| response(status, "text/plain", "", body);
        if request.method == "PUT" && request.path == "/latest/api/token" {
            assert!(!request.header("x-aws-ec2-metadata-token-ttl-seconds").is_empty());
            return response("200 OK", "text/plain", TTL, "a-session");
        }
        if request.header("x-aws-ec2-metadata-token") != "a-session" {
            return plain("401 Unauthorized", "");
        }
        if self.fails.load(Ordering::Relaxed) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return plain("500 Internal Server Error", "");
        }
        match request.path.strip_prefix(ROLE) {
            Some("") => plain("200 OK", "the-role"),
            Some("the-role") => {
                let key = self.given.fetch_add(1, Ordering::Relaxed) + 1;
                let ends = SystemTime::now() + LAST;
                let keys = json!({
                    "Code": "Success",
                    "LastUpdated": humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
                    "Type": "AWS-HMAC",
                    "AccessKeyId": format!("ASIAKEY{key}"),
                    "SecretAccessKey": "secret",
                    "Token": "token",
                    "Expiration": humantime::format_rfc3339_seconds(ends).to_string(),
                });
                response("200 OK", "application/json", "", &keys.to_string())
            }
            _ => plain("404 Not Found", ""),
        }
    }
}

/// A server on an instance: its credentials come from `imds` alone.
fn on_instance(dir: &Dir, imds: &Imds) -> Server {
    Server::start_with(dir.path(), |command| {
        bare(command);
        command.env_remove("AWS_EC2_METADATA_DISABLED");
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", imds.address));
        command.env("HOME", dir.path());
    })
}

#[test]
fn credentials_are_renewed_without_a_failed_poll() {
    let (ec2, imds) = (Ec2::with(1), Imds::start());
    let dir = configure(&source("east", &ec2.url(), "500ms", ""), "", "n1 = \"75.101.137.1\"");
    let mut server = on_instance(&dir, &imds);
    server.wait_for("source delivers");
    ec2.wait_for_key("call with the first keys", |key| key == "ASIAKEY1");
    // Two seconds later it is time for new ones.
    ec2.wait_for_key("call with later keys", |key| !key.is_empty() && key != "ASIAKEY1");
    assert!(refresh(&server, false).is_empty());

    // The next renewals fail; the keys are good for some minutes.
    imds.shared.fails.store(true, Ordering::Relaxed);
    let given = imds.given();
    let failed = imds.shared.failed.load(Ordering::Relaxed);
    let mut calls = ec2.calls();
    while imds.shared.failed.load(Ordering::Relaxed) == failed {
        calls += 1;
        ec2.wait_for_calls(calls);
    }
    assert!(refresh(&server, false).is_empty());
    assert_eq!(imds.given(), given);

    let source = server.status()["sources"][0].clone();
    assert_eq!(
        (&source["failures"], &source["health"]),
        (&0.into(), &"healthy".into()),
        "{source}"
    );
    assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![]));
}

#[test]
fn an_instance_without_credentials_is_told_so() {
    let (ec2, imds) = (Ec2::with(1), Imds::start());
    imds.shared.fails.store(true, Ordering::Relaxed);
    let dir = configure(&source("east", &ec2.url(), "500ms", ""), "", "n1 = \"75.101.137.1\"");
    let mut server = on_instance(&dir, &imds);
    let stalled = server.wait_for_stall();
    assert_eq!(stalled["fields"]["class"], "imds", "{stalled}");
    assert_eq!(ec2.calls(), 0, "EC2 is not asked without keys");
    imds.shared.fails.store(false, Ordering::Relaxed);
    server.wait_for("source delivers again");
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![]));
}

/// What is wrong with the metadata service is not STS's trouble, nor a route's.
#[test]
fn a_role_without_credentials_of_the_instance_is_told_so() {
    let role = "role_arn = \"arn:aws:iam::111122223333:role/dns\"";
    for reached in [true, false] {
        let (ec2, imds) = (Ec2::with(1), Imds::start());
        imds.shared.fails.store(true, Ordering::Relaxed);
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let at = if reached { imds.address } else { nobody };
        let dir = configure(&source("east", &ec2.url(), "1h", role), "", "n1 = \"75.101.137.1\"");
        let mut server = Server::start_with(dir.path(), |command| {
            bare(command);
            command.env_remove("AWS_EC2_METADATA_DISABLED");
            command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{at}"));
            command.env("AWS_ENDPOINT_URL_STS", ec2.url()).env("HOME", dir.path());
        });
        let stalled = server.wait_for_stall();
        assert_eq!(stalled["fields"]["class"], "imds", "reached: {reached}: {stalled}");
        assert_eq!(ec2.calls(), 0);
    }
}

/// No keys anywhere and no instance.
#[test]
fn no_credentials_at_all() {
    let ec2 = Ec2::with(1);
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", "n1 = \"75.101.137.1\"");
    let mut server = Server::start_with(dir.path(), |command| {
        bare(command);
        command.env("HOME", dir.path());
    });
    let stalled = server.wait_for_stall();
    assert_eq!(stalled["fields"]["class"], "credentials", "{stalled}");
    let error = stalled["fields"]["error"].as_str().unwrap();
    assert!(error.contains("give the instance a role"), "{error}");
    assert_eq!(ec2.calls(), 0);
}
