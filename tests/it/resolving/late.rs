//! Upstreams that say nothing, or say it late. In what time clients hear of it is
//! tested on a virtual clock (`forward::tests::timing`).

use std::sync::{Condvar, Mutex};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::Client;
use super::scripts::{server, wrong};
use crate::fixtures::upstream::{Answer, FOREIGN, Upstream, everything};
use crate::harness::{PRIVATE, remarks};

/// The client hears of it, and our own names do not wait.
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
        let asks = names.map(|name| scope.spawn(move || client.ask(name, RecordType::A)));
        upstream.wait_for("dead.test.", 1);
        upstream.wait_for("forged.test.", 1);
        assert_eq!(client.data("db.example.com.", RecordType::A), [PRIVATE]);
        assert!(asks.iter().all(|ask| !ask.is_finished()), "while the others wait");
        for ask in asks {
            let told = ask.join().unwrap();
            assert_eq!(told.metadata.response_code, ResponseCode::ServFail);
            let expected = (22, format!("{}: no reply", upstream.at));
            assert_eq!(remarks(&told), [expected]);
        }
    });
    for name in ["dead.test.", "forged.test."] {
        let tries = upstream.count(name);
        assert!((2..=4).contains(&tries), "{name}: one a second, whoever waits: {tries}");
    }
}

/// Closed until it is opened.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.lock().unwrap();
        drop(self.1.wait_while(open, |open| !*open).unwrap());
    }
}

/// Slower than a try, and slower than any client.
#[test]
fn slow_answers() {
    let gate = Gate::default();
    let tries = Mutex::new(0);
    let upstream = Upstream::start(move |asked| match asked.label().as_str() {
        // The first try is answered once there is a second, which is not.
        "second" => {
            *tries.lock().unwrap() += 1;
            if *tries.lock().unwrap() > 1 {
                gate.open();
                return Answer::Silence;
            }
            gate.wait();
            everything(asked).into()
        }
        "never" => Answer::Silence,
        _ => everything(asked).into(),
    });
    let (_dir, server) = server(&[&upstream]);
    let client = Client::of(server.dns);
    std::thread::scope(|scope| {
        let late = scope.spawn(move || client.ask("never.test.", RecordType::A));
        assert_eq!(client.data("second.test.", RecordType::A), [FOREIGN], "the first try counts");
        let tries = upstream.count("second.test.");
        assert!(tries >= 2, "{tries}");
        assert_eq!(client.data("second.test.", RecordType::A), [FOREIGN]);
        assert_eq!(upstream.count("second.test."), tries, "from the cache");
        let told = late.join().unwrap();
        assert_eq!(told.metadata.response_code, ResponseCode::ServFail);
    });
}
