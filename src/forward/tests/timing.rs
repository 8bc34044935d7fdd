//! All that takes time, on a clock that stands still until all wait.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future;
use hickory_proto::op::ResponseCode;
use tokio::time;

use super::room::{
    Act, After, CLIENT, Call, ONE, Reply, Room, Silence, TWO, Unreachable, remark, rule,
};
use super::{AUTHORITY, SAME, asks_a, name, option};
use crate::config::{ForwardConfig, Rule};
use crate::dns::name::Key;
use crate::forward::cache::{FAILURE_TTL, RECHECK};
use crate::forward::forwarder::{Asked, CLIENT_PATIENCE, Forwarder};
use crate::forward::network::Via;
use crate::forward::question::Question;
use crate::forward::upstream::now;
use crate::forward::{Age, ConfigError, DEADLINE, MAX_FLIGHTS, MAX_REFRESHES, Shed, TRY};
use crate::host::descriptors::Share;

#[tokio::test(start_paused = true)]
async fn equal_questions_share_one_packet() {
    let room =
        Room::new(&[ONE], |call| After(Duration::from_millis(50), call.draft().a(9, [1; 4])));
    let db = name("db.example.");
    let tickets: Vec<_> = (0..1_000)
        .map(|_| match room.forwarder.ask(&asks_a(&db), CLIENT, now()) {
            Asked::Later(ticket) => ticket,
            Asked::Now(hit) => panic!("{hit:?}"),
        })
        .collect();
    assert_eq!(room.forwarder.load().outstanding, 1);
    assert_eq!(room.forwarder.load().waiting, 1_000);
    let hits = future::join_all(tickets).await;
    assert!(hits.iter().all(|hit| hit.message().addresses().count() == 1));
    assert_eq!(room.calls().len(), 1);
    let load = room.forwarder.load();
    assert_eq!((load.outstanding, load.waiting, load.shed), (0, 0, Shed::default()));

    // Whoever looked before and asks after the landing gets it from the cache.
    assert!(matches!(room.forwarder.ask(&asks_a(&db), CLIENT, now()), Asked::Now(_)));
    // Another DO is another question.
    let dnssec = Question { dnssec_ok: true, ..asks_a(&db) };
    room.forwarder.answer(&dnssec, CLIENT).await;
    assert_eq!(room.calls().len(), 2);
    let stats = room.forwarder.cache().stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (0, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_moves_on_at_once() {
    let bad: [fn(&Call) -> Act; 7] = [
        |call| Reply(call.draft().rcode(2)),
        |call| Reply(call.draft().rcode(5)),
        |call| Reply(call.draft().rcode(4).opt(&[])),
        |_| Unreachable,
        |call| Reply(call.draft().record(AUTHORITY, SAME, 6, 1, b"no SOA")),
        |call| {
            let mut lame = call.draft().record(AUTHORITY, SAME, 2, 60, &[0]);
            lame.0[3] = 0;
            Reply(lame)
        },
        |_| Act::NoSocket,
    ];
    for (nth, bad) in bad.into_iter().enumerate() {
        let room = Room::new(&[ONE, TWO], move |call| match call.to {
            ONE => bad(call),
            _ => call.answer(300),
        });
        assert_eq!(room.answer("db.example.").await.rcode(), ResponseCode::NoError, "{nth}");
        assert_eq!(room.asked(), [(ONE, 0), (TWO, 0)], "{nth}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_moves_on_after_a_second_and_ends_before_glibc_does() {
    let room = Room::new(&[ONE, TWO], |call| match call.to {
        TWO => call.answer(300),
        _ => Silence,
    });
    assert_eq!(room.answer("db.example.").await.rcode(), ResponseCode::NoError);
    assert_eq!(room.asked(), [(ONE, 0), (TWO, 1_000)]);
    // From now on the one that answers comes first.
    room.answer("other.example.").await;
    assert_eq!(room.calls()[2].to, TWO);

    let room = Room::new(&[ONE, TWO], |_| Silence);
    let hit = room.answer("db.example.").await;
    assert_eq!(room.elapsed(), DEADLINE.as_millis());
    assert!(DEADLINE < Duration::from_secs(5), "glibc's patience");
    assert_eq!(room.asked(), [(ONE, 0), (TWO, 1_000), (ONE, 2_000), (TWO, 3_000)]);
    assert_eq!(hit.rcode(), ResponseCode::ServFail);
    assert_eq!(remark(&hit), (22, "192.0.2.1: no reply; 192.0.2.2: no reply".into()));
}

#[tokio::test(start_paused = true)]
async fn a_slow_one_comes_before_a_second_try_at_a_fast_one() {
    let room = Room::new(&[ONE, TWO], |call| match (call.to, call.query[13]) {
        (ONE, b'q') => Silence,
        (ONE, _) => After(Duration::from_millis(1), call.draft().a(9, [1; 4])),
        _ => After(Duration::from_millis(300), call.draft().a(9, [1; 4])),
    });
    for text in ["a.example.", "b.example.", "c.example."] {
        room.answer(text).await;
    }
    let first = [(ONE, 0), (TWO, 1), (ONE, 301)];
    assert_eq!(room.asked(), first, "each is tried, then the faster one");
    room.answer("quiet.example.").await;
    assert_eq!(room.asked()[3..], [(ONE, 302), (TWO, 1_302)]);
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_still_counts() {
    let room = Room::new(&[ONE], |call| match call.at.as_millis() {
        0 => After(Duration::from_millis(1_500), call.draft().a(9, [1; 4])),
        _ => Silence,
    });
    assert_eq!(room.answer("db.example.").await.rcode(), ResponseCode::NoError);
    assert_eq!((room.elapsed(), room.calls().len()), (1_500, 2));
    let status = &room.forwarder.upstreams()[0];
    assert_eq!((status.sent, status.answers, status.timeouts), (2, 1, 1));
    assert!(status.up);
}

#[tokio::test(start_paused = true)]
async fn a_failure_says_who_and_is_kept_for_a_moment() {
    let room = Room::new(&[ONE, TWO], |call| match call.to {
        ONE => Reply(call.draft().rcode(2).opt(&option(15, b"\0\x06bogus"))),
        _ => Reply(call.draft().rcode(5)),
    });
    let hit = room.answer("db.example.").await;
    assert_eq!(hit.rcode(), ResponseCode::ServFail, "never REFUSED: musl would wait in vain");
    let remarks = hit.message().remarks();
    assert_eq!(
        (remarks[0].code, &*remarks[0].text),
        (23, "192.0.2.1: SERVFAIL; 192.0.2.2: REFUSED")
    );
    assert_eq!((remarks[1].code, &*remarks[1].text), (6, "bogus"));
    assert_eq!(room.calls().len(), 2);

    time::advance(Duration::from_secs(u64::from(FAILURE_TTL) - 1)).await;
    assert_eq!(remark(&room.cached("db.example.").unwrap()), (13, "failed 4 s ago".into()));
    time::advance(Duration::from_secs(1)).await;
    assert!(room.cached("db.example.").is_none());
}

#[tokio::test(start_paused = true)]
async fn our_own_troubles_are_not_kept() {
    let room = Room::new(&[ONE], |_| Act::NoSocket);
    let hit = room.answer("db.example.").await;
    assert_eq!(remark(&hit).0, 0);
    assert!(room.cached("db.example.").is_none());
    assert!(room.forwarder.upstreams()[0].up);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_without_edns_is_remembered() {
    for rcode in [1, 4] {
        let room = Room::new(&[ONE], move |call| match call.has_edns() {
            true => Reply(call.draft().rcode(rcode)),
            false => call.answer(300),
        });
        assert_eq!(room.answer("db.example.").await.rcode(), ResponseCode::NoError);
        room.answer("other.example.").await;
        let edns: Vec<_> = room.calls().iter().map(Call::has_edns).collect();
        assert_eq!(edns, [true, false, false]);
        time::advance(Duration::from_secs(301)).await;
        room.answer("third.example.").await;
        assert!(room.calls()[3].has_edns(), "it may have been replaced");
    }
    // One that passes on what others say of a name says nothing of itself.
    let room = Room::new(&[ONE], |call| match call.query[12..].starts_with(b"\x03odd") {
        true => Reply(call.draft().rcode(1)),
        false => call.answer(300),
    });
    assert_eq!(room.answer("odd.example.").await.rcode(), ResponseCode::ServFail);
    room.answer("db.example.").await;
    let edns: Vec<_> = room.calls().iter().map(Call::has_edns).collect();
    assert_eq!(edns, [true, false, true]);
    // One that knows EDNS and does not like the question is not asked again.
    let room = Room::new(&[ONE], |call| Reply(call.draft().rcode(1).opt(&[])));
    assert_eq!(room.answer("db.example.").await.rcode(), ResponseCode::ServFail);
    assert_eq!(room.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn truncation_leads_to_tcp() {
    let room = Room::new(&[ONE], |call| match call.via {
        Via::Udp => Reply(call.draft().flags(2, 0)),
        Via::Tcp => call.answer(300),
    });
    assert_eq!(room.answer("db.example.").await.message().addresses().count(), 1);
    assert_eq!(room.calls().iter().map(|c| c.via).collect::<Vec<_>>(), [Via::Udp, Via::Tcp]);

    let room = Room::new(&[ONE], |call| Reply(call.draft().flags(2, 0)));
    assert_eq!(remark(&room.answer("db.example.").await).1, "192.0.2.1: truncated over TCP");
}

#[tokio::test(start_paused = true)]
async fn stale_answers_stand_in() {
    let dead = Arc::new(Mutex::new(false));
    let room = Room::new(&[ONE], {
        let dead = Arc::clone(&dead);
        move |call| if *dead.lock().unwrap() { Silence } else { call.answer(60) }
    });
    for text in ["db.example.", "other.example."] {
        room.answer(text).await;
    }
    time::advance(Duration::from_secs(61)).await;
    *dead.lock().unwrap() = true;

    // Nothing is known against the upstream yet: it is asked first.
    assert!(room.cached("db.example.").is_none());
    let begun = now();
    let hit = room.answer("db.example.").await;
    assert_eq!(now() - begun, CLIENT_PATIENCE);
    assert_eq!(hit.age(), Age::Stale(1));
    assert_eq!(remark(&hit), (3, "upstreams fail; expired 1 s ago".into()));
    // While that goes on, and after, the same name has its answer at once.
    assert!(matches!(room.cached("db.example.").unwrap().age(), Age::Stale(_)));
    assert!(room.cached("other.example.").is_none());
    time::sleep(DEADLINE).await;
    // By then the upstream counts as down, and that goes for all names.
    assert!(matches!(room.cached("other.example.").unwrap().age(), Age::Stale(_)));
    let stats = room.forwarder.cache().stats();
    assert_eq!((stats.hits, stats.stale), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_dead_upstream_is_asked_seldom_and_its_return_is_noticed() {
    let dead = Arc::new(Mutex::new(false));
    let room = Room::new(&[ONE], {
        let dead = Arc::clone(&dead);
        move |call| if *dead.lock().unwrap() { Silence } else { call.answer(60) }
    });
    room.answer("db.example.").await;
    time::advance(Duration::from_secs(61)).await;
    *dead.lock().unwrap() = true;
    room.answer("db.example.").await;
    time::sleep(DEADLINE).await;
    let before = room.calls().len();
    for _ in 0..1_000 {
        time::sleep(Duration::from_millis(100)).await;
        assert!(matches!(room.cached("db.example.").unwrap().age(), Age::Stale(_)));
    }
    // 100 s: about one refresh of four packets per backoff of 8 s.
    let asked = room.calls().len() - before;
    assert!((40..=64).contains(&asked), "{asked} packets");
    assert!(!room.forwarder.upstreams()[0].up);

    *dead.lock().unwrap() = false;
    let mut waited = Duration::ZERO;
    while !matches!(room.cached("db.example.").unwrap().age(), Age::Fresh(_)) {
        time::sleep(Duration::from_millis(100)).await;
        waited += Duration::from_millis(100);
        assert!(waited < Duration::from_secs(9), "noticed within a backoff");
    }
    assert!(room.forwarder.upstreams()[0].up);
}

#[tokio::test(start_paused = true)]
async fn a_return_makes_old_failures_moot() {
    let dead = Arc::new(Mutex::new(true));
    let room = Room::new(&[ONE], {
        let dead = Arc::clone(&dead);
        move |call| if *dead.lock().unwrap() { Silence } else { call.answer(60) }
    });
    assert_eq!(room.answer("db.example.").await.rcode(), ResponseCode::ServFail);
    assert!(!room.forwarder.upstreams()[0].up, "four tries in vain");
    assert!(room.cached("db.example.").is_some());
    *dead.lock().unwrap() = false;
    assert_eq!(room.answer("other.example.").await.rcode(), ResponseCode::NoError);
    assert!(room.cached("db.example.").is_none());
    assert_eq!(room.answer("db.example.").await.rcode(), ResponseCode::NoError);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_down_is_probed_on_the_side() {
    let dead = Arc::new(Mutex::new(true));
    let room = Room::new(&[ONE, TWO], {
        let dead = Arc::clone(&dead);
        move |call| match call.to {
            ONE if *dead.lock().unwrap() => Silence,
            _ => call.answer(0),
        }
    });
    let one = || room.forwarder.upstreams()[0].clone();
    // One question had to wait for it; what else there is to know say checks.
    while one().up {
        time::sleep(Duration::from_millis(20)).await;
        room.answer("db.example.").await;
    }
    assert_eq!((room.elapsed(), one().timeouts), (3_020, 1));
    assert_eq!(room.checked(), [(ONE, 1_020), (ONE, 2_020)]);
    let begun = now();
    for nth in 0..1_000 {
        time::sleep(Duration::from_millis(20)).await;
        room.answer(&format!("db{nth}.example.")).await;
    }
    assert_eq!((now() - begun).as_secs(), 20, "nobody waited for a probe");
    assert_eq!(one().timeouts, 1 + 5, "after 1, 2, 4, 8, 16 s");
    *dead.lock().unwrap() = false;
    for _ in 0..400 {
        time::sleep(Duration::from_millis(20)).await;
        room.answer("db.example.").await;
    }
    assert!(one().up);
}

#[tokio::test(start_paused = true)]
async fn max_rate_is_kept_in_every_second() {
    for (max_rate, address, expected) in
        [(Some(100), ONE, 100), (None, "169.254.169.253:53".parse().unwrap(), 800)]
    {
        let rules = vec![Rule { max_rate, ..rule(&["."], &[address]) }];
        let room = Room::with(rules, |call| call.answer(300));
        let mut tickets = Vec::new();
        let (mut answered, mut shed) = (0, 0);
        for nth in 0..20_000u32 {
            if nth % 10 == 0 {
                time::sleep(Duration::from_millis(2)).await;
            }
            let client = IpAddr::from([10, 1, 0, (nth % 100) as u8]);
            let text = name(&format!("host{nth}.example."));
            match room.forwarder.ask(&asks_a(&text), client, now()) {
                Asked::Later(ticket) => tickets.push(ticket),
                Asked::Now(hit) => {
                    assert_eq!((hit.rcode(), remark(&hit).0), (ResponseCode::ServFail, 0));
                    shed += 1;
                }
            }
        }
        for hit in future::join_all(tickets).await {
            match hit.rcode() {
                ResponseCode::NoError => answered += 1,
                _ => shed += 1,
            }
        }
        assert_eq!(answered + shed, 20_000);
        let sent: Vec<Duration> = room.calls().iter().map(|call| call.at).collect();
        assert_eq!(sent.len(), answered);
        let mut first = 0;
        for (nth, at) in sent.iter().enumerate() {
            while *at - sent[first] >= Duration::from_secs(1) {
                first += 1;
            }
            assert!(nth - first < expected, "more than {expected}/s before {at:?}");
        }
        // 4 s of questions and a second of patience, at nearly the full rate.
        assert!(answered > expected * 4, "{answered} answered");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_with_tokens_is_preferred() {
    let rules = vec![
        Rule { max_rate: Some(16), ..rule(&["."], &[ONE, TWO]) },
        Rule { max_rate: Some(8), ..rule(&["example."], &[ONE]) },
    ];
    let room = Room::with(rules, |call| call.answer(300));
    for text in ["a.org.", "b.org.", "c.org."] {
        room.answer(text).await;
    }
    assert_eq!(room.asked()[..2], [(ONE, 0), (TWO, 0)]);
    assert!((60..80).contains(&room.asked()[2].1), "a fifteenth of a second for a token");
    assert_eq!(room.forwarder.upstreams().len(), 2, "one upstream in two rules");
}

#[tokio::test(start_paused = true)]
async fn a_full_house_is_shared() {
    let room = Room::new(&[ONE], |_| Silence);
    let ask = |client: u8, nth: usize| {
        let text = name(&format!("host{nth}.client{client}.example."));
        room.forwarder.ask(&asks_a(&text), IpAddr::from([10, 0, 0, client]), now())
    };
    // One client alone may have all.
    let mut tickets = Vec::new();
    for nth in 0..MAX_FLIGHTS {
        let Asked::Later(ticket) = ask(1, nth) else { panic!("shed at {nth}") };
        tickets.push(ticket);
    }
    let Asked::Now(hit) = ask(1, MAX_FLIGHTS) else { panic!("beyond the bound") };
    assert_eq!(hit.rcode(), ResponseCode::ServFail);
    assert_eq!(remark(&hit), (0, "too many questions under way, 10.0.0.1 has its share".into()));
    assert!(room.cached("host1024.client1.example.").is_none(), "not kept");
    // To wait with the others takes no further place.
    let Asked::Later(ticket) = ask(1, 0) else { panic!("joining is free") };
    tickets.push(ticket);
    // Another one gets its half all the same.
    for nth in 0..MAX_FLIGHTS / 2 {
        let Asked::Later(ticket) = ask(2, nth) else { panic!("shed at {nth}") };
        tickets.push(ticket);
    }
    assert!(matches!(ask(2, MAX_FLIGHTS / 2), Asked::Now(_)));
    assert_eq!(room.forwarder.load().shed, Shed { flights: 2, ..Shed::default() });
    future::join_all(tickets).await;
    assert_eq!(room.forwarder.load().outstanding, 0);
    assert!(matches!(ask(1, MAX_FLIGHTS), Asked::Later(_)));
}

#[tokio::test(start_paused = true)]
async fn who_is_turned_away_may_have_a_stale_answer() {
    let room = Room::new(&[ONE], |call| match call.at.is_zero() {
        true => call.answer(60),
        false => Silence,
    });
    room.answer("db.example.").await;
    time::advance(Duration::from_secs(61)).await;
    let mut tickets = Vec::new();
    for nth in 0..MAX_FLIGHTS {
        tickets.push(room.forwarder.ask(&asks_a(&name(&format!("{nth}.example."))), CLIENT, now()));
    }
    let Asked::Now(hit) = room.forwarder.ask(&asks_a(&name("db.example.")), CLIENT, now()) else {
        panic!("there is no place left")
    };
    assert_eq!((hit.rcode(), hit.age()), (ResponseCode::NoError, Age::Stale(1)));
}

#[tokio::test(start_paused = true)]
async fn refreshes_are_bounded() {
    let dead = Arc::new(Mutex::new(false));
    let room = Room::new(&[ONE], {
        let dead = Arc::clone(&dead);
        move |call| if *dead.lock().unwrap() { Silence } else { call.answer(1) }
    });
    let names: Vec<_> = (0..MAX_REFRESHES + 10).map(|nth| format!("host{nth}.example.")).collect();
    future::join_all(names.iter().map(|text| room.answer(text))).await;
    time::advance(Duration::from_secs(2)).await;
    *dead.lock().unwrap() = true;
    future::join_all(names.iter().map(|text| room.answer(text))).await;
    time::sleep(DEADLINE + RECHECK).await;
    assert_eq!(room.forwarder.load().outstanding, 0);
    assert!(names.iter().all(|text| room.cached(text).is_some()));
    assert_eq!(room.forwarder.load().outstanding, MAX_REFRESHES as u64);
    assert_eq!(room.forwarder.load().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_takes_nothing_along() {
    let room =
        Room::new(&[ONE], |call| After(Duration::from_millis(50), call.draft().a(9, [1; 4])));
    let db = name("db.example.");
    drop(room.forwarder.ask(&asks_a(&db), CLIENT, now()));
    assert_eq!((room.forwarder.load().waiting, room.forwarder.load().outstanding), (0, 1));
    time::sleep(Duration::from_millis(51)).await;
    assert_eq!(room.forwarder.load().outstanding, 0);
    assert!(room.cached("db.example.").is_some(), "the answer was kept all the same");
}

#[tokio::test(start_paused = true)]
async fn the_longest_name_decides() {
    let rules = vec![rule(&["."], &[ONE]), rule(&["corp.example.", "test."], &[TWO])];
    let room = Room::with(rules, |call| call.answer(300));
    for (text, expected) in [
        ("example.", ONE),
        ("corp.example.", TWO),
        ("a.b.corp.example.", TWO),
        ("acorp.example.", ONE),
        ("x.test.", TWO),
    ] {
        room.answer(text).await;
        assert_eq!(room.calls().last().unwrap().to, expected, "{text}");
    }

    let room = Room::with(vec![rule(&["corp.example."], &[ONE])], |call| call.answer(300));
    assert!(!room.forwarder.upstreams_for(&name("db.corp.example.")).is_empty());
    assert!(room.forwarder.upstreams_for(&name("db.example.")).is_empty());
    let hit = room.answer("db.example.").await;
    assert_eq!((hit.rcode(), remark(&hit).0), (ResponseCode::Refused, 20));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_data_stays_here() {
    let room = Room::new(&[ONE], |call| call.answer(300));
    let db = name("db.example.");
    for rtype in [41, 249, 250, 251, 252, 253, 254] {
        let hit = room.forwarder.answer(&Question { rtype, ..asks_a(&db) }, CLIENT).await;
        assert_eq!((hit.rcode(), remark(&hit).0), (ResponseCode::Refused, 21), "{rtype}");
    }
    let hit = room.forwarder.answer(&asks_a(b"\x02DB\0"), CLIENT).await;
    assert_eq!(hit.rcode(), ResponseCode::ServFail);
    assert!(room.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_one_flight_only() {
    let room = Room::new(&[ONE], |call| match call.query[13] {
        b'b' => Act::Panic,
        _ => call.answer(300),
    });
    let hit = room.answer("bad.example.").await;
    assert_eq!((hit.rcode(), remark(&hit).0), (ResponseCode::ServFail, 0));
    assert_eq!(room.answer("good.example.").await.rcode(), ResponseCode::NoError);
    let load = room.forwarder.load();
    assert_eq!((load.outstanding, load.panics), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_driver_that_is_gone() {
    let room = Room::new(&[ONE], |_| Silence);
    let waits = room.answer("db.example.");
    let ends = async {
        time::sleep(Duration::from_millis(10)).await;
        room.driver.abort();
    };
    let (hit, ()) = future::join(waits, ends).await;
    assert_eq!(remark(&hit), (0, "forwarding has stopped".into()));
    assert_eq!(remark(&room.answer("other.example.").await).1, "forwarding has stopped");
    assert_eq!(room.elapsed(), 10);
}

#[tokio::test(start_paused = true)]
async fn the_driver_ends_with_its_last_forwarder() {
    let room = Room::new(&[ONE], |call| After(Duration::from_secs(1), call.draft().a(9, [1; 4])));
    let db = name("db.example.");
    let Asked::Later(ticket) = room.forwarder.ask(&asks_a(&db), CLIENT, now()) else { panic!() };
    drop(room.forwarder);
    assert_eq!(ticket.await.rcode(), ResponseCode::NoError, "what was under way comes to its end");
    room.driver.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_seen() {
    // TWO's questions come back to us, through another server or directly.
    let home: Arc<Mutex<Option<Forwarder>>> = Arc::default();
    let room = Room::with(vec![rule(&["."], &[ONE, TWO]), rule(&["corp.example."], &[TWO])], {
        let home = Arc::clone(&home);
        move |call| {
            let end = call.query.len() - 11 - 4;
            let asked = &call.query[12..end];
            let ours = home.lock().unwrap().as_ref().unwrap().clone();
            match call.to {
                TWO if ours.is_probe(asked) => Reply(call.draft().rcode(5)),
                ONE => Reply(call.draft().rcode(3)),
                _ => Silence,
            }
        }
    });
    *home.lock().unwrap() = Some(room.forwarder.clone());
    let mut looped: Vec<_> = room.forwarder.probe_loops().await;
    looped.sort_by_key(|looped| looped.name.to_string());
    let said: Vec<_> = looped.iter().map(|l| (l.name.to_string(), l.upstream)).collect();
    assert_eq!(said, [(".".to_owned(), TWO), ("corp.example.".to_owned(), TWO)]);
    let probes: HashSet<_> = room.calls().iter().map(|c| c.query[12..].to_vec()).collect();
    assert_eq!(probes.len(), 3, "a name of its own for each");
    for call in room.calls() {
        let end = call.query.len() - 11 - 4;
        let asked = Key::from_folded(&call.query[12..end]);
        let below = Key::parse("eipdns-loop.", None).unwrap();
        let corp = Key::parse("eipdns-loop.corp.example.", None).unwrap();
        assert!(asked.is_under(&below) || asked.is_under(&corp), "{asked}");
        assert!(!room.forwarder.is_probe(asked.octets()), "over");
    }
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_cannot_work_is_refused() {
    let refused =
        |rules| Forwarder::new(&ForwardConfig { rules }, &Share::default()).err().unwrap();
    let root = Key::root();
    assert_eq!(refused(vec![rule(&["."], &[])]), ConfigError::NoUpstream(root.clone()));
    let twice = vec![rule(&["."], &[ONE]), rule(&["a.", "."], &[TWO])];
    assert_eq!(refused(twice), ConfigError::Twice(root.clone()));
    let zero = vec![Rule { max_rate: Some(0), ..rule(&["."], &[ONE]) }];
    assert_eq!(refused(zero), ConfigError::NoRate(root.clone()));
    for upstream in ["0.0.0.0:53", "[::]:53", "224.0.0.251:5353", "192.0.2.1:0"] {
        let upstream = upstream.parse().unwrap();
        let error = ConfigError::Address { name: root.clone(), upstream };
        assert_eq!(refused(vec![rule(&["."], &[upstream])]), error);
    }
}

#[test]
fn our_own_addresses_are_known() {
    let parse = |texts: &[&str]| -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let config =
        |upstreams: &[&str]| ForwardConfig { rules: vec![rule(&["."], &parse(upstreams))] };
    let upstreams =
        config(&["127.0.0.1:53", "127.0.0.2:53", "192.0.2.1:53", "127.0.0.1:54", "[::1]:53"]);
    assert_eq!(upstreams.own(&parse(&["127.0.0.1:53"])), parse(&["127.0.0.1:53"]));
    assert_eq!(upstreams.own(&parse(&["127.0.0.3:53", "192.0.2.1:54"])), []);
    let everywhere = upstreams.own(&parse(&["0.0.0.0:53"]));
    assert_eq!(everywhere, parse(&["127.0.0.1:53", "127.0.0.2:53"]));
    assert_eq!(upstreams.own(&parse(&["[::ffff:127.0.0.1]:54"])), parse(&["127.0.0.1:54"]));
    assert_eq!(upstreams.own(&[]), []);
}

#[test]
fn the_try_fits_into_the_deadline() {
    assert!(TRY * 3 < DEADLINE);
    assert!(CLIENT_PATIENCE > TRY, "a second try is made before a stale answer goes out");
}
