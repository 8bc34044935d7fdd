//! One connection: requests in, answers out (RFC 1035 section 4.2.2, RFC 7766).
//!
//! A client may send many requests at once; they are answered in their order, as
//! fast as the client reads. What is bounded is the output: while
//! [`OUTPUT_FULL`](exchange) octets wait for the client, no further request is
//! taken and nothing more is read, so TCP's own flow control slows the sender
//! down.
//!
//! Answers that have to be waited for come when they come (RFC 7766 section
//! 6.2.1.1): others are not held up by them. Only so many are under way at once.
//! Such an answer may have several messages, which leave in their order, perhaps
//! with others between them. No further one is made while the output is full, so
//! a client that reads slowly costs no more memory than one that reads nothing;
//! that one is cut off when its time is up.
//!
//! The loop waits for one of several events and then looks at its state anew.

mod exchange;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::pin;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task;
use tokio::time::{Instant, sleep_until};

use super::Respond;
use super::admit::Admission;
use super::stats::ConnectionCounters;
use super::tcp::{Phase, draining};
pub(super) use exchange::Exchange;
use exchange::Moved;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client closed, or we drained; all was answered.
    Finished,
    /// It was silent or slow too long.
    Idle,
    /// Its place was given to another.
    Evicted,
    /// What came is no DNS message.
    Malformed,
    /// An error such as a reset, or an answer longer than a message can be.
    Broken,
}

/// A stream of octets from and to a client.
pub(super) trait Octets: AsyncRead + AsyncWrite + Unpin {
    /// Has anything come that was not read yet? Asks the kernel itself: the
    /// reactor may not have heard of it.
    fn has_input(&self) -> io::Result<bool>;
}

impl Octets for TcpStream {
    fn has_input(&self) -> io::Result<bool> {
        loop {
            match SockRef::from(self).peek(&mut [MaybeUninit::uninit()]) {
                Ok(count) => return Ok(count > 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Serves `stream` until its end.
pub(super) async fn serve<R: Respond>(
    mut stream: impl Octets,
    mut exchange: Exchange<R>,
    admission: &Admission,
    mut phase: watch::Receiver<Phase>,
    counters: &ConnectionCounters,
) -> End {
    let mut progress = Instant::now();
    let mut timer = pin!(sleep_until(progress + admission.idle()));
    // May more requests come? And are we to end as soon as none waits?
    let (mut reading, mut drain) = (true, false);
    loop {
        let took = exchange.answer();
        if took.requests > 0 {
            progress = Instant::now();
            admission.touch();
            counters.requests.add(took.requests);
            counters.replies.add(took.replies);
        }
        reading &= exchange.end.is_none();
        let (is_owing, is_waiting) = (exchange.output.is_owed(), exchange.is_waiting());
        if !is_owing && !is_waiting {
            if let Some(end) = exchange.end {
                return end;
            }
            if !reading {
                return End::Finished;
            }
            if drain {
                // What the kernel already has was sent before we stopped.
                match stream.has_input() {
                    Ok(false) => return End::Finished,
                    // Nothing else here waits if nothing gets an answer, and the
                    // deadline must find its way in.
                    Ok(true) => task::yield_now().await,
                    Err(_) => return End::Broken,
                }
            }
        }
        let has_answered_all = !is_owing && !is_waiting;
        let may_read = reading && exchange.has_room() && (!drain || has_answered_all);
        tokio::select! {
            biased;
            () = admission.evicted() => return End::Evicted,
            _ = draining(&mut phase), if !drain => drain = true,
            moved = poll_fn(|cx| exchange.poll_move(&mut stream, may_read, cx)) => match moved {
                Ok(Moved::Written) => {
                    progress = Instant::now();
                    admission.touch();
                }
                Ok(Moved::Queued) => {
                    progress = Instant::now();
                    counters.replies.add(1);
                }
                Ok(Moved::Over) => progress = Instant::now(),
                Ok(Moved::Read(0)) => reading = false,
                Ok(Moved::Read(_)) => {}
                Err(_) => return End::Broken,
            },
            () = timer.as_mut() => {
                // Set anew only when it fires: cheaper than at each request.
                // Nor is a client idle that we keep waiting.
                if is_waiting && !is_owing {
                    progress = Instant::now();
                }
                let due = progress + admission.idle();
                if due <= Instant::now() {
                    return End::Idle;
                }
                timer.as_mut().reset(due);
            }
        }
    }
}
