//! Who gets a place, and at whose cost.

use std::net::IpAddr;
use std::task::{Context, Waker};

use proptest::prelude::*;

use super::*;

fn pool(places: usize, per_client: usize) -> Arc<Pool> {
    Pool::new(places, per_client, AtOwnLimit::Refuse)
}

fn client(last: u8) -> Client {
    IpAddr::from([10, 0, 0, last]).into()
}

fn admit(pool: &Arc<Pool>, last: u8) -> Permit {
    pool.admit(client(last)).unwrap()
}

fn ready<T>(future: impl Future<Output = T>) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Has the place been given away?
fn gone(permit: &Permit) -> bool {
    let gone = ready(permit.evicted());
    if gone {
        // The permit is there once for whoever waits: put it back.
        permit.place.evict();
    }
    gone
}

fn all_gone(permits: &[Permit]) -> Vec<bool> {
    permits.iter().map(gone).collect()
}

#[test]
fn a_client_has_its_own_limit() {
    let pool = pool(10, 2);
    let first = admit(&pool, 1);
    let _second = pool.admit("::ffff:10.0.0.1".parse::<IpAddr>().unwrap().into()).unwrap();
    assert_eq!(pool.admit(client(1)).unwrap_err(), Refusal::Client);
    let _other = admit(&pool, 2);
    drop(first);
    let _again = admit(&pool, 1);
    assert_eq!(pool.admit(client(1)).unwrap_err(), Refusal::Client);
}

#[test]
fn where_own_ones_are_replaced_it_is_the_longest_idle_that_goes() {
    let pool = Pool::new(10, 3, AtOwnLimit::Replace);
    let permits: Vec<_> = (0..3).map(|_| admit(&pool, 1)).collect();
    permits[0].renew();
    permits[1].work();
    let fourth = admit(&pool, 1);
    assert_eq!(all_gone(&permits), [false, false, true]);
    let fifth = admit(&pool, 1);
    assert_eq!(all_gone(&permits), [true, false, true]);
    // Those that are left are all at work.
    [&fourth, &fifth].into_iter().for_each(Permit::work);
    assert_eq!(pool.admit(client(1)).unwrap_err(), Refusal::Client);
    let _other = admit(&pool, 2);
    assert_eq!(pool.taken(), 4);
}

#[test]
fn the_idle_one_of_who_has_most_makes_place() {
    let pool = pool(4, 4);
    let few = admit(&pool, 1);
    let most: Vec<_> = (0..3).map(|_| admit(&pool, 2)).collect();
    most[0].touch();
    let _third = admit(&pool, 3);
    assert!(!gone(&few), "it was idle for longer, but it has only one");
    assert_eq!(all_gone(&most), [false, true, false]);
    let _fourth = admit(&pool, 4);
    assert!(!gone(&few));
    assert_eq!(all_gone(&most), [false, true, true]);
    // Each has one now, the mark of the last look is off: the longest idle.
    let _fifth = admit(&pool, 5);
    assert!(gone(&few));
    assert_eq!(pool.taken(), 4);
}

/// Who keeps all its connections at work keeps nobody out, and gets nothing
/// at the cost of who has less.
#[test]
fn at_work_or_not_who_has_most_gives() {
    let pool = pool(8, 8);
    let heavy: Vec<_> = (0..7).map(|_| admit(&pool, 1)).collect();
    let light = admit(&pool, 2);
    let at_work = || heavy.iter().chain([&light]).for_each(Permit::touch);
    at_work();
    let mut newcomers = Vec::new();
    for last in 3..6 {
        newcomers.push(admit(&pool, last));
        at_work();
        newcomers.iter().for_each(Permit::touch);
    }
    assert_eq!(all_gone(&heavy).iter().filter(|gone| **gone).count(), 3);
    assert!(!gone(&light) && newcomers.iter().all(|newcomer| !gone(newcomer)));
    // It has four still. Another one is at the cost of its own.
    let own = admit(&pool, 1);
    assert_eq!(all_gone(&heavy).iter().filter(|gone| **gone).count(), 4);
    // The light one may grow until both have about as many.
    newcomers.push(admit(&pool, 2));
    at_work();
    newcomers.iter().chain([&own]).for_each(Permit::touch);
    newcomers.push(admit(&pool, 2));
    assert!(gone(&light), "its own");
    let count = |last| pool.book().count(client(last));
    assert_eq!((count(1), count(2)), (3, 2));
}

#[test]
fn everybody_at_work_with_one_each_still_lets_a_newcomer_in() {
    let pool = pool(3, 1);
    let all: Vec<_> = (1..4).map(|last| admit(&pool, last)).collect();
    all.iter().for_each(Permit::work);
    let newcomer = admit(&pool, 4);
    assert_eq!(all_gone(&all).iter().filter(|gone| **gone).count(), 1);
    assert!(!gone(&newcomer));
}

#[test]
fn lower_limits_hold_at_once() {
    let pool = pool(4, 4);
    let old: Vec<_> = (0..4).map(|_| admit(&pool, 1)).collect();
    pool.set(2, 1);
    assert_eq!((pool.taken(), pool.book().leaving), (2, 2));
    assert_eq!(pool.admit(client(1)).unwrap_err(), Refusal::Client);
    let _new = admit(&pool, 2);
    assert_eq!(all_gone(&old).iter().filter(|gone| **gone).count(), 3);
    assert_eq!(pool.taken(), 2);
}

#[test]
fn nothing_to_evict_is_said() {
    assert!(!pool(1, 1).evict());
    assert_eq!(pool(0, 1).admit(client(1)).unwrap_err(), Refusal::Full);
}

/// A descriptor is taken until its connection has ended, whoever has the
/// place by then.
#[test]
fn who_accepts_waits_for_those_that_are_leaving() {
    let pool = pool(MAX_LEAVING, MAX_LEAVING);
    let old: Vec<_> = (0..MAX_LEAVING).map(|_| admit(&pool, 1)).collect();
    let mut new: Vec<_> = (1..MAX_LEAVING).map(|nth| admit(&pool, nth as u8 + 1)).collect();
    assert!(ready(pool.settled()));
    new.push(admit(&pool, 99));
    let mut settled = pin!(pool.settled());
    let mut context = Context::from_waker(Waker::noop());
    assert!(settled.as_mut().poll(&mut context).is_pending());
    let (first, rest) = old.split_first().unwrap();
    assert!(gone(first) && rest.iter().all(gone));
    drop(old);
    assert!(settled.as_mut().poll(&mut context).is_ready());
    assert_eq!((pool.taken(), pool.book().leaving), (MAX_LEAVING, 0));
}

/// What a connection, or somebody who accepts, may do.
#[derive(Debug, Clone)]
enum Step {
    Admit(u8),
    Drop(usize),
    Touch(usize),
    Work(usize),
    Renew(usize),
    Set(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let any_one = 0usize..32;
    prop_oneof![
        6 => (0u8..6).prop_map(Step::Admit),
        2 => any_one.clone().prop_map(Step::Drop),
        2 => any_one.clone().prop_map(Step::Touch),
        2 => any_one.clone().prop_map(Step::Work),
        2 => any_one.prop_map(Step::Renew),
        1 => (0usize..12, 1usize..8).prop_map(|(places, each)| Step::Set(places, each)),
    ]
}

proptest! {
    /// Counts are right, limits hold, and nobody who has little loses it to
    /// somebody who has more.
    #[test]
    fn counts_and_limits_hold(steps in prop::collection::vec(step(), 0..400)) {
        let pool = pool(8, 4);
        let mut permits: Vec<Permit> = Vec::new();
        for step in steps {
            let nth = |at: usize, all: &[Permit]| at % all.len().max(1);
            match step {
                Step::Admit(last) => {
                    let before: Vec<_> =
                        (0..6).map(|last| pool.book().count(client(last))).collect();
                    let Ok(permit) = pool.admit(client(last)) else { continue };
                    permits.push(permit);
                    let limit = pool.book().limit;
                    prop_assert!(pool.taken() <= limit);
                    let most = before.iter().max().unwrap();
                    for other in (0..6).filter(|other| *other != last) {
                        let had = before[usize::from(other)];
                        let lost = had > pool.book().count(client(other));
                        prop_assert!(!lost || had == *most);
                    }
                }
                Step::Drop(at) if !permits.is_empty() => {
                    drop(permits.swap_remove(nth(at, &permits)));
                }
                Step::Touch(at) => permits.get(nth(at, &permits)).into_iter().for_each(Permit::touch),
                Step::Work(at) => permits.get(nth(at, &permits)).into_iter().for_each(Permit::work),
                Step::Renew(at) => permits.get(nth(at, &permits)).into_iter().for_each(Permit::renew),
                Step::Set(places, each) => pool.set(places, each),
                Step::Drop(_) => {}
            }
            let book = pool.book();
            prop_assert!(book.is_consistent());
            prop_assert_eq!(book.taken + book.leaving, permits.len());
        }
        drop(permits);
        let book = pool.book();
        prop_assert!(book.taken == 0 && book.leaving == 0 && book.is_consistent());
    }
}
