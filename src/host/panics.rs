//! What is said of a panic: through the log, as the standard library's own way
//! writes to stderr itself and would wait for whoever reads that.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::BTreeMap;
use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::often::Often;
use crate::host::text::brief;

/// Places that are told apart; what panics elsewhere is one place. A program
/// that panics in so many has other trouble.
const MAX_PLACES: usize = 64;

/// As many characters of a message are shown.
const MAX_MESSAGE: usize = 1000;

/// What was said of which places. Clients may reach the same panic again and
/// again, and another one must be seen beside it.
static SAID: Mutex<BTreeMap<String, Often>> = Mutex::new(BTreeMap::new());

/// From now on panics of this process are said by the log.
pub(crate) fn log_them() {
    panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or("nowhere".into(), ToString::to_string);
    let Some(left_out) = may(&place, Instant::now()) else { return };
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it says nothing");
    let thread = thread::current();
    // Only with RUST_BACKTRACE, as it takes a long time.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    tracing::error!(
        place,
        thread = thread.name().unwrap_or("-"),
        left_out,
        backtrace = backtrace.as_ref().map(tracing::field::display),
        "panic: {}. This is a bug: report it",
        brief(message, MAX_MESSAGE)
    );
}

/// May the panic at `place` be said? With how many of the same were left out.
fn may(place: &str, now: Instant) -> Option<u64> {
    const ELSEWHERE: &str = "";
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let is_new = !said.contains_key(place);
    let place = if is_new && said.len() >= MAX_PLACES { ELSEWHERE } else { place };
    said.entry(place.into()).or_default().may(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::log::Queue;

    #[test]
    fn a_panic_waits_for_no_reader() {
        // As in the tests of `host::log`: another thread must not decide that nobody listens.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
        // Nobody writes what is in it.
        let queue: &'static Queue = Box::leak(Box::default());
        let log = tracing_subscriber::fmt().with_writer(move || queue).finish();
        let before = panic::take_hook();
        let us = thread::current().id();
        panic::set_hook(Box::new(move |panic| {
            if thread::current().id() == us { tell(panic) } else { before(panic) }
        }));
        tracing::subscriber::with_default(log, || {
            for _ in 0..3 {
                assert!(panic::catch_unwind(|| panic!("a {}", "test")).is_err());
            }
        });
        drop(panic::take_hook());
        assert_eq!(queue.status(Instant::now()).waiting, 1, "the same is said once a minute");
        let mut out = Vec::new();
        queue.end(std::time::Duration::ZERO);
        queue.write_to(&mut out);
        let said = String::from_utf8(out).unwrap();
        for part in ["ERROR", "panic: a test. This is a bug", "src/host/panics.rs:"] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
    }

    #[test]
    fn places_are_told_apart_and_have_a_bound() {
        let now = Instant::now();
        let places: Vec<_> = (0..2 * MAX_PLACES).map(|n| format!("made up {n}")).collect();
        let said = places.iter().filter(|place| may(place, now).is_some()).count();
        assert!((MAX_PLACES - 1..=MAX_PLACES + 1).contains(&said), "{said}");
        assert_eq!(may(&places[0], now), None);
        assert_eq!(may(&places[0], now + super::super::often::QUIET), Some(1));
        assert!(SAID.lock().unwrap().len() <= MAX_PLACES + 1);
    }
}
