use std::sync::mpsc::{Sender, channel};

use super::attempt::under_way;
use super::*;
use std::thread;

const SHORT: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

/// Work that ends when it is told what to bring.
fn gate() -> (Sender<u8>, impl FnOnce() -> u8 + Send + 'static) {
    let (open, closed) = channel();
    (open, move || closed.recv().unwrap_or_default())
}

fn here(place: &Place) -> usize {
    under_way().of.get(place).copied().unwrap_or_default()
}

/// Threads end a moment after they have told.
fn until_here(place: &Place, expected: usize) {
    let began = std::time::Instant::now();
    while here(place) != expected {
        assert!(began.elapsed() < PATIENCE, "{} under way", here(place));
        thread::yield_now();
    }
}

async fn next(aside: &mut Aside<u8>) -> Result<u8, AsideError> {
    tokio::time::timeout(PATIENCE, aside.next()).await.expect("nothing comes")
}

#[tokio::test]
async fn what_ends_is_brought_and_what_hangs_is_given_up() {
    let place = Place::read(Path::new("/aside/given-up"));
    let mut aside = Aside::new(place.clone(), PATIENCE);
    aside.begin(Cause::Told, || 1).unwrap();
    assert_eq!(next(&mut aside).await.unwrap(), 1);
    assert!(!aside.is_awaited());
    aside.begin(Cause::Told, || panic!("a test")).unwrap();
    assert!(matches!(next(&mut aside).await, Err(AsideError::Panicked)));

    aside.within = SHORT;
    let (open, work) = gate();
    aside.begin(Cause::Told, work).unwrap();
    assert!(matches!(next(&mut aside).await, Err(AsideError::Late(SHORT))));
    assert!(!aside.is_awaited());
    assert!(hanging().0 > 0);
    // Another one meanwhile.
    aside.within = PATIENCE;
    aside.begin(Cause::Told, || 3).unwrap();
    assert_eq!(next(&mut aside).await.unwrap(), 3);
    // What the late one brings is older than that.
    open.send(2).unwrap();
    assert!(tokio::time::timeout(SHORT, aside.next()).await.is_err());
    until_here(&place, 0);
}

#[tokio::test]
async fn what_comes_late_counts_while_nothing_newer_was_quicker() {
    let place = Place::read(Path::new("/aside/late"));
    let mut aside = Aside::new(place.clone(), SHORT);
    let (first, work) = gate();
    aside.begin(Cause::Told, work).unwrap();
    assert!(next(&mut aside).await.is_err());
    let (second, work) = gate();
    aside.begin(Cause::Told, work).unwrap();
    assert!(next(&mut aside).await.is_err());
    first.send(1).unwrap();
    assert_eq!(next(&mut aside).await.unwrap(), 1);
    second.send(2).unwrap();
    assert_eq!(next(&mut aside).await.unwrap(), 2);
    until_here(&place, 0);

    // While a newer one is under way and in time, it is the one waited for.
    let (third, work) = gate();
    aside.begin(Cause::Told, work).unwrap();
    assert!(next(&mut aside).await.is_err());
    aside.within = PATIENCE;
    let (fourth, work) = gate();
    aside.begin(Cause::Told, work).unwrap();
    third.send(3).unwrap();
    assert!(tokio::time::timeout(SHORT, aside.next()).await.is_err());
    assert!(aside.is_awaited());
    fourth.send(4).unwrap();
    assert_eq!(next(&mut aside).await.unwrap(), 4);
}

#[tokio::test]
async fn few_hang_for_each_file_whoever_begins_them() {
    let place = Place::read(Path::new("/aside/few"));
    let mut gates = Vec::new();
    let mut hang = |aside: &mut Aside<u8>, cause| {
        let (open, work) = gate();
        gates.push(open);
        aside.begin(cause, work)
    };
    let mut aside = Aside::new(place.clone(), SHORT);
    hang(&mut aside, Cause::Time).unwrap();
    assert!(matches!(hang(&mut aside, Cause::Time), Err(AsideError::NotYet)));
    for _ in 1..MAX_EACH {
        hang(&mut aside, Cause::Told).unwrap();
    }
    let before = hanging().1;
    assert!(matches!(hang(&mut aside, Cause::Told), Err(AsideError::TooMany)));
    let mut other = Aside::new(place.clone(), SHORT);
    assert!(matches!(hang(&mut other, Cause::Told), Err(AsideError::TooMany)));
    let waited = within(&place, PATIENCE, || 1);
    assert!(matches!(waited, Err(AsideError::TooMany)), "{waited:?}");
    assert!(hanging().1 >= before + 3);
    // Only whose last one hangs has to wait.
    let mut third = Aside::new(place.clone(), SHORT);
    assert!(matches!(hang(&mut third, Cause::Time), Err(AsideError::TooMany)));
    // Of everything else as many as ever.
    assert_eq!(within(&Place::watch(Path::new("/aside/few")), PATIENCE, || 1).unwrap(), 1);
    drop(aside);
    drop(gates);
    until_here(&place, 0);
    assert_eq!(within(&place, PATIENCE, || 1).unwrap(), 1);
    let (open, work) = gate();
    assert!(matches!(within(&place, SHORT, work), Err(AsideError::Late(SHORT))));
    drop(open);
    let panicked = within(&place, PATIENCE, || -> u8 { panic!("a test") });
    assert!(matches!(panicked, Err(AsideError::Panicked)));
    until_here(&place, 0);
}
