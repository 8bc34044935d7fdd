//! Upstreams that say nothing, or say it late.

use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::scripts::{RIGHT, right, server, wrong};
use super::upstream::{Answer, Upstream};
use super::{Client, remarks};

/// glibc's: by then it has turned to its next server.
const STUB_GIVES_UP: Duration = Duration::from_secs(5);

/// The client hears of it before it gives up, and our own names do not wait.
#[test]
fn silence() {
    let upstream = Upstream::start(|asked| match asked.label().as_str() {
        "forged" => Answer::Say(wrong(asked)),
        _ => Answer::Silence,
    });
    let (_dir, server) = server(&[&upstream]);
    let client = Client::of(server.dns);
    let names = ["dead.test.", "dead.test.", "dead.test.", "forged.test."];
    std::thread::scope(|scope| {
        let asks = names.map(|name| {
            scope.spawn(move || {
                let begun = Instant::now();
                (client.ask(name, RecordType::A), begun.elapsed())
            })
        });
        upstream.wait_for("dead.test.", 1);
        upstream.wait_for("forged.test.", 1);
        assert_eq!(client.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
        assert!(asks.iter().all(|ask| !ask.is_finished()), "while the others wait");
        for ask in asks {
            let (told, took) = ask.join().unwrap();
            assert_eq!(told.metadata.response_code, ResponseCode::ServFail);
            let why = remarks(&told);
            assert_eq!(why.len(), 1);
            let expected = (22, format!("{}: no reply", upstream.at));
            assert_eq!(why[0], expected);
            assert!(took < STUB_GIVES_UP, "{took:?}");
        }
    });
    for name in ["dead.test.", "forged.test."] {
        let tries = upstream.count(name);
        assert!((2..=4).contains(&tries), "{name}: one a second, whoever waits: {tries}");
    }
}

/// Slower than a try, and slower than any client.
#[test]
fn slow_answers() {
    let upstream = Upstream::start(|asked| {
        // No number: a check whether it lives.
        let wait = asked.label().parse().unwrap_or(0);
        std::thread::sleep(Duration::from_millis(wait));
        right(asked).into()
    });
    let (_dir, server) = server(&[&upstream]);
    let client = Client::of(server.dns);
    std::thread::scope(|scope| {
        let late = scope.spawn(move || {
            let begun = Instant::now();
            (client.ask("6000.test.", RecordType::A), begun.elapsed())
        });
        let begun = Instant::now();
        assert_eq!(client.data("1500.test.", RecordType::A), [RIGHT]);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(1_500), "{took:?}");
        assert!(took < Duration::from_millis(2_500), "the first try counts: {took:?}");
        assert_eq!(upstream.count("1500.test."), 2, "a second was on its way");
        assert_eq!(client.data("1500.test.", RecordType::A), [RIGHT]);
        assert_eq!(upstream.count("1500.test."), 2, "from the cache");

        let (told, took) = late.join().unwrap();
        assert_eq!(told.metadata.response_code, ResponseCode::ServFail);
        assert!(took < STUB_GIVES_UP, "{took:?}");
    });
}
