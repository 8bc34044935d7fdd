//! Upstreams that send an answer's records in an order of their own: what is
//! handed on stands as a stub resolver walks it.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::Client;
use crate::fixtures::daemon::{Daemon, free_port};
use crate::fixtures::namespace::Namespace;
use crate::fixtures::upstream::Upstream;
use crate::harness::{Dir, Server, remarks};
use crate::peers;

const ZONE: &str = "records = \"records.zone\"\n";
const RECORDS: &str = "$TTL 5\nalias CNAME a.test.\nlost CNAME lost.test.\n";

#[test]
fn answers_are_handed_on_in_order() {
    let upstream = Upstream::start(|asked| match asked.label().as_str() {
        "a" => asked
            .with(&[
                "c.test. 300 A 192.0.2.7",
                "beside.test. 300 A 192.0.2.66",
                "b.test. 300 CNAME c.test.",
                "a.test. 300 CNAME b.test.",
            ])
            .into(),
        _ => asked.with(&["beside.test. 300 A 192.0.2.66"]).into(),
    });
    let dir = Dir::forwarding(&[upstream.at], "");
    dir.write("example.com.toml", ZONE);
    dir.write("records.zone", RECORDS);
    let server = Server::start(dir.path());
    let client = Client::of(server.dns);
    for _ in ["new", "from the cache"] {
        assert_eq!(client.data("a.test.", RecordType::A), ["b.test.", "c.test.", "192.0.2.7"]);
        let ours = client.data("alias.example.com.", RecordType::A);
        assert_eq!(ours, ["a.test.", "b.test.", "c.test.", "192.0.2.7"]);
    }
    assert_eq!(upstream.count("a.test."), 1);
    for name in ["lost.example.com.", "lost.test."] {
        let told = client.ask(name, RecordType::A);
        assert_eq!(told.metadata.response_code, ResponseCode::ServFail, "{name}");
        let why = remarks(&told);
        let text = "a reply that makes no sense: no answer is for the name asked for";
        assert!(why.iter().any(|(_, why)| why.ends_with(text)), "{why:?}");
    }
}

/// Answers each question for A with two addresses before the alias.
const BACKWARDS: &str = r#"
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", int(sys.argv[1])))
print("serving", flush=True)
record = lambda owner, t, data: owner + bytes([0, t, 0, 1, 0, 0, 1, 44, 0, len(data)]) + data
target = b"\x01b\x04test\0"
while True:
    q, client = s.recvfrom(4096)
    end = q.index(b"\0", 12) + 5
    is_a = q[end - 4:end - 2] == b"\0\1"
    addresses = record(target, 1, bytes([192, 0, 2, 80])) if is_a else b""
    head = q[:2] + b"\x81\x80\0\1\0" + bytes([1 + is_a]) + b"\0\0\0\0"
    s.sendto(head + q[12:end] + addresses + record(b"\xc0\x0c", 5, target), client)
"#;

/// glibc reads an answer once, from the front.
#[test]
fn glibc_finds_the_address_behind_an_alias() {
    let Some(namespace) = Namespace::new(&["10.0.1.5/32"]) else { return };
    let (Some(python), Some(getent)) = (peers::need("python3"), peers::need("getent")) else {
        return;
    };
    let at = free_port();
    let mut command = namespace.command(python);
    command.args(["-c", BACKWARDS, &at.port().to_string()]);
    let _upstream = Daemon::start(command, at, tempfile::tempdir().unwrap(), "serving");
    let dir = Dir::forwarding(&[at], "");
    dir.write("example.com.toml", ZONE);
    dir.write("records.zone", RECORDS);
    let _server = namespace.server(&dir, "127.0.0.1:53");
    namespace.resolv_conf("nameserver 127.0.0.1\n");
    for name in ["a.test", "alias.example.com"] {
        for _ in ["new", "from the cache"] {
            let said = namespace.said(&getent, &["ahostsv4", name]).unwrap_or_default();
            assert!(said.starts_with("192.0.2.80 "), "{name}: {said}");
        }
    }
}
