//! One connection: requests one after the other, and how long each may take.
//!
//! hyper reads and writes HTTP. It has no limit for a reader that does not read,
//! and one for both a slow request and a pause between two. So the socket tells
//! a [`Pulse`] what happens, and that says when it has taken too long.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use crate::serve::places::Permit;
use crate::serve::stats::HttpCounters;

/// Octets of a request's headers, its first line included. Also what is read
/// and buffered at a time.
const MAX_HEAD: usize = 16 * 1024;

/// Headers of a request: a browser sends some 20.
const MAX_HEADERS: usize = 64;

/// How long a connection may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From the first octet of a request, or from the beginning, to the end of
    /// its headers.
    pub(super) head: Duration,
    /// Between an answer and the next request.
    pub(super) idle: Duration,
    /// From the end of a request's headers until its answer has been taken.
    pub(super) answer: Duration,
}

/// Prometheus asks once a minute or more often, and may keep its connection. A
/// refresh waits for 10 s, and a reload for 55 s where files hang, which is told in few
/// words; the rest of the time is for slow links.
pub(super) const TIMES: Times = Times {
    head: Duration::from_secs(5),
    idle: Duration::from_secs(75),
    answer: Duration::from_secs(60),
};

/// Who is at the other end; goes with each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its client closed it, or we did after an answer.
    Finished,
    /// There was no further request.
    Idle,
    /// A request did not come, or its answer was not taken, in time.
    Slow,
    /// Its place was given to another.
    Evicted,
    /// What came is no HTTP/1, or too much of it.
    Malformed,
    /// An error such as a reset.
    Broken,
}

/// Serves `stream` until its end.
pub(super) async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    router: TowerToHyperService<Router>,
    pulse: Arc<Pulse>,
    mut stop: watch::Receiver<bool>,
    counters: &HttpCounters,
) -> End {
    let service = service_fn(|mut request: Request<Incoming>| {
        pulse.note(Event::Request);
        let extensions = request.extensions_mut();
        extensions.insert(Peer(client));
        extensions.insert(Arc::clone(&pulse));
        let answering = router.call(request);
        async move {
            let response = answering.await?;
            counters.answered(response.status().as_u16());
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(Watched { stream, pulse: Arc::clone(&pulse) });
    let mut connection = pin!(within_limits().serve_connection(io, service));
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            () = pulse.permit.evicted() => return End::Evicted,
            // An error means that the sender is gone: stop as well.
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                if pulse.is_quiet() {
                    return End::Finished;
                }
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            ended = connection.as_mut() => return end_of(&ended),
            () = sleep_until(pulse.look_at()) => {
                if let Some(end) = pulse.late(Instant::now()) {
                    return end;
                }
            }
        }
    }
}

fn within_limits() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD).max_header_size(MAX_HEAD).max_headers(MAX_HEADERS);
    // The pulse has it.
    builder.header_read_timeout(None);
    builder
}

fn end_of(ended: &Result<(), hyper::Error>) -> End {
    match ended {
        Ok(()) => End::Finished,
        Err(error) if error.is_parse() => End::Malformed,
        Err(_) => End::Broken,
    }
}

/// Where a connection is with its requests, since when, and its place among
/// all others.
#[derive(Debug)]
pub(super) struct Pulse {
    permit: Permit,
    times: Times,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// The answer's place among those that are worked on.
    place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between an answer and the next request.
    Idle,
    /// Within a request's headers, or before the first.
    Head,
    /// It has been read as far as its headers, and is worked on.
    Working,
    /// Its answer is on the way.
    Writing,
}

/// What happens on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Octets came.
    Received,
    /// A request's headers are complete.
    Request,
    /// Octets are about to be handed to the kernel.
    Sending,
    /// There are none left to be handed to it.
    Flushed,
}

impl Pulse {
    /// Of a connection that begins now.
    pub(super) fn new(permit: Permit, times: Times) -> Self {
        let state = State { phase: Phase::Head, since: Instant::now(), place: None };
        Self { permit, times, state: Mutex::new(state) }
    }

    /// A request is worked on from now on: idle connections make room first. It
    /// has this place until its answer has been taken.
    pub(super) fn hold(&self, place: OwnedSemaphorePermit) {
        self.permit.work();
        self.state().place = Some(place);
    }

    fn note(&self, event: Event) {
        let mut state = self.state();
        let Some(phase) = state.phase.after(event) else { return };
        // The time for an answer began with its request.
        if (state.phase, phase) != (Phase::Working, Phase::Writing) {
            state.since = Instant::now();
        }
        state.phase = phase;
        match phase {
            // Who does not read it may have to make room.
            Phase::Writing => self.permit.renew(),
            Phase::Idle => drop(state.place.take()),
            Phase::Head | Phase::Working => {}
        }
    }

    /// Is there nothing under way that anybody waits for?
    fn is_quiet(&self) -> bool {
        matches!(self.state().phase, Phase::Idle | Phase::Head)
    }

    /// When to see whether it takes too long. What is a long time changes
    /// meanwhile: no later than after the shortest of them.
    fn look_at(&self) -> Instant {
        self.due().min(Instant::now() + self.times.head)
    }

    fn due(&self) -> Instant {
        let state = self.state();
        state.since
            + match state.phase {
                Phase::Idle => self.times.idle,
                Phase::Head => self.times.head,
                Phase::Working | Phase::Writing => self.times.answer,
            }
    }

    /// How it ends if it has taken too long.
    fn late(&self, now: Instant) -> Option<End> {
        let end = if self.state().phase == Phase::Idle { End::Idle } else { End::Slow };
        (self.due() <= now).then_some(end)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Phase {
    /// The phase that begins with `event`; none when this one goes on.
    fn after(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Idle, Event::Received) => Some(Self::Head),
            (Self::Idle | Self::Head | Self::Writing, Event::Request) => Some(Self::Working),
            // Without a request: HTTP's own complaint about one.
            (Self::Idle | Self::Head | Self::Working, Event::Sending) => Some(Self::Writing),
            (Self::Writing, Event::Flushed) => Some(Self::Idle),
            _ => None,
        }
    }
}

/// The socket, with the [`Pulse`] that its events are told to.
struct Watched {
    stream: TcpStream,
    pulse: Arc<Pulse>,
}

impl Watched {
    fn stream(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.as_mut().stream().poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.pulse.note(Event::Received);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.pulse.note(Event::Sending);
        self.stream().poll_write(context, octets)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pulse.note(Event::Sending);
        self.stream().poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().stream().poll_flush(context))?;
        self.pulse.note(Event::Flushed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other() {
        use Event::{Flushed, Received, Request, Sending};
        use Phase::{Head, Idle, Working, Writing};
        let run = |begin: Phase, events: &[Event]| {
            events.iter().fold(begin, |phase, event| phase.after(*event).unwrap_or(phase))
        };
        assert_eq!(run(Head, &[Received, Flushed, Received]), Head);
        assert_eq!(run(Head, &[Received, Request]), Working);
        // hyper flushes whenever it is polled, and reads a body meanwhile.
        assert_eq!(run(Working, &[Flushed, Received, Flushed]), Working);
        assert_eq!(run(Working, &[Sending, Received]), Writing);
        assert_eq!(run(Working, &[Sending, Flushed]), Idle);
        // 100 Continue, before the answer.
        assert_eq!(run(Working, &[Sending, Flushed, Received, Sending]), Writing);
        // The next request came with the one before.
        assert_eq!(run(Idle, &[Request]), Working);
        assert_eq!(run(Writing, &[Request]), Working);
        // hyper's own answer to what is no request.
        assert_eq!(run(Head, &[Received, Sending, Flushed]), Idle);
    }
}
