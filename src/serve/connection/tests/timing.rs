//! What time decides, on a clock that stands still until all wait.

use tokio::time::sleep;

use super::*;

const IDLE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// Answers each request with itself after so long.
#[derive(Clone)]
struct Slow(Duration);

impl Respond for Slow {
    fn respond(&mut self, _: &Asker, _: Transport, request: &[u8], _: &mut Vec<u8>) -> Action {
        let (after, reply) = (self.0, request.to_vec());
        let answer = async move {
            sleep(after).await;
            reply
        };
        Action::Later(Box::pin(stream::once(answer)))
    }
}

/// Only a whole request counts, not its octets.
#[tokio::test(start_paused = true)]
async fn who_sends_an_octet_at_a_time_is_idle() {
    let (mut client, ours) = duplex(PIPE);
    let (_phase, phases) = watch::channel(Phase::Serving);
    let began = Instant::now();
    let serving = run(ours, Echo, IDLE, phases);
    let asking = async move {
        for _ in 0..3 {
            sleep(9 * SECOND).await;
            client.write_all(&framed(&[1; HEADER])).await.unwrap();
            next(&mut client).await;
        }
        // A message of 65,535 octets, announced and never completed.
        while client.write_all(&[0xFF]).await.is_ok() {
            sleep(SECOND).await;
        }
    };
    let ended = async {
        let (end, _) = serving.await;
        (end, began.elapsed())
    };
    let ((end, took), ()) = join(ended, asking).await;
    assert_eq!((end, took), (End::Idle, 27 * SECOND + IDLE));
}

#[tokio::test(start_paused = true)]
async fn who_is_kept_waiting_is_not_idle() {
    let (mut client, ours) = duplex(PIPE);
    let (_phase, phases) = watch::channel(Phase::Serving);
    let began = Instant::now();
    let wait = 3 * IDLE + SECOND;
    let serving = run(ours, Slow(wait), IDLE, phases);
    let asking = async {
        client.write_all(&framed(&[1; HEADER])).await.unwrap();
        assert_eq!(next(&mut client).await, [1; HEADER]);
        assert_eq!(began.elapsed(), wait);
    };
    let ((end, _), ()) = join(serving, asking).await;
    assert_eq!((end, began.elapsed()), (End::Idle, wait + IDLE));
}

/// However long it takes in all. Once it has been given everything, it is.
#[tokio::test(start_paused = true)]
async fn who_reads_a_long_answer_slowly_is_not_idle() {
    let (mut client, ours) = duplex(PIPE);
    let (_phase, phases) = watch::channel(Phase::Serving);
    let serving = run(ours, Long::default(), IDLE, phases);
    let asking = async move {
        client.write_all(&framed(&request(300))).await.unwrap();
        for nth in 0..300 {
            sleep(9 * SECOND).await;
            assert_eq!(next(&mut client).await, message(300, nth));
        }
    };
    let ((end, counters), ()) = join(serving, asking).await;
    assert_eq!((end, counters.replies.get()), (End::Idle, 300));
}
