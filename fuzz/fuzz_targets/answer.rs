//! Octets to an answer: the very function every transport calls.
//!
//! The first octet chooses the client and the transport, the rest is the
//! request.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::LazyLock;

use eipdns::answer::{Ahead, AheadBuffer, Asker, Outcome, Transport, answer, ordinary};
use eipdns::cli::offline::Offline;
use eipdns::config::{self, Overrides};
use eipdns::dns::wire::MAX_UDP;
use eipdns::snapshot::Snapshot;
use eipdns::source::once;
use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;

/// One in each view of `zones/`, and one in none.
const CLIENTS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 1, 2, 3),
    Ipv4Addr::new(10, 9, 2, 3),
    Ipv4Addr::new(192, 0, 2, 3),
    Ipv4Addr::new(198, 51, 100, 3),
];

/// A question for www.example.com, A.
const OTHER: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01";

/// What fits without EDNS (RFC 1035 section 4.2.1).
const PLAIN_UDP: usize = 512;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let zones = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones");
    let config =
        config::load(&zones, &Overrides::default()).unwrap_or_else(|e| panic!("{e}")).config;
    let inventory = once::inventory(&config);
    Offline::new(&config, inventory).current.snapshot
});

fuzz_target!(|data: &[u8]| {
    let Some((&choice, request)) = data.split_first() else { return };
    let asker = Asker {
        client: SocketAddr::new(IpAddr::V4(CLIENTS[usize::from(choice & 3)]), 4711),
        local: SocketAddr::from(([127, 0, 0, 1], 53)),
    };
    let transport = if choice & 4 == 0 { Transport::Udp } else { Transport::Tcp };

    let mut reply = b"left over".to_vec();
    let outcome = answer(&SNAPSHOT, &asker, transport, request, &mut (), &mut reply);
    let mut compared = Vec::new();
    assert_eq!(ordinary(&SNAPSHOT, &asker, transport, request, &mut (), &mut compared), outcome);
    assert_eq!(compared, reply, "the prebuilt answer is another");
    if transport == Transport::Udp {
        // As a worker does with a batch, from this view and another.
        let other = Asker { client: SocketAddr::new(IpAddr::V4(CLIENTS[0]), 4711), ..asker };
        let mut buffer = AheadBuffer::default();
        for (first, all) in [(asker, [OTHER, request]), (other, [request, request])] {
            let Some(ahead) = Ahead::read(&SNAPSHOT, &first, all.into_iter(), &mut buffer) else {
                continue;
            };
            // The third was not read ahead.
            for nth in 1..3 {
                assert_eq!(ahead.answer(nth, &asker, request, &mut (), &mut compared), outcome);
                assert_eq!(compared, reply, "the answer read ahead is another");
            }
        }
    }
    let Outcome::Reply { rcode, .. } = outcome else {
        assert!(reply.is_empty(), "dropped, yet there is a reply");
        return;
    };
    let message = Message::from_vec(&reply).expect("a reply can be read");
    let most = match (transport, &message.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, Some(_)) => MAX_UDP,
        (Transport::Udp, None) => PLAIN_UDP,
    };
    assert!(reply.len() <= most, "{} octets, {most} fit", reply.len());
    assert_eq!(reply[..2], request[..2], "another message's id");
    assert_eq!(reply[2] & 0x80, 0x80, "not a response");
    assert_eq!(u16::from(reply[3] & 15), u16::from(rcode) & 15, "the outcome counts another rcode");
    if !message.queries.is_empty() {
        // In the asker's case: some clients compare (0x20).
        let end =
            12 + eipdns::dns::name::wire_len(&reply[12..]).expect("no pointer in the question") + 4;
        assert_eq!(reply[12..end], request[12..end], "another question");
    }

    let mut again = Vec::new();
    assert_eq!(answer(&SNAPSHOT, &asker, transport, request, &mut (), &mut again), outcome);
    assert_eq!(again, reply, "the same question, another answer");
});
