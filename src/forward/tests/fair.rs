//! One client's many questions, and another's few.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future;
use hickory_proto::op::ResponseCode;
use tokio::time;

use super::room::{
    Act, After, Asking, Call, ONE, Room, Silence, TWO, address, answered, limited, longest, remark,
};
use super::{asks_a, name};
use crate::forward::forwarder::Asked;
use crate::forward::network::Via;
use crate::forward::upstream::now;
use crate::forward::{Age, DEADLINE, MAX_FLIGHTS, MAX_REFRESHES};

const ROUND_TRIP: Duration = Duration::from_millis(5);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn answers(call: &Call) -> Act {
    After(ROUND_TRIP, call.draft().a(9, [1; 4]))
}

/// More than any limit here allows, from client 1.
fn flood(count: u32) -> Asking {
    Asking { client: 1, label: "flood", every: ms(1), count }
}

#[tokio::test(start_paused = true)]
async fn a_client_with_few_questions_does_not_wait_for_one_with_many() {
    let room = Room::with(vec![limited(800, &[ONE])], answers);
    let flood =
        Asking { client: 1, label: "flood", every: Duration::from_micros(333), count: 9_000 };
    let few = Asking { client: 2, label: "few", every: ms(200), count: 15 };
    let (flood, few) = future::join(flood.run(&room), few.run(&room)).await;
    assert_eq!(answered(&few), 15);
    assert!(longest(&few) <= ROUND_TRIP + ms(10), "{:?}", longest(&few));
    // What may be sent is sent, and the rest is told so.
    assert!((2_400..3_300).contains(&answered(&flood)), "{} answered", answered(&flood));
    assert!(longest(&flood) < ms(1_100), "{:?}", longest(&flood));
}

#[tokio::test(start_paused = true)]
async fn nor_while_the_others_names_are_silent() {
    let room = Room::with(vec![limited(100, &[ONE])], |call| match call.query.get(13..17) {
        Some(b"dead") => Silence,
        _ => answers(call),
    });
    let flood = Asking { client: 1, label: "dead", every: ms(1), count: 8_000 };
    let few = Asking { client: 2, label: "few", every: ms(200), count: 40 };
    let (flood, few) = future::join(flood.run(&room), few.run(&room)).await;
    assert_eq!((answered(&flood), answered(&few)), (0, 40));
    assert!(longest(&few) <= ROUND_TRIP + ms(40), "{:?}", longest(&few));
    assert!(longest(&flood) <= DEADLINE, "{:?}", longest(&flood));
}

/// It waits for a flight of somebody whose line is long, and leaves in its own
/// turn.
#[tokio::test(start_paused = true)]
async fn who_joins_does_not_wait_in_the_others_line() {
    let room = Room::with(vec![limited(100, &[ONE])], answers);
    let joins = async {
        time::sleep(ms(2_000)).await;
        // The last one that found a place in the line.
        let waits = room.forwarder.load().outstanding;
        assert!(waits > 80, "{waits} wait");
        let text = (0..2_000).rev().map(|nth| format!("flood{nth}.example."));
        let mut text = text.filter(|text| room.is_under_way(text));
        let text = text.next().unwrap();
        let begun = room.elapsed();
        let hit = room.answer_to(2, &text).await;
        assert_eq!(hit.rcode(), ResponseCode::NoError);
        assert!(room.elapsed() - begun <= 5 + 30, "{} ms", room.elapsed() - begun);
        let asked = name(&text);
        room.calls().iter().filter(|call| call.query[12..].starts_with(&asked)).count()
    };
    let (_, sent) = future::join(flood(4_000).run(&room), joins).await;
    assert_eq!(sent, 1);
}

/// Long answers cost several packets: a flood of them takes no more than one
/// of short ones, and it gets somewhere.
#[tokio::test(start_paused = true)]
async fn answers_over_tcp_take_their_share_and_no_more() {
    let room =
        Room::with(vec![limited(800, &[ONE])], |call| match (call.via, &call.query[13..15]) {
            (Via::Udp, b"fl") => After(ROUND_TRIP, call.draft().flags(2, 0)),
            _ => answers(call),
        });
    let few = Asking { client: 2, label: "few", every: ms(100), count: 40 };
    let many = Asking { client: 3, label: "many", every: ms(1), count: 4_000 };
    let (long, few, many) =
        future::join3(flood(4_000).run(&room), few.run(&room), many.run(&room)).await;
    assert_eq!(answered(&few), 40);
    assert!(longest(&few) <= ROUND_TRIP + ms(30), "{:?}", longest(&few));
    // Half of the packets each, and one of the long answers takes seven.
    let (long, many) = (answered(&long), answered(&many));
    assert!((1_500..2_100).contains(&many), "{many} short ones");
    assert!((180..320).contains(&long), "{long} long ones");
}

/// Packets of a TCP connection are counted where it begins.
#[tokio::test(start_paused = true)]
async fn checks_and_retries_are_within_the_limit() {
    let room = Room::with(vec![limited(100, &[ONE])], |call| match call.query.get(13..17) {
        Some(b"dead") => Silence,
        Some(b"edns") if call.has_edns() => After(ROUND_TRIP, call.draft().rcode(1)),
        _ => answers(call),
    });
    let of = |client, label| Asking { client, label, every: ms(2), count: 3_000 };
    let (_, edns, few) = future::join3(
        of(1, "dead").run(&room),
        of(2, "edns").run(&room),
        Asking { client: 3, label: "few", every: ms(200), count: 30 }.run(&room),
    )
    .await;
    assert!(answered(&edns) > 200, "{}", answered(&edns));
    assert_eq!(answered(&few), 30);
    assert!(room.busiest_second(ONE) <= 100, "{}", room.busiest_second(ONE));
    assert!(room.status(ONE).up && !room.checked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_upstreams_are_both_used_to_the_full() {
    let room = Room::with(vec![limited(100, &[ONE, TWO])], answers);
    let few = Asking { client: 2, label: "few", every: ms(100), count: 40 };
    let (flood, few) = future::join(flood(4_000).run(&room), few.run(&room)).await;
    assert_eq!(answered(&few), 40);
    assert!(longest(&few) <= ROUND_TRIP + ms(30), "{:?}", longest(&few));
    assert!((720..=1_000).contains(&answered(&flood)), "{}", answered(&flood));
    for one in [ONE, TWO] {
        let asked = room.calls().iter().filter(|call| call.to == one).count();
        assert!(asked > 360, "{asked} of {one}");
        assert!(room.busiest_second(one) <= 100);
    }
}

/// That it has tokens left is no reason to ask one that is down.
#[tokio::test(start_paused = true)]
async fn a_dead_upstream_is_no_way_out_of_a_flood() {
    let room = Room::with(vec![limited(100, &[ONE, TWO])], |call| match call.to {
        ONE => answers(call),
        _ => Silence,
    });
    room.answer("a.example.").await;
    while room.status(TWO).up {
        room.answer(&format!("at{}.example.", room.elapsed())).await;
        time::sleep(ms(100)).await;
    }
    let before = room.calls().len();
    let few = Asking { client: 2, label: "few", every: ms(100), count: 80 };
    let (_, few) = future::join(flood(8_000).run(&room), few.run(&room)).await;
    assert_eq!(answered(&few), 80);
    assert!(longest(&few) <= ROUND_TRIP + ms(60), "{:?}", longest(&few));
    let dead = room.calls()[before..].iter().filter(|call| call.to == TWO).count();
    assert!((3..=4).contains(&dead), "{dead} probes in 8 s");
}

/// Five clients, one after the other, take all they can get; the sixth has
/// few questions.
#[tokio::test(start_paused = true)]
async fn there_is_a_flight_for_who_comes_late() {
    let room = Room::with(vec![limited(100, &[ONE])], |_| Silence);
    let mut tickets = Vec::new();
    let mut take = |client: u8| {
        let ask = |nth| {
            let text = name(&format!("{nth}.of{client}.example."));
            let asked = room.forwarder.ask(&asks_a(&text), address(client), now());
            let Asked::Later(ticket) = asked else { return None };
            tickets.push(ticket);
            Some(())
        };
        (0..2_000).map_while(ask).count()
    };
    let taken: Vec<_> = (1..=6).map(&mut take).collect();
    assert_eq!(taken, [1_024, 512, 256, 128, 64, 32]);
    assert_eq!(room.forwarder.load().shed.flights, 6);
    future::join_all(tickets).await;
    assert!(room.elapsed() <= DEADLINE.as_millis());
    assert_eq!(room.forwarder.load().outstanding, 0);
    const { assert!(MAX_FLIGHTS == 1_024) };
}

/// Answers that run out, of a client that asks for many and one that asks for
/// few: all upstreams are dead, and stale ones are renewed for both.
#[tokio::test(start_paused = true)]
async fn refreshes_are_shared() {
    let dead = Arc::<AtomicBool>::default();
    let room = Room::with(vec![limited(2_000, &[ONE])], {
        let dead = Arc::clone(&dead);
        move |call| if dead.load(Ordering::Relaxed) { Silence } else { call.answer(1) }
    });
    let many: Vec<_> = (0..MAX_REFRESHES * 3).map(|nth| format!("many{nth}.example.")).collect();
    future::join_all(many.iter().map(|text| room.answer_to(1, text))).await;
    room.answer_to(2, "few.example.").await;
    time::advance(Duration::from_secs(2)).await;
    dead.store(true, Ordering::Relaxed);
    future::join_all(many.iter().map(|text| room.answer_to(1, text))).await;
    room.answer_to(2, "few.example.").await;
    time::sleep(DEADLINE + Duration::from_secs(30)).await;
    for text in &many {
        assert!(matches!(room.answer_to(1, text).await.age(), Age::Stale(_)));
    }
    let load = room.forwarder.load();
    assert_eq!((load.outstanding, load.shed.refreshes), (64, 128));
    // The same name: the first may not have it renewed, the second may.
    for (client, outstanding) in [(1, 64), (2, 65), (2, 65)] {
        assert!(matches!(room.answer_to(client, "few.example.").await.age(), Age::Stale(_)));
        assert_eq!(room.forwarder.load().outstanding, outstanding);
    }
}

/// That one client has had its share is no reason to give others old answers.
#[tokio::test(start_paused = true)]
async fn what_one_may_not_ask_others_may() {
    let room = Room::with(vec![limited(16, &[ONE])], |call| call.answer(10));
    room.answer_to(2, "db.example.").await;
    time::sleep(Duration::from_secs(20)).await;
    let floods = async {
        time::sleep(ms(500)).await;
        let hit = room.answer_to(1, "db.example.").await;
        assert_eq!((hit.rcode(), hit.age()), (ResponseCode::NoError, Age::Stale(10)));
        let hit = room.answer_to(1, "new.example.").await;
        let text =
            "192.0.2.1: not asked: max_rate is used up, and those who wait have had their share";
        assert_eq!(remark(&hit), (0, text.into()));
        let hit = room.answer_to(2, "db.example.").await;
        assert_eq!((hit.rcode(), hit.age()), (ResponseCode::NoError, Age::New));
    };
    future::join(flood(1_000).run(&room), floods).await;
    assert!(room.status(ONE).throttled > 900);
}
