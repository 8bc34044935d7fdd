//! For all octets: no panic. For all messages: the same records come out.

use std::net::Ipv4Addr;

use hickory_proto::op::{self, MessageType, OpCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NAPTR, NULL, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record};
use proptest::prelude::*;

use super::{Draft, asks_a, name};
use crate::dns::name::Key;
use crate::forward::hit::Hit;
use crate::forward::message::UpstreamReply;
use crate::forward::{Edns, Query, Question, compose};

/// Everything that may be done with a reply, short of sending it.
fn use_up(octets: &[u8], qname: &[u8]) {
    let question = asks_a(qname);
    let Ok(UpstreamReply::Answer(message)) = UpstreamReply::read(octets, &question) else { return };
    for record in message.records() {
        let _ = (record.uncompressed(), record.address(), format!("{record:?}"));
    }
    let hit = Hit::new(message);
    let _ = (hit.answers(), hit.denial(), hit.message().aliases().count());
    let rewritten = hit.rewrite(|old| Some((Ipv4Addr::from(u32::from(old) ^ 1), 5)));
    let wire = question.wire();
    for hit in [Some(&hit), rewritten.as_ref()].into_iter().flatten() {
        for (limit, edns) in [(512, None), (1232, Some(Edns { dnssec_ok: true, options: &[] }))] {
            let query = Query { head: [1, 2, 1, 0x30], question: &wire, limit, edns };
            let mut reply = Vec::new();
            compose(hit, &query, &[], &mut reply);
            assert!(reply.len() <= limit);
        }
    }
}

/// A message with much in it to be broken.
fn rich() -> Vec<u8> {
    let qname = name("db.example.");
    let soa =
        [&b"\x02ns\xc0\x0c\x04host\xc0\x0f"[..], &[0, 0, 0, 9, 0, 0, 0, 9], &[0; 12]].concat();
    Draft::to(&asks_a(&qname))
        .record(super::ANSWER, super::SAME, 5, 300, b"\x01x\xc0\x0f")
        .record(super::ANSWER, b"\x01x\xc0\x0f", 1, 300, &[192, 0, 2, 1])
        .record(super::ANSWER, b"\x01x\xc0\x0f", 1, 300, &[192, 0, 2, 0])
        .record(super::AUTHORITY, b"\xc0\x0f", 6, 300, &soa)
        .record(super::ADDITIONAL, b"\xc0\x0f", 33, 300, b"\0\x01\0\x01\0\x35\x01x\xc0\x0f")
        .record(super::ADDITIONAL, b"\xc0\x0f", 35, 300, b"\0\x01\0\x01\x01a\x01b\x01c\xc0\x0f")
        .opt(&super::option(15, b"\0\x06bogus"))
        .record(super::ADDITIONAL, b"\x01y\xc0\x0f", 15, 300, b"\0\x01\xc0\x0f")
        .0
}

fn labels() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "db.example.",
        "DB.Example.",
        "x.db.example.",
        "a.b.c.d.example.",
        "example.",
        "mail.other.",
        ".",
        "xn--bcher-kva.example.",
    ])
    .prop_map(str::to_owned)
}

fn names() -> impl Strategy<Value = Name> {
    labels().prop_map(|text| Name::from_ascii(text).unwrap())
}

fn data() -> impl Strategy<Value = RData> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|a| RData::A(A(a.into()))),
        any::<[u8; 16]>().prop_map(|a| RData::AAAA(AAAA(a.into()))),
        names().prop_map(|name| RData::CNAME(CNAME(name))),
        (any::<u16>(), names()).prop_map(|(preference, name)| RData::MX(MX::new(preference, name))),
        (names(), names(), any::<u32>()).prop_map(|(mname, rname, serial)| RData::SOA(SOA::new(
            mname, rname, serial, 1, 2, 3, 4
        ))),
        (any::<u16>(), names()).prop_map(|(port, name)| RData::SRV(SRV::new(1, 2, port, name))),
        names().prop_map(|name| RData::NAPTR(NAPTR::new(
            1,
            2,
            b"u".to_vec().into(),
            b"E2U+sip".to_vec().into(),
            b"!^.*$!sip:a@b!".to_vec().into(),
            name
        ))),
        "[a-z]{0,40}".prop_map(|text| RData::TXT(TXT::new(vec![text]))),
        prop::collection::vec(any::<u8>(), 1..40)
            .prop_map(|octets| RData::Unknown { code: 65_534.into(), rdata: NULL::with(octets) }),
    ]
}

fn records(most: usize) -> impl Strategy<Value = Vec<Record>> {
    let record = (names(), 0u32..=86_400, data())
        .prop_map(|(name, ttl, data)| Record::from_rdata(name, ttl, data));
    prop::collection::vec(record, 0..most)
}

/// What a section says, spelling of names included.
fn texts<'r>(records: impl IntoIterator<Item = &'r Record>) -> Vec<String> {
    records.into_iter().map(|r| format!("{} {:?} {}", r.name, r.dns_class, r.data)).collect()
}

proptest! {
    #[test]
    fn octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        use_up(&octets, &name("db.example."));
    }

    #[test]
    fn octets_behind_a_good_head_never_panic(
        counts in any::<[u8; 3]>(),
        octets in prop::collection::vec(prop_oneof![
            any::<u8>(),
            prop::sample::select(vec![0, 1, 2, 6, 0x0c, 15, 41, 46, 0xc0]),
        ], 0..600),
    ) {
        let qname = name("db.example.");
        let mut draft = Draft::to(&asks_a(&qname)).0;
        for (at, count) in [7, 9, 11].into_iter().zip(counts) {
            draft[at] = count % 5;
        }
        draft.extend_from_slice(&octets);
        use_up(&draft, &qname);
    }

    #[test]
    fn broken_messages_never_panic(
        breaks in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut octets = rich();
        for (at, to) in breaks {
            let at = at.index(octets.len());
            octets[at] = to;
        }
        if cut {
            octets.truncate(end.index(octets.len()));
        }
        use_up(&octets, &name("db.example."));
    }

    /// What hickory writes comes out of us as hickory reads it: in its place,
    /// and written anew.
    #[test]
    fn all_records_come_out_as_they_went_in(
        mut answers in records(6),
        authorities in records(4),
        additionals in records(4),
        asked in labels(),
    ) {
        let folded = Key::parse(&asked, None).unwrap();
        // All that stands at the name is an answer to ANY.
        let question = Question { rtype: 255, ..asks_a(folded.octets()) };
        for answer in &mut answers {
            answer.name = Name::from_ascii(&asked).unwrap();
        }
        let mut message = op::Message::new(7, MessageType::Response, OpCode::Query);
        message.metadata.recursion_available = true;
        message.add_query(op::Query::query(folded.to_name(), 255.into()));
        message.answers = answers;
        message.authorities = authorities;
        message.additionals = additionals;
        let octets = message.to_vec().unwrap();

        let Ok(UpstreamReply::Answer(taken)) = UpstreamReply::read(&octets, &question) else {
            panic!("not taken: {message:?}");
        };
        let anew = taken.edited(|record| Some((record.ttl, None))).unwrap();
        let wire = question.wire();
        let query = Query { head: [0, 7, 1, 0], question: &wire, limit: 65_535, edns: None };
        for hit in [Hit::new(taken), Hit::new(anew)] {
            let mut reply = Vec::new();
            compose(&hit, &query, &[], &mut reply);
            let came = op::Message::from_vec(&reply).unwrap();
            prop_assert_eq!(texts(&came.answers), texts(&message.answers));
            prop_assert_eq!(texts(&came.authorities), texts(&message.authorities));
            prop_assert_eq!(texts(&came.additionals), texts(&message.additionals));
            let soa = |records: &[Record]| records.iter().any(|r| r.record_type() == 6.into());
            if !soa(&message.authorities) {
                let ttls = |m: &op::Message| m.all_sections().map(|r| r.ttl).collect::<Vec<_>>();
                prop_assert_eq!(ttls(&came), ttls(&message));
            }
        }
    }

    /// Whatever order it came in: each answer stands at the question's name or
    /// where an alias before it leads, and none is there that was not.
    #[test]
    fn a_stub_can_walk_what_comes_out(answers in records(8)) {
        let qname = name("db.example.");
        let question = asks_a(&qname);
        let mut message = op::Message::new(7, MessageType::Response, OpCode::Query);
        message.metadata.recursion_available = true;
        let asked = Name::from_ascii("db.example.").unwrap();
        message.add_query(op::Query::query(asked.clone(), 1.into()));
        message.answers = answers;
        let starts = message.answers.iter().any(|r| {
            r.name == asked && matches!(r.data, RData::A(_) | RData::CNAME(_))
        });
        let read = UpstreamReply::read(&message.to_vec().unwrap(), &question);
        if !starts && !message.answers.is_empty() {
            prop_assert!(read.is_err());
            return Ok(());
        }
        let Ok(UpstreamReply::Answer(taken)) = read else { panic!("not taken: {message:?}") };
        let mut reachable = vec![asked];
        for record in Hit::new(taken).answers().unwrap() {
            prop_assert!(message.answers.contains(&record));
            prop_assert_eq!(Some(&record.name), reachable.last());
            match record.data {
                RData::CNAME(target) => reachable.push(target.0),
                data => prop_assert!(matches!(data, RData::A(_))),
            }
        }
    }

    /// And octet for octet but for ID, flags and OPT, when nothing stands
    /// behind the OPT.
    #[test]
    fn a_reply_is_a_copy(mut answers in records(6), additionals in records(3)) {
        let qname = name("db.example.");
        let question = Question { rtype: 255, ..asks_a(&qname) };
        for answer in &mut answers {
            answer.name = Name::from_ascii("db.example.").unwrap();
        }
        let mut message = op::Message::new(7, MessageType::Response, OpCode::Query);
        message.metadata.recursion_available = true;
        message.add_query(op::Query::query(Name::from_ascii("db.example.").unwrap(), 255.into()));
        message.answers = answers;
        message.additionals = additionals;
        let without = message.to_vec().unwrap();
        message.edns = Some(op::Edns::new());
        let octets = message.to_vec().unwrap();

        let Ok(UpstreamReply::Answer(taken)) = UpstreamReply::read(&octets, &question) else {
            panic!("not taken: {message:?}");
        };
        let wire = question.wire();
        let query = Query { head: [0, 7, 0, 0], question: &wire, limit: 65_535, edns: None };
        let mut reply = Vec::new();
        compose(&Hit::new(taken), &query, &[], &mut reply);
        prop_assert_eq!(reply, without);
    }
}
