//! How answers travel: whole, and in fragments only where the link has no room
//! for them.

use hickory_proto::rr::RecordType;

use crate::fixtures::namespace::Namespace;
use crate::harness::{Dir, query};
use crate::peers;

/// Asks what is in the last argument, in hexadecimal, at port 53 of the first;
/// prints the reply's length, whether it is truncated, and whether it came with
/// "don't fragment" (RFC 791 section 3.1).
const ASK: &str = r#"
import socket, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for each in raw, asker: each.settimeout(10)
asker.connect((sys.argv[1], 53))
asker.send(bytes.fromhex(sys.argv[2]))
reply = asker.recv(4096)
ports = (53).to_bytes(2, "big") + asker.getsockname()[1].to_bytes(2, "big")
while (packet := raw.recv(65535))[20:24] != ports: pass
print(len(reply), reply[2] >> 1 & 1, packet[6] >> 6 & 1)
"#;

/// Octets of text in the large answers: too many for the narrow link, and few
/// enough for what the asker takes.
const LARGE: usize = 4 * 225;

#[test]
fn answers_are_whole_unless_the_link_is_too_narrow() {
    let (Some(python), Some(ip)) = (peers::need("python3"), peers::need("ip")) else { return };
    let Some(namespace) = Namespace::new(&[]) else { return };
    let text = format!("\"{}\" ", "x".repeat(LARGE / 4)).repeat(4);
    let Some(upstream) = namespace.unbound(&format!(
        "server:\n local-zone: \"foreign.test.\" static\n \
         local-data: 'foreign.test. 60 IN SOA ns.foreign.test. host.test. 1 2 3 4 5'\n \
         local-data: 'large.foreign.test. 60 IN TXT {text}'\n"
    )) else {
        return;
    };
    let start = |at: &str| {
        let dir = Dir::forwarding(&[upstream.at], "");
        let zone = "records = \"records.zone\"\n[names]\ndb = { address = \"10.0.1.5\" }\n";
        dir.write("example.com.toml", zone);
        dir.write("records.zone", &format!("large 5 TXT {text}\n"));
        let server = namespace.server(&dir, &format!("{at}:53"));
        (dir, server)
    };
    let ask = |at: &str, name: &str, rtype: RecordType| {
        let mut query = query(name, rtype);
        query.edns.as_mut().unwrap().set_max_payload(1232);
        let octets = query.to_vec().unwrap();
        let octets: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let said = namespace.said(&python, &["-c", ASK, at, &octets]).unwrap();
        let said: Vec<usize> = said.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let [length, truncated, whole] = said[..] else { panic!("{said:?}") };
        assert_eq!(truncated, 0, "{name} at {at}");
        assert_eq!(length > LARGE, rtype == RecordType::TXT, "{name} at {at}: {length} octets");
        whole == 1
    };

    // One server for each way an answer is sent.
    let ours = "127.0.0.1";
    let theirs = "127.0.0.2";
    let _servers = [ours, theirs].map(start);
    assert!(ask(ours, "db.example.com.", RecordType::A));
    assert!(ask(ours, "large.example.com.", RecordType::TXT));
    assert!(ask(theirs, "db.example.com.", RecordType::A));

    let narrow = namespace.run(&ip, &["link", "set", "lo", "mtu", "600"]);
    assert!(narrow.status.success(), "{narrow:?}");
    assert!(ask(ours, "db.example.com.", RecordType::A));
    for _ in 0..2 {
        assert!(!ask(ours, "large.example.com.", RecordType::TXT));
        assert!(ask(ours, "db.example.com.", RecordType::A));
    }
    // Asked elsewhere, and waited for.
    assert!(!ask(theirs, "large.foreign.test.", RecordType::TXT));
}
