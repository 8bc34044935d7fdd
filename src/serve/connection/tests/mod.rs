//! The real loop over streams in memory, and the exchange without any.

#[cfg(feature = "virtual-clock")]
mod timing;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::join;
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, ReadBuf, duplex};

use super::exchange::{KEEP, OUTPUT_FULL, Took};
use super::*;
use crate::answer::{Asker, Transport};
use crate::dns::wire::HEADER;
use crate::serve::admit::{Gate, Limits};
use crate::serve::{Action, Messages};

/// Only ever reached if something is broken.
const TOO_LONG: Duration = Duration::from_secs(30);

/// Octets that a stream in memory holds for a client that does not read.
const PIPE: usize = 4096;

/// Answers with the request; drops what begins with 0xFF; the answer to
/// what begins with 0xFE is longer than a message can be.
#[derive(Clone)]
struct Echo;

impl Respond for Echo {
    fn respond(&mut self, _: &Asker, _: Transport, request: &[u8], reply: &mut Vec<u8>) -> Action {
        assert!(reply.is_empty());
        match request.first() {
            Some(0xFF) => return Action::Drop,
            Some(0xFE) => reply.resize(65_536, 0),
            _ => reply.extend_from_slice(request),
        }
        Action::Send
    }
}

/// Octets of each message of a long answer.
const MESSAGE: usize = 1000;

/// Answers with as many messages as the first four octets of the request say;
/// 0 stands for an echo.
#[derive(Clone, Default)]
struct Long {
    made: Arc<AtomicUsize>,
    /// What every long answer is made from.
    snapshot: Arc<()>,
}

impl Respond for Long {
    fn respond(&mut self, _: &Asker, _: Transport, request: &[u8], reply: &mut Vec<u8>) -> Action {
        let count = u32::from_be_bytes(*request.first_chunk().unwrap());
        if count == 0 {
            reply.extend_from_slice(request);
            return Action::Send;
        }
        let (made, snapshot) = (Arc::clone(&self.made), Arc::clone(&self.snapshot));
        let messages: Messages = Box::pin(stream::iter((0..count).map(move |nth| {
            let _ = &snapshot;
            made.fetch_add(1, Ordering::Relaxed);
            message(count, nth)
        })));
        Action::Later(messages)
    }
}

/// The message of this number, of so many.
fn message(count: u32, nth: u32) -> Vec<u8> {
    let mut message = vec![7; MESSAGE];
    message[..4].copy_from_slice(&count.to_be_bytes());
    message[4..8].copy_from_slice(&nth.to_be_bytes());
    message
}

/// A request for so many messages.
fn request(count: u32) -> Vec<u8> {
    let mut request = vec![0; HEADER];
    request[..4].copy_from_slice(&count.to_be_bytes());
    request
}

fn asker() -> Asker {
    let address = "127.0.0.1:53".parse().unwrap();
    Asker { client: address, local: address }
}

fn exchange<R: Respond>(responder: R) -> Exchange<R> {
    Exchange::new(asker(), Transport::Tcp, responder)
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    framed
}

// ------------------------------------------------------- streams in memory

/// A stream in memory. What comes is there at once, so nothing is ever known to
/// others before it can be read.
struct Pipe<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Octets for Pipe<S> {
    fn has_input(&self) -> io::Result<bool> {
        Ok(false)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Pipe<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Pipe<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Serves `stream` until its end.
async fn run<R: Respond>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    responder: R,
    idle: Duration,
    phase: watch::Receiver<Phase>,
) -> (End, ConnectionCounters) {
    let gate = Arc::new(Gate::new(&Limits { clients: 1, per_client: 1, idle }));
    let admission = gate.admit(IpAddr::from([127, 0, 0, 1]), true).unwrap();
    let counters = ConnectionCounters::default();
    let end = serve(Pipe(stream), exchange(responder), &admission, phase, &counters).await;
    (end, counters)
}

async fn next(client: &mut DuplexStream) -> Vec<u8> {
    let length = client.read_u16().await.unwrap();
    let mut message = vec![0; usize::from(length)];
    client.read_exact(&mut message).await.unwrap();
    message
}

/// Octets that its stream holds back until they are flushed reach the client.
#[tokio::test]
async fn any_stream_is_served() {
    let (mut client, ours) = duplex(PIPE);
    let (_phase, phases) = watch::channel(Phase::Serving);
    let serving = run(BufStream::new(ours), Echo, TOO_LONG, phases);
    let asking = async move {
        for nth in 0..50 {
            let request = vec![nth; HEADER + 100 * usize::from(nth)];
            client.write_all(&framed(&request)).await.unwrap();
            assert_eq!(next(&mut client).await, request);
        }
    };
    let ((end, counters), ()) = join(serving, asking).await;
    assert_eq!(end, End::Finished, "the client closed");
    assert_eq!((counters.requests.get(), counters.replies.get()), (50, 50));
}

#[tokio::test]
async fn a_long_answer_comes_whole_and_in_order_beside_others() {
    let (mut client, ours) = duplex(PIPE);
    let (_phase, phases) = watch::channel(Phase::Serving);
    let serving = run(ours, Long::default(), TOO_LONG, phases);
    let asking = async move {
        for count in [1, 3000, 0] {
            client.write_all(&framed(&request(count))).await.unwrap();
        }
        let mut long = 0;
        let mut short = vec![message(1, 0), request(0)];
        for _ in 0..3002 {
            let got = next(&mut client).await;
            if got == message(3000, long) {
                long += 1;
            } else {
                let at = short.iter().position(|one| *one == got);
                short.remove(at.expect("one of the short ones, once"));
            }
        }
    };
    let ((end, counters), ()) = join(serving, asking).await;
    assert_eq!(end, End::Finished);
    assert_eq!((counters.requests.get(), counters.replies.get()), (3, 3002));
}

/// A client that reads nothing has no more made for it than one output, is cut
/// off as idle, and what its answer was made from is free again.
#[tokio::test]
async fn who_reads_nothing_of_a_long_answer_is_bounded_and_cut_off() {
    let (mut client, ours) = duplex(PIPE);
    let (_phase, phases) = watch::channel(Phase::Serving);
    let responder = Long::default();
    let (made, snapshot) = (Arc::clone(&responder.made), Arc::downgrade(&responder.snapshot));
    client.write_all(&framed(&request(u32::MAX))).await.unwrap();
    let (end, _) = run(ours, responder, Duration::from_millis(100), phases).await;
    assert_eq!(end, End::Idle);
    let most = (OUTPUT_FULL + PIPE) / MESSAGE + 1;
    let made = made.load(Ordering::Relaxed);
    assert!((most / 2..=most).contains(&made), "{made} messages, at most {most}");
    assert!(snapshot.upgrade().is_none());
}

#[tokio::test]
async fn a_long_answer_that_has_begun_ends_before_a_drain_does() {
    let (mut client, ours) = duplex(PIPE);
    let (phase, phases) = watch::channel(Phase::Serving);
    let serving = run(ours, Long::default(), TOO_LONG, phases);
    let asking = async move {
        client.write_all(&framed(&request(1000))).await.unwrap();
        assert_eq!(next(&mut client).await, message(1000, 0));
        phase.send_replace(Phase::Draining { until: Instant::now() + TOO_LONG });
        // No longer read.
        client.write_all(&framed(&request(0))).await.unwrap();
        for nth in 1..1000 {
            assert_eq!(next(&mut client).await, message(1000, nth));
        }
        assert!(client.read_u16().await.is_err(), "the end");
    };
    let ((end, counters), ()) = join(serving, asking).await;
    assert_eq!(end, End::Finished);
    assert_eq!((counters.requests.get(), counters.replies.get()), (1, 1000));
}

// ---------------------------------------------------------------- exchange

#[test]
fn however_the_octets_are_cut_the_answers_are_the_same() {
    let mut sent = Vec::new();
    let mut expected = Vec::new();
    for first in [1, 0xFF, 3] {
        for length in [HEADER, 100, 65_535] {
            let mut message = vec![0; length];
            message[0] = first;
            sent.extend(framed(&message));
            if first != 0xFF {
                expected.extend(framed(&message));
            }
        }
    }
    for cut in [1, 2, 3, 13, 14, 15, 1000, 66_000] {
        let mut exchange = exchange(Echo);
        let mut got = Vec::new();
        let mut requests = 0;
        for chunk in sent.chunks(cut) {
            exchange.input.extend_from_slice(chunk);
            loop {
                let took = exchange.answer();
                if took == Took::default() {
                    break;
                }
                requests += took.requests;
                got.append(&mut exchange.output.octets);
            }
        }
        assert_eq!((requests, exchange.end), (9, None), "cut {cut}");
        assert!(got == expected, "cut {cut}");
        assert!(exchange.input.is_empty());
        exchange.relax();
        let capacities = [exchange.input.capacity(), exchange.reply.capacity()];
        assert!(capacities.iter().all(|capacity| *capacity <= KEEP));
    }
}

#[test]
fn a_message_shorter_than_a_header_ends_it() {
    for length in 0..HEADER {
        let mut exchange = exchange(Echo);
        exchange.input.extend(framed(&[1; HEADER]));
        exchange.input.extend(framed(&vec![2; length]));
        exchange.input.extend(framed(&[3; HEADER]));
        assert_eq!(exchange.answer(), Took { requests: 1, replies: 1 });
        assert_eq!(exchange.end, Some(End::Malformed));
        assert_eq!(exchange.output.octets, framed(&[1; HEADER]));
        assert_eq!(exchange.answer(), Took::default());
    }
}

#[test]
fn an_answer_longer_than_tcp_allows_is_not_cut_but_ends_it() {
    let mut exchange = exchange(Echo);
    exchange.input.extend(framed(&[0xFE; HEADER]));
    assert_eq!(exchange.answer(), Took { requests: 1, replies: 0 });
    assert_eq!(exchange.end, Some(End::Broken));
    assert!(!exchange.output.is_owed());
}

#[test]
fn output_is_bounded() {
    let mut exchange = exchange(Echo);
    for _ in 0..4 {
        exchange.input.extend(framed(&[0; 65_535]));
    }
    assert_eq!(exchange.answer().requests, 1);
    assert_eq!(exchange.answer().requests, 0, "65,537 octets wait");
    exchange.output.octets.drain(..2);
    assert_eq!(exchange.answer().requests, 1);
    assert!(exchange.output.octets.len() <= OUTPUT_FULL + 2 + 65_535);
}
