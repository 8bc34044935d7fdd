//! Whether an upstream lives, and what the log says of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future;
use hickory_proto::op::ResponseCode;
use tokio::time;

use super::room::{
    Act, After, Asking, Call, ONE, Room, Silence, TWO, Unreachable, answered, heard, remark,
};
use crate::forward::network::Via;
use crate::forward::upstream::now;
use crate::forward::{DEADLINE, TRY};

const ROUND_TRIP: Duration = Duration::from_millis(5);

/// Names that begin with "dead" have no answer, all others have one.
fn some_are_dead(call: &Call) -> Act {
    match call.query.get(13..17) {
        Some(b"dead") => Silence,
        _ => After(ROUND_TRIP, call.draft().a(9, [1; 4])),
    }
}

/// Is it up all the time?
async fn always_up(room: &Room, lasts: Duration) {
    let end = now() + lasts;
    while now() < end {
        time::sleep(Duration::from_millis(10)).await;
        assert!(room.status(ONE).up, "at {} ms", room.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_name_is_no_dead_upstream() {
    let room = Room::new(&[ONE], some_are_dead);
    let dead = Asking { client: 1, label: "dead", every: Duration::from_millis(10), count: 1_000 };
    let good = Asking { client: 2, label: "good", every: Duration::from_millis(50), count: 200 };
    let (log, said) = heard();
    let _listening = tracing::subscriber::set_default(log);
    let up = always_up(&room, Duration::from_secs(14));
    let (_, good, ()) = future::join3(dead.run(&room), good.run(&room), up).await;
    assert_eq!(answered(&good), 200);
    assert_eq!(said(), "");
    assert_eq!(room.status(ONE).round_trip, Some(ROUND_TRIP), "its figure is that of its answers");
    assert!(room.status(ONE).timeouts > 1_000, "which are counted all the same");
}

/// Nobody asks for anything that it could answer: it is asked by us, once a
/// second at most.
#[tokio::test(start_paused = true)]
async fn nor_when_there_are_no_other_names() {
    for (every, count) in [(Duration::from_millis(10), 1_000), (Duration::from_secs(10), 6)] {
        let room = Room::new(&[ONE], some_are_dead);
        let dead = Asking { client: 1, label: "dead", every, count };
        let (log, said) = heard();
        let _listening = tracing::subscriber::set_default(log);
        let up = always_up(&room, every * count + DEADLINE);
        future::join(dead.run(&room), up).await;
        assert_eq!(said(), "");
        let checked = room.checked();
        assert!(checked.len() >= 6);
        assert!(checked.windows(2).all(|two| two[1].1 - two[0].1 >= 1_000), "{checked:?}");
        assert_eq!(room.status(ONE).checks, checked.len() as u64);
        assert_eq!(room.status(ONE).sent, room.calls().len() as u64);
    }
}

/// An upstream that answers until it is told to die.
fn mortal(one: &Arc<AtomicBool>) -> impl Fn(&Call) -> Act + Send + Sync + 'static {
    let dead = Arc::clone(one);
    move |call| match call.to {
        ONE if dead.load(Ordering::Relaxed) => Silence,
        _ => After(ROUND_TRIP, call.draft().a(1, [1; 4])),
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_dies_under_load_is_down_within_two_seconds() {
    let dead = Arc::<AtomicBool>::default();
    let room = Room::new(&[ONE], mortal(&dead));
    let (log, said) = heard();
    let _listening = tracing::subscriber::set_default(log);
    let asking = Asking { client: 1, label: "x", every: Duration::from_millis(1), count: 6_000 };
    let dies = async {
        time::sleep(Duration::from_secs(1)).await;
        dead.store(true, Ordering::Relaxed);
        time::sleep(Duration::from_millis(1_990)).await;
        assert!(room.status(ONE).up);
        time::sleep(Duration::from_millis(30)).await;
        assert!(!room.status(ONE).up);
        dead.store(false, Ordering::Relaxed);
    };
    future::join(asking.run(&room), dies).await;
    assert!(room.status(ONE).up);
    let said = said();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("upstream is down: nothing is heard of it (no reply)"), "{said}");
    assert!(lines[0].contains("upstream=192.0.2.1") && lines[0].contains("left_out=0"), "{said}");
    assert!(lines[1].contains("upstream answers again"), "{said}");
}

/// One question has to wait for it. What else there is to know say checks, so
/// that the status is right although nobody asks.
#[tokio::test(start_paused = true)]
async fn one_that_is_dead_among_two_is_found_out_with_few_questions() {
    let dead = Arc::new(AtomicBool::new(true));
    let room = Room::new(&[ONE, TWO], mortal(&dead));
    for text in ["a.example.", "b.example."] {
        assert_eq!(room.answer(text).await.rcode(), ResponseCode::NoError);
    }
    assert_eq!(room.asked(), [(ONE, 0), (TWO, 1_000), (TWO, 1_005)]);
    time::sleep(Duration::from_secs(7)).await;
    assert!(!room.status(ONE).up);
    assert_eq!(room.checked(), [(ONE, 1_000), (ONE, 2_000)], "and no more once it is known");
    room.answer("c.example.").await;
    assert_eq!(room.asked()[3..], [(TWO, 8_010), (ONE, 8_010)], "it is probed on the side");
}

#[tokio::test(start_paused = true)]
async fn a_closed_port_is_a_dead_upstream_after_two_seconds() {
    let room = Room::new(&[ONE], |_| Unreachable);
    assert_eq!(room.answer("a.example.").await.rcode(), ResponseCode::ServFail);
    assert_eq!(room.elapsed(), 0, "but nobody waits for that");
    assert!(room.status(ONE).up);
    time::sleep(TRY * 2 + Duration::from_millis(1)).await;
    assert!(!room.status(ONE).up);
    assert_eq!(room.checked(), [(ONE, 1_000), (ONE, 2_000)]);
}

/// Its TCP does not work, and a client asks for nothing but long answers.
#[tokio::test(start_paused = true)]
async fn an_upstream_without_tcp_is_alive() {
    let room = Room::new(&[ONE], |call| match call.via {
        Via::Udp => After(ROUND_TRIP, call.draft().flags(2, 0)),
        Via::Tcp => Unreachable,
    });
    let (log, said) = heard();
    let _listening = tracing::subscriber::set_default(log);
    let asking = Asking { client: 1, label: "x", every: Duration::from_millis(1), count: 5_000 };
    let up = always_up(&room, Duration::from_secs(6));
    let (all, ()) = future::join(asking.run(&room), up).await;
    assert_eq!(answered(&all), 0);
    assert_eq!(said(), "");
}

#[tokio::test(start_paused = true)]
async fn sockets_that_are_used_up_say_nothing_of_it() {
    let room = Room::new(&[ONE], |_| Act::NoSocket);
    let asking = Asking { client: 1, label: "x", every: Duration::from_millis(1), count: 5_000 };
    future::join(asking.run(&room), always_up(&room, Duration::from_secs(6))).await;
    assert!(room.checked().is_empty());
}

/// Up and down every few seconds for ten minutes: a line a minute for each,
/// and what was said last is so.
#[tokio::test(start_paused = true)]
async fn one_that_comes_and_goes_does_not_fill_the_log() {
    let dead = Arc::<AtomicBool>::default();
    let room = Room::new(&[ONE], mortal(&dead));
    let (log, said) = heard();
    let _listening = tracing::subscriber::set_default(log);
    let asking =
        Asking { client: 1, label: "x", every: Duration::from_millis(100), count: 10 * 600 };
    let turns = async {
        for nth in 0..60 {
            dead.store(nth % 2 == 1, Ordering::Relaxed);
            time::sleep(Duration::from_secs(10)).await;
        }
    };
    future::join(asking.run(&room), turns).await;
    let count = |what: &str| said().lines().filter(|line| line.contains(what)).count();
    for what in ["upstream is down", "upstream answers again"] {
        assert!((9..=11).contains(&count(what)), "{}", said());
    }
    let left_out = |line: &str| {
        let at = line.find("left_out=").unwrap() + "left_out=".len();
        line[at..].split_whitespace().next().unwrap().parse::<usize>().unwrap()
    };
    let left_out: usize = said().lines().map(left_out).sum();
    // It died thirty times, the last time a moment ago.
    assert!((27..=29).contains(&(left_out + count("is down"))), "{left_out}: {}", said());
    // It died last, and stays so.
    time::sleep(Duration::from_secs(61)).await;
    assert!(!room.status(ONE).up);
    assert!(said().lines().last().unwrap().contains("upstream is down"), "{}", said());
}

#[tokio::test(start_paused = true)]
async fn what_an_upstream_cannot_do_is_said_once() {
    let room = Room::new(&[ONE], |call| match call.has_edns() {
        true => After(ROUND_TRIP, call.draft().rcode(1)),
        false => call.answer(300),
    });
    let (log, said) = heard();
    let _listening = tracing::subscriber::set_default(log);
    let asking = Asking { client: 1, label: "x", every: Duration::ZERO, count: 500 };
    assert_eq!(answered(&asking.run(&room).await), 500);
    assert_eq!(said().lines().count(), 1, "{}", said());
    assert!(said().contains("upstream does not know EDNS"));
}

/// ONE says no while another try is under way: that is no silence.
#[tokio::test(start_paused = true)]
async fn who_says_no_is_not_silent() {
    let room = Room::new(&[ONE, TWO], |call| match call.to {
        ONE => After(Duration::from_millis(1_500), call.draft().rcode(2)),
        _ => After(Duration::from_millis(100), call.draft().rcode(5)),
    });
    let hit = room.answer("db.example.").await;
    assert_eq!(remark(&hit).1, "192.0.2.2: REFUSED; 192.0.2.1: SERVFAIL");
    assert_eq!(room.elapsed(), 1_500);
    let timeouts = [ONE, TWO].map(|one| room.status(one).timeouts);
    assert_eq!(timeouts, [1, 0]);
}

/// Of two that lose packets each now and then, the one that loses more is
/// asked less; a name that both are silent about counts for neither.
#[tokio::test(start_paused = true)]
async fn who_loses_packets_is_asked_less() {
    let count = Mutex::new(0);
    let room = Room::new(&[ONE, TWO], move |call| {
        let mut count = count.lock().unwrap();
        *count += 1;
        match (call.to, call.query.get(13..17)) {
            (_, Some(b"dead")) => Silence,
            (ONE, _) if *count % 3 == 0 => Silence,
            (ONE, _) => After(ROUND_TRIP, call.draft().a(9, [1; 4])),
            _ => After(ROUND_TRIP * 2, call.draft().a(9, [1; 4])),
        }
    });
    let good = Asking { client: 1, label: "good", every: Duration::from_millis(20), count: 2_000 };
    let dead = Asking { client: 2, label: "dead", every: Duration::from_millis(50), count: 800 };
    let (good, _) = future::join(good.run(&room), dead.run(&room)).await;
    assert_eq!(answered(&good), 2_000);
    let asked = |to| {
        let good = |call: &&Call| call.to == to && call.query.get(13..17) == Some(b"good");
        room.calls().iter().filter(good).count()
    };
    assert!(asked(ONE) * 5 < asked(TWO), "{} and {}", asked(ONE), asked(TWO));
    assert!(room.status(TWO).round_trip <= Some(ROUND_TRIP * 2));
}
