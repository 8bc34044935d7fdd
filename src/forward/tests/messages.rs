//! A reply in, a reply out.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use hickory_proto::op;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};

use super::{ADDITIONAL, ANSWER, AUTHORITY, Draft, SAME, asks_a, name, option};
use crate::answer::Transport;
use crate::dns::ede::Remark;
use crate::dns::name::wire_len;
use crate::dns::wire::overlay;
use crate::dns::wire::{HEADER, MAX_UDP};
use crate::forward::cache::{CACHE_BYTES, Cache, FAILURE_TTL, Failing, RECHECK, STALE_FOR};
use crate::forward::hit::{Age, Hit, STALE_TTL};
use crate::forward::message::{MAX_NEGATIVE_TTL, MAX_TTL, Message, UpstreamReply};
use crate::forward::wire::Malformed;
use crate::forward::{Edns, Query, Question, compose};

/// A request for A records, in the case given.
fn request(name: &[u8], flags: [u8; 2], opt: Option<(u16, bool, &[u8])>) -> Vec<u8> {
    let mut octets = vec![0xab, 0xcd, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, 0];
    octets.extend_from_slice(name);
    octets.extend_from_slice(&[0, 1, 0, 1]);
    if let Some((payload, dnssec_ok, options)) = opt {
        octets[11] = 1;
        octets.extend_from_slice(&[0, 0, 41]);
        octets.extend_from_slice(&payload.to_be_bytes());
        octets.extend_from_slice(&[0, 0, if dnssec_ok { 0x80 } else { 0 }, 0]);
        octets.extend_from_slice(&(options.len() as u16).to_be_bytes());
        octets.extend_from_slice(options);
    }
    octets
}

/// A [`request`], as it is composed for.
fn read(request: &[u8], transport: Transport) -> Query<'_> {
    let (asked, opt) = request.split_at(HEADER + wire_len(&request[HEADER..]).unwrap() + 4);
    let edns = opt.split_at_checked(11).map(|(fixed, options)| {
        let payload = u16::from_be_bytes([fixed[3], fixed[4]]);
        (usize::from(payload), Edns { dnssec_ok: fixed[7] & 0x80 != 0, options })
    });
    let limit = match transport {
        Transport::Udp => edns.map_or(512, |(payload, _)| payload.clamp(512, MAX_UDP)),
        Transport::Tcp => 65_535,
    };
    let (head, question) = (*asked.first_chunk().unwrap(), &asked[HEADER..]);
    Query { head, question, limit, edns: edns.map(|(_, edns)| edns) }
}

fn composed(hit: &Hit, request: &[u8], transport: Transport) -> Vec<u8> {
    let query = read(request, transport);
    let mut reply = vec![0xff; 3];
    compose(hit, &query, &[], &mut reply);
    reply
}

fn parse(octets: &[u8]) -> op::Message {
    op::Message::from_vec(octets).unwrap()
}

fn addresses(message: &op::Message) -> Vec<(Ipv4Addr, u32)> {
    let address = |record: &hickory_proto::rr::Record| match record.data {
        RData::A(a) => Some((a.0, record.ttl)),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}

const RD: [u8; 2] = [1, 0];

#[test]
fn the_asker_gets_its_own_question_and_flags_back() {
    let db = name("db.example.");
    let draft = Draft::to(&asks_a(&db)).flags(0x04, 0x20).a(300, [192, 0, 2, 1]);
    let hit = Hit::new(draft.message(&asks_a(&db)));
    let asked = b"\x02dB\x07eXample\0";

    let plain = composed(&hit, &request(asked, RD, None), Transport::Udp);
    let records = b"\xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\xc0\0\x02\x01";
    // QR RD, RA; no AA, and no AD for who did not ask.
    let head = b"\xab\xcd\x81\x80\0\x01\0\x01\0\0\0\0";
    assert_eq!(plain, [&head[..], asked, &[0, 1, 0, 1], records].concat());

    let flags =
        |flags, opt| composed(&hit, &request(asked, flags, opt), Transport::Udp)[2..4].to_vec();
    assert_eq!(flags([1, 0x20], None), [0x81, 0xa0], "AD asked with AD");
    assert_eq!(flags([1, 0x10], None), [0x81, 0x90], "CD comes back");
    assert_eq!(flags([0, 0], None), [0x80, 0x80], "RD comes back");
    assert_eq!(flags(RD, Some((1232, true, &[]))), [0x81, 0xa0], "AD asked with DO");
    assert_eq!(flags(RD, Some((1232, false, &[]))), [0x81, 0x80]);
}

#[test]
fn what_was_meant_for_us_does_not_go_on() {
    let db = name("db.example.");
    let ede = [&[0, 6][..], b"bogus\0"].concat();
    let options = [
        option(10, &[7; 16]),  // cookie
        option(11, &[0, 100]), // keepalive
        option(15, &ede),
        option(12, &[0; 64]),                // padding
        option(8, &[0, 1, 24, 0, 10, 0, 0]), // ECS
    ]
    .concat();
    let draft = Draft::to(&asks_a(&db)).a(300, [192, 0, 2, 1]).opt(&options);
    let message = draft.message(&asks_a(&db));
    assert_eq!(message.remarks(), [Remark { code: 6, text: "bogus".into() }]);
    let hit = Hit::new(message);

    let reply = composed(&hit, &request(&db, RD, Some((4096, false, &[]))), Transport::Udp);
    let ours = [&[0, 0, 41, 4, 0xd0, 0, 0, 0, 0][..], &[0, 11], &option(15, b"\0\x06bogus")];
    assert!(reply.ends_with(&ours.concat()), "{reply:02x?}");
    assert_eq!(parse(&reply).additionals.len(), 0, "nothing but the OPT");
    let reply = composed(&hit, &request(&db, RD, None), Transport::Udp);
    assert_eq!(reply[10..12], [0, 0]);
    assert_eq!(parse(&reply).edns, None);
}

#[test]
fn our_own_options_go_out_with_edns_only() {
    let db = name("db.example.");
    let hit = Hit::new(Draft::to(&asks_a(&db)).a(300, [192, 0, 2, 1]).message(&asks_a(&db)));
    let nsid = option(3, b"one");
    for (edns, expected) in [(Some((1232, true, &[][..])), true), (None, false)] {
        let request = request(&db, RD, edns);
        let query = read(&request, Transport::Udp);
        let mut reply = Vec::new();
        compose(&hit, &query, &nsid, &mut reply);
        assert_eq!(reply.ends_with(&nsid), expected);
        assert_eq!(parse(&reply).edns.is_some(), expected);
    }
}

/// A name that points into a TSIG that goes: written anew, nothing lost.
#[test]
fn records_behind_what_goes_are_written_anew() {
    let db = name("db.example.");
    let tsig_at = Draft::to(&asks_a(&db)).a(300, [192, 0, 2, 1]).0.len() as u16;
    let into_tsig = (0xc000 | (tsig_at + 4)).to_be_bytes();
    let mx = [&[0, 10][..], &into_tsig].concat();
    let draft = Draft::to(&asks_a(&db))
        .a(300, [192, 0, 2, 1])
        .record(ADDITIONAL, b"\x03key\x04mail\x07example\0", 250, 0, b"whatever")
        .record(ADDITIONAL, &into_tsig, 1, 60, &[192, 0, 2, 2])
        .opt(&[])
        .record(ADDITIONAL, SAME, 15, 60, &mx)
        .record(ADDITIONAL, SAME, 24, 0, &[&[0; 18][..], &[0], b"sig"].concat());
    let reply = parse(&composed(
        &Hit::new(draft.message(&asks_a(&db))),
        &request(b"\x02DB\x07example\0", RD, None),
        Transport::Udp,
    ));
    let texts: Vec<String> = reply.all_sections().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "DB.example. 300 IN A 192.0.2.1",
            "mail.example. 60 IN A 192.0.2.2",
            "DB.example. 60 IN MX 10 mail.example.",
        ]
    );
}

#[test]
fn ttls_count_down_and_end() {
    let db = name("db.example.");
    let question = asks_a(&db).to_owned();
    let start = Instant::now();
    let cache = Cache::new(CACHE_BYTES, start);
    let draft = Draft::to(&asks_a(&db)).flags(0, 0x20).a(20, [192, 0, 2, 1]).record(
        ADDITIONAL,
        &name("ns.example."),
        1,
        3600,
        &[192, 0, 2, 9],
    );
    let first = cache.insert(&question, draft.message(&asks_a(&db)), start);
    let ttls = |hit: &Hit| -> Vec<u32> {
        let reply = composed(hit, &request(&db, RD, None), Transport::Udp);
        parse(&reply).all_sections().map(|record| record.ttl).collect()
    };
    assert_eq!(ttls(&first), [20, 3600]);
    let at = |seconds: f64| cache.lookup(&asks_a(&db), start + Duration::from_secs_f64(seconds));
    assert_eq!(ttls(&at(0.0).unwrap()), [20, 3600]);
    assert_eq!(ttls(&at(2.1).unwrap()), [18, 3598]);
    assert_eq!(ttls(&at(19.9).unwrap()), [1, 3581]);
    assert!(at(19.9).unwrap().authenticated());

    let stale = at(27.0).unwrap();
    assert_eq!((stale.age(), ttls(&stale)), (Age::Stale(7), vec![STALE_TTL, STALE_TTL]));
    assert!(!stale.authenticated(), "its signatures may have expired");
    let reply = composed(&stale, &request(&db, RD, Some((1232, false, &[]))), Transport::Udp);
    assert!(reply.ends_with(&option(15, b"\0\x03upstreams fail; expired 7 s ago")));

    let end = 20.0 + STALE_FOR.as_secs_f64();
    assert!(at(end - 0.1).is_some());
    assert!(at(end).is_none());
}

#[test]
fn a_stale_denial_says_so() {
    let db = name("db.example.");
    let question = asks_a(&db).to_owned();
    let start = Instant::now();
    let cache = Cache::new(CACHE_BYTES, start);
    let draft = Draft::to(&asks_a(&db)).rcode(3).soa(60, 10);
    cache.insert(&question, draft.message(&asks_a(&db)), start);
    let stale = cache.lookup(&asks_a(&db), start + Duration::from_secs(11)).unwrap();
    assert_eq!((stale.rcode(), stale.remark().unwrap().code), (ResponseCode::NXDomain, 19));
}

#[test]
fn what_does_not_fit_is_left_out_with_care() {
    let db = name("db.example.");
    let big = (0..20).fold(Draft::to(&asks_a(&db)), |draft, i| draft.a(300, [192, 0, 2, i]));
    let with_glue = (0..20).fold(big.clone(), |draft, i| {
        draft.record(ADDITIONAL, SAME, 16, 300, &[&[30][..], &[i; 30]].concat())
    });
    let hit = Hit::new(with_glue.opt(&option(15, b"\0\x01why")).message(&asks_a(&db)));
    let counts = |opt, transport| {
        let reply = composed(&hit, &request(&db, RD, opt), transport);
        let parsed = parse(&reply);
        let truncated = parsed.metadata.truncation;
        assert_eq!(parsed.edns.is_some(), opt.is_some(), "OPT is kept, whatever goes");
        (reply.len(), truncated, parsed.answers.len(), parsed.additionals.len())
    };
    // 12 + 16 + 20 * 16 = 348 with answers alone, 1208 with all, 11 for OPT, 9 for EDE.
    let edns = |payload| Some((payload, false, &[][..]));
    assert_eq!(counts(None, Transport::Udp), (348, false, 20, 0));
    assert_eq!(counts(edns(1228), Transport::Udp), (1228, false, 20, 20));
    assert_eq!(counts(edns(1227), Transport::Udp), (1219, false, 20, 20), "without EDE");
    assert_eq!(counts(edns(1218), Transport::Udp), (359, false, 20, 0));
    assert_eq!(counts(edns(65_535), Transport::Udp).0, 1228);
    assert_eq!(counts(None, Transport::Tcp), (1208, false, 20, 20));

    let huge = (0..80).fold(Draft::to(&asks_a(&db)), |draft, i| draft.a(300, [192, 0, 2, i]));
    let hit = Hit::new(huge.message(&asks_a(&db)));
    let reply = composed(&hit, &request(&db, RD, edns(1232)), Transport::Udp);
    assert_eq!(reply[2..12], [0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 1], "TC, the question and OPT");
    assert_eq!(reply.len(), 28 + 11);
    let reply = composed(&hit, &request(&db, RD, None), Transport::Tcp);
    assert_eq!(parse(&reply).answers.len(), 80);
}

#[test]
fn an_answer_is_good_for_its_lowest_ttl() {
    let db = name("db.example.");
    let draft = || Draft::to(&asks_a(&db));
    let life = |draft: Draft| draft.message(&asks_a(&db)).life;
    assert_eq!(life(draft().a(300, [1; 4]).a(200, [2; 4])), 200);
    assert_eq!(life(draft().a(300, [1; 4]).record(AUTHORITY, &[0], 2, 100, &[0])), 100);
    assert_eq!(life(draft().a(0, [1; 4])), 0);
    assert_eq!(life(draft().a(i32::MAX as u32, [1; 4])), MAX_TTL);
    assert_eq!(life(draft().a(i32::MAX as u32 + 1, [1; 4])), 0, "RFC 2181 section 8");
    let cname = |draft: Draft| draft.record(ANSWER, SAME, 5, 50, &name("x.example."));
    let chain = cname(draft()).record(ANSWER, &name("x.example."), 1, 40, &[1; 4]);
    assert_eq!(life(chain), 40);
    // An SOA beside a positive answer says nothing about it.
    let positive = draft().a(300, [1; 4]).soa(200, 5);
    let message = positive.message(&asks_a(&db));
    assert_eq!((message.life, message.records().last().unwrap().ttl), (200, 200));
}

#[test]
fn a_denial_is_good_for_what_its_soa_says() {
    let db = name("db.example.");
    let draft = || Draft::to(&asks_a(&db));
    let life = |draft: Draft| draft.message(&asks_a(&db)).life;
    let cname = |draft: Draft| draft.record(ANSWER, SAME, 5, 50, &name("x.example."));
    for rcode in [0, 3] {
        assert_eq!(life(draft().rcode(rcode).soa(300, 60)), 60);
        assert_eq!(life(draft().rcode(rcode).soa(60, 300)), 60);
        assert_eq!(life(draft().rcode(rcode).soa(u32::MAX / 2, u32::MAX / 2)), MAX_NEGATIVE_TTL);
        assert_eq!(life(draft().rcode(rcode)), 0, "no SOA, not kept");
        assert_eq!(life(cname(draft().rcode(rcode)).soa(300, 60)), 50);
        assert_eq!(life(cname(draft().rcode(rcode))), 0);
    }
    // What goes out is what is kept: the client must not keep it for longer.
    let message = draft().rcode(3).soa(300, 60).message(&asks_a(&db));
    assert_eq!(message.records().next().unwrap().ttl, 60);
    let above = name("example.");
    assert_eq!(life(draft().rcode(6).record(ANSWER, &above, 39, 50, &[0])), 0, "YXDOMAIN");
}

#[test]
fn replies_are_sorted_by_what_they_are_good_for() {
    let db = name("db.example.");
    let draft = || Draft::to(&asks_a(&db));
    assert!(matches!(
        draft().flags(2, 0).a(1, [1; 4]).read(&asks_a(&db)),
        UpstreamReply::Truncated
    ));
    let ns = |draft: Draft| draft.record(AUTHORITY, SAME, 2, 60, &[0]);
    let mut lame = ns(draft());
    lame.0[3] &= !0x80;
    assert!(matches!(lame.read(&asks_a(&db)), UpstreamReply::Referral));
    assert!(
        matches!(ns(draft()).read(&asks_a(&db)), UpstreamReply::Answer(_)),
        "RFC 2308 section 2.2"
    );
    let error = |draft: Draft| match draft.read(&asks_a(&db)) {
        UpstreamReply::Error { rcode, edns, remarks } => (rcode, edns, remarks.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(error(draft().rcode(1)), (ResponseCode::FormErr, false, 0));
    let bogus = draft().rcode(2).opt(&option(15, b"\0\x06"));
    assert_eq!(error(bogus), (ResponseCode::ServFail, true, 1));
    let mut garbled = draft().rcode(4);
    garbled.0.extend_from_slice(b"junk");
    assert_eq!(error(garbled), (ResponseCode::NotImp, false, 0));
    let extended = draft().rcode(7).record(ADDITIONAL, &[0], 41, 1 << 24, &[]);
    assert_eq!(error(extended).0, ResponseCode::BADCOOKIE, "the upper bits are in OPT");
    let badvers = draft().record(ADDITIONAL, &[0], 41, 1 << 24, &[]);
    assert_eq!(format!("{:?}", error(badvers).0), "BADVERS", "BADSIG is one of TSIG");
}

#[test]
fn broken_messages_are_named() {
    let db = name("db.example.");
    let question = asks_a(&db);
    let broken = |draft: Draft| UpstreamReply::read(&draft.0, &question).unwrap_err();
    let draft = || Draft::to(&question);
    assert_eq!(
        broken(draft().record(ANSWER, SAME, 1, 1, &[1; 5])),
        Malformed::Data { at: 40, rtype: 1 }
    );
    assert_eq!(
        broken(draft().record(ANSWER, SAME, 28, 1, &[1; 4])),
        Malformed::Data { at: 40, rtype: 28 }
    );
    let soa = draft().record(AUTHORITY, SAME, 6, 1, &[0; 21]);
    assert_eq!(broken(soa), Malformed::Data { at: 40, rtype: 6 });
    assert_eq!(broken(draft().opt(&[]).opt(&[])), Malformed::Opt);
    assert_eq!(broken(draft().record(ANSWER, &[0], 41, 0, &[])), Malformed::Opt);
    let mut longer = draft().a(1, [1; 4]);
    longer.0.push(0);
    assert_eq!(broken(longer), Malformed::Trailing(44));
    let mut shorter = draft().a(1, [1; 4]);
    shorter.0.pop();
    assert_eq!(broken(shorter), Malformed::Record(28));
    let mut missing = draft();
    missing.0[7] = 1;
    assert_eq!(broken(missing), Malformed::Record(28));
}

#[test]
fn addresses_are_rewritten() {
    let db = name("db.example.");
    let draft = Draft::to(&asks_a(&db))
        .flags(0, 0x20)
        .record(ANSWER, SAME, 5, 300, &name("x.example."))
        .record(ANSWER, &name("x.example."), 1, 300, &[75, 101, 137, 243])
        .record(ANSWER, &name("X.example."), 1, 300, &[10, 0, 0, 7])
        .record(ANSWER, &name("x.example."), 1, 300, &[192, 0, 2, 1])
        .record(ADDITIONAL, &name("x.example."), 1, 300, &[192, 0, 2, 2]);
    let start = Instant::now();
    let cache = Cache::new(CACHE_BYTES, start);
    cache.insert(&asks_a(&db).to_owned(), draft.message(&asks_a(&db)), start);
    let home = |old: Ipv4Addr| {
        (old == Ipv4Addr::new(75, 101, 137, 243)).then_some((Ipv4Addr::new(10, 0, 0, 7), 5))
    };
    for (age, ttl) in [(2, 298), (400, STALE_TTL)] {
        let hit = cache.lookup(&asks_a(&db), start + Duration::from_secs(age)).unwrap();
        assert!(hit.rewrite(|_| None).is_none());
        assert!(hit.rewrite(|old| Some((old, 5))).is_none(), "the same address");
        let home = hit.rewrite(home).unwrap();
        assert_eq!(home.remark(), hit.remark());
        assert!(!home.authenticated());
        let reply = parse(&composed(&home, &request(&db, RD, None), Transport::Udp));
        let expected = [(Ipv4Addr::new(10, 0, 0, 7), 5), (Ipv4Addr::new(192, 0, 2, 1), 5)];
        assert_eq!(addresses(&reply), expected);
        assert_eq!((reply.answers[0].ttl, reply.additionals[0].ttl), (ttl, ttl));
        assert_eq!(reply.answers[0].record_type(), RecordType::CNAME);
    }
}

#[test]
fn signed_addresses_are_not_rewritten() {
    let db = name("db.example.");
    let question = Question { dnssec_ok: true, ..asks_a(&db) };
    let covers = |rtype: u8| [&[0, rtype][..], &[0; 16], &[0], b"signature"].concat();
    let signed = |rtype| {
        let draft = Draft::to(&question).a(300, [75, 101, 137, 243]);
        Hit::new(draft.record(ANSWER, SAME, 46, 300, &covers(rtype)).message(&question))
    };
    let home = |_| Some((Ipv4Addr::new(10, 0, 0, 7), 5));
    assert!(signed(1).rewrite(home).is_none());
    assert!(signed(28).rewrite(home).is_some(), "a signature over something else");
}

#[test]
fn answers_can_be_used_elsewhere() {
    let db = name("db.example.");
    let draft = Draft::to(&asks_a(&db))
        .record(ANSWER, SAME, 5, 300, b"\x01x\xc0\x0c")
        .record(ANSWER, b"\x01x\xc0\x0c", 1, 200, &[192, 0, 2, 1])
        .record(ADDITIONAL, SAME, 1, 200, &[192, 0, 2, 2]);
    let start = Instant::now();
    let cache = Cache::new(CACHE_BYTES, start);
    cache.insert(&asks_a(&db).to_owned(), draft.message(&asks_a(&db)), start);
    let hit = cache.lookup(&asks_a(&db), start + Duration::from_secs(10)).unwrap();
    let texts: Vec<_> = hit.answers().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["db.example. 290 IN CNAME x.db.example.", "x.db.example. 190 IN A 192.0.2.1"]
    );
    let first = hit.message().records().next().unwrap();
    assert_eq!(first.uncompressed(), name("x.db.example."));
}

#[test]
fn failures_are_remembered_for_a_moment_and_by_era() {
    let db = name("db.example.");
    let question = asks_a(&db).to_owned();
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let cache = Cache::new(CACHE_BYTES, start);
    let why = Remark { code: 22, text: "10.0.0.2: no reply".into() };
    let servfail = || Message::bare(&asks_a(&db), ResponseCode::ServFail, vec![why.clone()]);
    cache.insert_failure(&question, servfail(), start);
    let hit = cache.lookup(&asks_a(&db), after(u64::from(FAILURE_TTL) - 1)).unwrap();
    assert_eq!((hit.rcode(), hit.remark().unwrap().code), (ResponseCode::ServFail, 13));
    assert_eq!(hit.message().remarks(), std::slice::from_ref(&why));
    assert!(cache.lookup(&asks_a(&db), after(u64::from(FAILURE_TTL))).is_none());
    cache.forget_failures();
    assert!(cache.lookup(&asks_a(&db), start).is_none(), "an upstream has recovered");
}

#[test]
fn one_asks_again_per_recheck() {
    let db = name("db.example.");
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let cache = Cache::new(CACHE_BYTES, start);
    let message = Draft::to(&asks_a(&db)).a(1, [1; 4]).message(&asks_a(&db));
    cache.insert(&asks_a(&db).to_owned(), message, start);
    let hit = cache.lookup(&asks_a(&db), after(2)).unwrap();
    assert_eq!(cache.failing(&hit, after(2)), Failing::No);
    cache.failed(&hit, after(2));
    let recheck = 2 + RECHECK.as_secs();
    assert_eq!(cache.failing(&hit, after(recheck - 1)), Failing::Yes);
    assert_eq!(cache.failing(&hit, after(recheck)), Failing::Recheck);
    assert_eq!(cache.failing(&hit, after(recheck)), Failing::Yes);
    cache.forget_failures();
    assert_eq!(cache.failing(&hit, after(recheck)), Failing::No);
}

#[test]
fn memory_is_bounded() {
    let start = Instant::now();
    let bytes = 1 << 20;
    let cache = Cache::new(bytes, start);
    let mut inserted = 0;
    for i in 0..10_000u32 {
        let name = name(&format!("host{i}.example."));
        let message = Draft::to(&asks_a(&name)).a(300, i.to_be_bytes()).message(&asks_a(&name));
        cache.insert(&asks_a(&name).to_owned(), message, start);
        inserted += 1;
    }
    let stats = cache.stats();
    assert!(stats.bytes <= bytes && stats.bytes > bytes / 2, "{stats:?}");
    assert_eq!(stats.entries + stats.evictions, inserted);
}

#[test]
fn what_may_not_be_kept_takes_the_old_along() {
    let db = name("db.example.");
    let start = Instant::now();
    let cache = Cache::new(CACHE_BYTES, start);
    let message = |ttl| Draft::to(&asks_a(&db)).a(ttl, [1; 4]).message(&asks_a(&db));
    cache.insert(&asks_a(&db).to_owned(), message(300), start);
    let hit = cache.insert(&asks_a(&db).to_owned(), message(0), start);
    assert_eq!((hit.age(), hit.message().addresses().count()), (Age::New, 1));
    assert!(cache.lookup(&asks_a(&db), start).is_none());
}

/// In order and not, as a stub walks it.
#[test]
fn answers_stand_in_the_order_of_the_chain() {
    let (a, b, c) = (name("a.test."), name("b.test."), name("c.test."));
    let alias = |draft: Draft, from: &[u8], to: &[u8]| draft.record(ANSWER, from, 5, 300, to);
    let address = |draft: Draft, of: &[u8]| draft.record(ANSWER, of, 1, 300, &[192, 0, 2, 1]);
    let sig = |draft: Draft, of: &[u8], covers: u8| {
        let data = [&[0, covers][..], &[0; 16], &[0], b"signature"].concat();
        draft.record(ANSWER, of, 46, 300, &data)
    };
    let told = |draft: &Draft, dnssec_ok| -> Vec<(String, u16)> {
        let question = Question { dnssec_ok, ..asks_a(&a) };
        let message = draft.message(&question);
        let text = |r: crate::forward::wire::Record<'_>| {
            (crate::dns::name::Key::from_folded(r.owner.folded().octets()).to_string(), r.rtype)
        };
        message.records().map(text).collect()
    };
    let of = |all: &[(&str, u16)]| -> Vec<(String, u16)> {
        all.iter().map(|(name, rtype)| ((*name).to_owned(), *rtype)).collect()
    };
    let draft = || Draft::to(&asks_a(&a));
    let in_order = of(&[("a.test.", 5), ("b.test.", 5), ("c.test.", 1)]);
    let mixed = alias(alias(address(draft(), &c), &b, &c), &a, &b);
    for dnssec_ok in [false, true] {
        assert_eq!(told(&mixed, dnssec_ok), in_order);
    }
    // The case of names does not matter, nor that they are compressed.
    let shouting = alias(address(draft(), b"\x01B\x04TEST\0"), SAME, b"\x01b\xc0\x0e");
    assert_eq!(told(&shouting, false), of(&[("a.test.", 5), ("b.test.", 1)]));
    // Signatures stand behind what they sign, and are for those who asked.
    let signed = sig(sig(alias(address(draft(), &b), &a, &b), &b, 1), &a, 5);
    assert_eq!(told(&signed, false), of(&[("a.test.", 5), ("b.test.", 1)]));
    let all = of(&[("a.test.", 5), ("a.test.", 46), ("b.test.", 1), ("b.test.", 46)]);
    assert_eq!(told(&signed, true), all);
    // What is not on the chain stands at its end, for those who validate.
    let beside = address(address(draft(), &c), &a);
    assert_eq!(told(&beside, false), of(&[("a.test.", 1)]));
    assert_eq!(told(&beside, true), of(&[("a.test.", 1), ("c.test.", 1)]));
    // A circle is gone around once.
    let circle = alias(alias(draft(), &b, &a), &a, &b);
    assert_eq!(told(&circle, false), of(&[("a.test.", 5), ("b.test.", 5)]));
    // A DNAME stands before the alias that was made from it.
    let test = name("test.");
    let dname = draft().record(ANSWER, SAME, 5, 300, &name("a.other.")).record(
        ANSWER,
        &test,
        39,
        300,
        &name("other."),
    );
    let dname = address(dname, &name("a.other."));
    assert_eq!(told(&dname, false), of(&[("test.", 39), ("a.test.", 5), ("a.other.", 1)]));
    // Other sections stay as they are.
    let soa = alias(draft(), &b, &c);
    let soa = alias(soa, &a, &b).soa(300, 60).record(ADDITIONAL, &c, 1, 60, &[1; 4]);
    let expected = of(&[("a.test.", 5), ("b.test.", 5), (".", 6), ("c.test.", 1)]);
    assert_eq!(told(&soa, false), expected);
}

#[test]
fn an_answer_to_another_name_is_none() {
    let (a, b) = (name("a.test."), name("b.test."));
    for dnssec_ok in [false, true] {
        let question = Question { dnssec_ok, ..asks_a(&a) };
        let draft = || Draft::to(&question);
        let strange = draft().record(ANSWER, &b, 1, 300, &[192, 0, 2, 1]);
        assert!(UpstreamReply::read(&strange.0, &question).is_err());
        let other_type = draft().record(ANSWER, SAME, 28, 300, &[1; 16]);
        assert!(UpstreamReply::read(&other_type.0, &question).is_err());
        assert!(
            UpstreamReply::read(&draft().soa(300, 60).0, &question).is_ok(),
            "no answer is one"
        );
    }
}

/// SVCB and HTTPS name addresses too (RFC 9460 section 7.3).
#[test]
fn hints_are_rewritten() {
    let db = name("db.example.");
    let question = Question { rtype: 65, ..asks_a(&db) };
    // 1 . alpn=h2 ipv4hint=75.101.137.243,192.0.2.1 ipv6hint=::1
    let data = |first: [u8; 4]| {
        let head = b"\0\x01\0\0\x01\0\x03\x02h2\0\x04\0\x08";
        let more = [&[0, 6, 0, 16][..], &[0; 15], &[1]].concat();
        [&head[..], &first, &[192, 0, 2, 1], &more].concat()
    };
    let (public, private) = ([75, 101, 137, 243], [10, 0, 0, 7]);
    let home = |old: Ipv4Addr| (old.octets() == public).then_some((Ipv4Addr::from(private), 5));
    let draft = |rtype| {
        Draft::to(&question)
            .record(ANSWER, SAME, rtype, 300, &data(public))
            .record(ADDITIONAL, SAME, 1, 300, &public)
    };
    for rtype in [64, 65] {
        let question = Question { rtype, ..question };
        let mut draft = draft(rtype);
        overlay(&mut draft.0, HEADER + db.len(), &rtype.to_be_bytes());
        let home = Hit::new(draft.message(&question)).rewrite(home).expect("it changes");
        let seen: Vec<_> = home.message().records().map(|r| (r.ttl, r.uncompressed())).collect();
        assert_eq!(seen, [(5, data(private)), (5, private.to_vec())]);
    }
    // A type of which we do not know where addresses are, and a list that is none.
    let text =
        Draft::to(&question).record(ANSWER, SAME, 65, 300, b"\0\x01\0\0\x04\0\x03\x4b\x65\x89");
    assert!(Hit::new(text.message(&question)).rewrite(|_| Some((private.into(), 5))).is_none());
    // Signed: it stays as it is, beside what is not signed.
    let signed = Question { dnssec_ok: true, ..question };
    let covers = [&[0, 65][..], &[0; 16], &[0], b"signature"].concat();
    let draft = Draft::to(&signed)
        .record(ANSWER, SAME, 65, 300, &data(public))
        .record(ANSWER, SAME, 46, 300, &covers)
        .record(ADDITIONAL, SAME, 1, 300, &public);
    let hit = Hit::new(draft.message(&signed)).rewrite(home).expect("the address is not signed");
    let seen: Vec<_> = hit.message().records().map(|r| (r.ttl, r.uncompressed())).collect();
    assert_eq!(seen, [(300, data(public)), (300, covers), (5, private.to_vec())]);
}
