//! What stands while the answers cannot be built.

use super::*;

/// Set while [`fragile`] is to panic about an inventory with addresses.
static BROKEN: AtomicBool = AtomicBool::new(false);

fn fragile(input: &Input<'_>, serials: &mut Serials, before: Option<&Snapshot>) -> Snapshot {
    let knows = input.inventory.sources.iter().any(|source| source.entries.is_some());
    assert!(!(knows && BROKEN.load(Ordering::SeqCst)), "a test of what a panic does");
    compile(input, serials, before)
}

/// One test, as they share what breaks: the answers before stand, it shows,
/// it is tried again, and state that makes it panic is of no use.
#[test]
fn a_panic_while_building_changes_nothing_and_is_tried_again() {
    let config = ec2("east", "");
    let made = |state| Writer::with(start(&config, state), fragile);
    let (mut writer, _) = made(State::default()).unwrap();
    deliver(&mut writer, Some(BOTH));
    let good = writer.state();
    let (generation, published) =
        (writer.store().full().snapshot.generation, writer.published_at());

    BROKEN.store(true, Ordering::SeqCst);
    let moved = delivery(&writer, Some(&[(1, 9), (2, 2)]));
    let said = writer.take(0, &moved).unwrap_err().to_string();
    assert!(said.contains("(a test of what a panic does)"), "{said}");
    assert_eq!(writer.trouble().unwrap().to_string(), said);
    assert_eq!(answered(&writer), both());
    assert_eq!(
        (writer.store().full().snapshot.generation, writer.published_at()),
        (generation, published)
    );
    assert_eq!(writer.state().sources, good.sources, "a restart finds what could be answered");
    // A configuration whose answers cannot be built is refused.
    let other = ec2("main", "ttl = 9");
    let next = Next { at_hand: nothing(&other), config: other, addresses: vec![], forwarder: None };
    assert!(writer.prepare(next).is_err());
    assert_eq!(writer.config().server.sources[0].name, "east");

    // The next delivery, equal to the one that failed, is tried again.
    BROKEN.store(false, Ordering::SeqCst);
    writer.take(0, &moved).unwrap();
    assert_eq!(answered(&writer), [(1, Some(9)), (2, Some(2))]);
    assert_eq!(writer.trouble(), None);

    // So is one that is as before the trouble.
    BROKEN.store(true, Ordering::SeqCst);
    let again = delivery(&writer, Some(&[(1, 8), (2, 2)]));
    writer.take(0, &again).unwrap_err();
    BROKEN.store(false, Ordering::SeqCst);
    writer.take(0, &moved).unwrap();
    assert_eq!(writer.trouble(), None);

    // At the start: without the state, and without ever answering nothing.
    let state = writer.state();
    BROKEN.store(true, Ordering::SeqCst);
    let (started, of_no_use) = made(state.clone()).unwrap();
    assert!(of_no_use.is_some() && started.trouble().is_none());
    assert_eq!((answered(&started), started.store().full().snapshot.views.len()), (vec![], 3));
    BROKEN.store(false, Ordering::SeqCst);
    let (started, of_no_use) = made(state).unwrap();
    assert!(of_no_use.is_none());
    assert_eq!(answered(&started), [(1, Some(9)), (2, Some(2))]);

    // State that has waited long enough: it goes on waiting, and is in nobody's way.
    let mut old = writer.state();
    for source in old.sources.values_mut() {
        source.delivered_at -= Duration::from_secs(3_600);
    }
    let (mut started, _) = made(old.clone()).unwrap();
    BROKEN.store(true, Ordering::SeqCst);
    started.serve_waiting_state();
    BROKEN.store(false, Ordering::SeqCst);
    assert!(started.inventory().sources[0].entries.is_none(), "all else can be compiled");
    assert_eq!(started.state().sources, old.sources);

    // Served or not, it is said once that it is.
    let queue: &'static Queue = Box::leak(Box::default());
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || queue).finish();
    tracing::subscriber::with_default(log, || {
        for broken in [true, true, true, false, false] {
            BROKEN.store(broken, Ordering::SeqCst);
            let failing = delivery(&started, None);
            assert_eq!(started.take(0, &failing).is_err(), broken);
        }
    });
    assert!(started.inventory().sources[0].entries.is_some());
    let mut said = Vec::new();
    queue.end(Duration::ZERO);
    queue.write_to(&mut said);
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said.matches("no word from the source").count(), 1, "{said}");
    assert!(said.contains("addresses=2"), "{said}");
}
