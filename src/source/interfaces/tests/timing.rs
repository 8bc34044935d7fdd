//! When it asks, on a clock that stands still until all wait.

use tokio::time::Instant;

use super::*;

/// Whole seconds from the begin of `since`.
fn seconds(since: Instant) -> u64 {
    since.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_round_comes_each_half_minute_and_what_is_new_at_once() {
    let mut east = Running::start();
    let started = Instant::now();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(east.calls.try_recv().is_err(), "nothing is wanted");
    assert_eq!(seconds(started), 3600);

    let first = Instant::now();
    east.want(0..3);
    assert_eq!((east.well().await, first.elapsed() < Duration::from_millis(2)), (3, true));
    for n in 0..10 {
        let before = Instant::now();
        assert_eq!(east.well().await, 3);
        let pause = before.elapsed().as_secs_f64();
        assert!((25.0..=30.01).contains(&pause), "round {n}: {pause}");
    }
    // New ones do not wait for that.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = Instant::now();
    east.want(0..5);
    assert_eq!(east.well().await, 2);
    assert!(before.elapsed() < Duration::from_millis(2));
    // But for each other.
    let before = Instant::now();
    east.want(0..6);
    assert_eq!(east.well().await, 1);
    let pause = before.elapsed().as_millis();
    assert!((195..=205).contains(&pause), "{pause}");
    // And the round is not put off by them.
    let before = Instant::now();
    assert_eq!(east.well().await, 6);
    assert!(before.elapsed() < Duration::from_secs(20));
}

/// A round that fails does not say that they can be used again.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_used_is_shown_until_a_good_round_says_otherwise() {
    let mut east = Running::start();
    east.want([1, 2]);
    let unusable = || {
        let first = vec![Unusable::Contradictory { id: "eni-0002".into() }];
        let left_out = LeftOut { count: 1, first };
        Ok(Described { interfaces: vec![interface(&id(1))], unusable: vec![id(2)], left_out })
    };
    let shown = |east: &Running| east.handle.stats().read().left_out.count;
    for (reply, count) in [
        (unusable(), 1),
        (Err(not_whole()), 1),
        // Again, and that is no second one.
        (unusable(), 1),
        (Ok(Described { interfaces: vec![interface(&id(2))], ..Described::default() }), 0),
    ] {
        east.call().await.reply(reply);
        drop(east.told().await);
        assert_eq!(shown(&east), count);
    }
}

/// EC2 shows a new interface some time after an address stands on it.
#[tokio::test(start_paused = true)]
async fn what_is_not_shown_is_asked_for_again_soon() {
    let mut east = Running::start();
    east.want([1, 2]);
    let hidden = || Ok(Described { interfaces: vec![interface(&id(1))], ..Described::default() });
    east.call().await.reply(hidden());
    east.told().await;
    for pause in [1.0, 2.0, 4.0, 8.0] {
        let before = Instant::now();
        let call = east.call().await;
        let waited = before.elapsed().as_secs_f64();
        assert!((0.84 * pause..=pause + 0.01).contains(&waited), "{waited}");
        assert_eq!(call.ids, [id(2)]);
        call.reply(Ok(Described::default()));
        assert_eq!(east.told().await.asked, wanted([2]));
        assert_eq!(east.handle.stats().read().missing.first, ["eni-0002"]);
    }
    while east.well().await != 2 {}
    assert_eq!(east.handle.stats().read().missing, Missing::default());
}

#[tokio::test(start_paused = true)]
async fn failures_are_followed_by_pauses_that_grow_and_nothing_cuts_them() {
    for (error, pauses) in
        [(not_whole(), [1, 2, 4, 8, 16, 30, 30]), (throttled(), [4, 8, 16, 30, 30, 30, 30])]
    {
        let mut east = Running::start();
        east.want([0]);
        let call = east.call().await;
        let mut ended = Instant::now();
        call.fails(error.clone());
        east.told().await.answer.unwrap_err();
        for (n, pause) in pauses.into_iter().enumerate() {
            east.want(0..n + 2);
            let call = east.call().await;
            let waited = ended.elapsed().as_secs_f64();
            let least = 0.84 * f64::from(pause);
            assert!((least..=f64::from(pause) + 0.01).contains(&waited), "{error}: {waited}");
            assert_eq!(call.ids.len(), n + 2);
            ended = Instant::now();
            call.fails(error.clone());
            east.told().await.answer.unwrap_err();
        }
        // A good answer ends that.
        assert_eq!(east.well().await, 8);
        let before = Instant::now();
        east.want(0..9);
        let asked = east.well().await;
        assert!([1, 9].contains(&asked), "a round may begin just then: {asked}");
        assert!(before.elapsed() < Duration::from_millis(210));
    }
}
