//! One TCP connection: requests in, answers out (RFC 1035 section 4.2.2,
//! RFC 7766).
//!
//! A client may send many requests at once; they are answered in their order,
//! as fast as the client reads. What is bounded is the output: while
//! [`OUTPUT_FULL`] octets wait for the client, no further request is taken and
//! nothing more is read, so TCP's own flow control slows the sender down.
//!
//! Answers that have to be waited for come when they come (RFC 7766 section
//! 6.2.1.1): others are not held up by them. Of these, too, only so many are
//! under way at once.
//!
//! The loop waits for one of several events and then looks at its state anew.

use std::io::{self, Read};
use std::pin::pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task;
use tokio::time::{Instant, sleep_until};

use super::admit::Permit;
use super::stats::TcpCounters;
use super::tcp::{Phase, draining};
use super::{Action, Later, Respond};
use crate::answer::{Asker, Transport};
use crate::dns::wire::HEADER;

/// Octets of answers that may wait for the client before its next request is
/// taken. One more answer may come on top.
const OUTPUT_FULL: usize = 64 * 1024;

/// Octets read at a time: a few dozen queries, and little for an idle
/// connection to hold on to.
const READ: usize = 2048;

/// Octets of each buffer that a connection keeps while it has no use for them.
const KEEP: usize = 4096;

/// Answers waited for at once; then no further request is taken. A resolver
/// has many questions for us over one connection.
const MAX_WAITING: usize = 128;

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
    /// An error such as a reset, or an answer longer than TCP can carry.
    Broken,
}

/// Serves `stream` until its end.
pub(super) async fn serve<R: Respond>(
    mut stream: TcpStream,
    mut exchange: Exchange<R>,
    permit: &Permit,
    mut phase: watch::Receiver<Phase>,
    counters: &TcpCounters,
) -> End {
    let (mut read, mut write) = stream.split();
    let mut progress = Instant::now();
    let mut timer = pin!(sleep_until(progress + permit.idle()));
    // May more requests come? And are we to end as soon as none waits?
    let (mut reading, mut drain) = (true, false);
    loop {
        let took = exchange.answer();
        if took.requests > 0 {
            progress = Instant::now();
            permit.touch();
            counters.requests.add(took.requests);
            counters.replies.add(took.replies);
        }
        reading &= exchange.end.is_none();
        let owing = !exchange.output.is_empty();
        let waiting = !exchange.later.is_empty();
        if !owing && !waiting {
            if let Some(end) = exchange.end {
                return end;
            }
            if !reading {
                return End::Finished;
            }
            if drain {
                // What the kernel already has was sent before we stopped.
                match exchange.read_now(read.as_ref()) {
                    Ok(0) => return End::Finished,
                    Ok(_) => {
                        // Nothing else here waits if nothing gets an answer,
                        // and the deadline must find its way in.
                        task::yield_now().await;
                        continue;
                    }
                    Err(_) => return End::Broken,
                }
            }
        }
        let room = exchange.has_room();
        exchange.input.reserve(READ);
        tokio::select! {
            biased;
            () = permit.evicted() => return End::Evicted,
            _ = draining(&mut phase), if !drain => drain = true,
            written = write.write(&exchange.output), if owing => match written {
                Ok(count) if count > 0 => {
                    exchange.output.drain(..count);
                    progress = Instant::now();
                    permit.touch();
                }
                _ => return End::Broken,
            },
            Some(reply) = exchange.later.next(), if waiting => {
                // Taken in even when the client is slow: there are only so many.
                match reply.map(|reply| queue(&mut exchange.output, &reply)) {
                    Some(Ok(())) => counters.replies.add(1),
                    Some(Err(end)) => exchange.end = Some(end),
                    None => {}
                }
                progress = Instant::now();
            }
            got = read.read_buf(&mut exchange.input), if reading && !drain && room => match got {
                Ok(0) => reading = false,
                Ok(_) => {}
                Err(_) => return End::Broken,
            },
            () = timer.as_mut() => {
                // Set anew only when it fires: cheaper than at each request.
                // Nor is a client idle that we keep waiting.
                if waiting && !owing {
                    progress = Instant::now();
                }
                let due = progress + permit.idle();
                if due <= Instant::now() {
                    return End::Idle;
                }
                timer.as_mut().reset(due);
            }
        }
    }
}

/// The state of a connection without its socket: octets in, octets out.
pub(super) struct Exchange<R> {
    asker: Asker,
    responder: R,
    /// Received, not yet taken.
    input: Vec<u8>,
    /// To be sent.
    output: Vec<u8>,
    reply: Vec<u8>,
    /// Answers to come.
    later: FuturesUnordered<Later>,
    /// Why no more requests are taken, once that is so.
    end: Option<End>,
}

/// What one call of [`Exchange::answer`] did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Took {
    requests: usize,
    replies: usize,
}

impl<R: Respond> Exchange<R> {
    pub(super) fn new(asker: Asker, responder: R) -> Self {
        Self {
            asker,
            responder,
            input: Vec::new(),
            output: Vec::new(),
            reply: Vec::new(),
            later: FuturesUnordered::new(),
            end: None,
        }
    }

    /// Answers the whole requests of the input while the output has room.
    fn answer(&mut self) -> Took {
        let mut took = Took::default();
        let mut rest = self.input.as_slice();
        while self.output.len() < OUTPUT_FULL
            && self.later.len() < MAX_WAITING
            && self.end.is_none()
        {
            let Some((length, tail)) = rest.split_first_chunk() else { break };
            let length = usize::from(u16::from_be_bytes(*length));
            if length < HEADER {
                self.end = Some(End::Malformed);
                break;
            }
            let Some((request, tail)) = tail.split_at_checked(length) else { break };
            rest = tail;
            took.requests += 1;
            self.reply.clear();
            match self.responder.respond(&self.asker, Transport::Tcp, request, &mut self.reply) {
                Action::Send => {}
                Action::Drop => continue,
                Action::Later(later) => {
                    self.later.push(later);
                    continue;
                }
            }
            match queue(&mut self.output, &self.reply) {
                Ok(()) => took.replies += 1,
                Err(end) => self.end = Some(end),
            }
        }
        let taken = self.input.len() - rest.len();
        self.input.drain(..taken);
        self.relax();
        took
    }

    /// May one more request be taken?
    fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_FULL && self.later.len() < MAX_WAITING
    }

    /// Gives large buffers back once they are not in use.
    fn relax(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.is_empty() && buffer.capacity() > KEEP {
                buffer.shrink_to(KEEP);
            }
        }
        if self.reply.capacity() > KEEP {
            self.reply.clear();
            self.reply.shrink_to(KEEP);
        }
    }

    /// Reads what the kernel has at this moment; 0 if that is nothing. Asks the
    /// kernel itself: the reactor may not have heard of it yet.
    fn read_now(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let mut chunk = [0; READ];
        let socket = SockRef::from(stream);
        loop {
            match (&*socket).read(&mut chunk) {
                Ok(count) => {
                    self.input.extend_from_slice(chunk.get(..count).unwrap_or_default());
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Queues a reply: length and message leave together (RFC 7766 section 8).
fn queue(output: &mut Vec<u8>, reply: &[u8]) -> Result<(), End> {
    // A responder that breaks its word: a gap in the answers would be worse
    // than an end.
    let length = u16::try_from(reply.len()).map_err(|_| End::Broken)?;
    output.extend_from_slice(&length.to_be_bytes());
    output.extend_from_slice(reply);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with the request; drops what begins with 0xFF; the answer to
    /// what begins with 0xFE is too long for TCP.
    #[derive(Clone)]
    struct Echo;

    impl Respond for Echo {
        fn respond(
            &mut self,
            _: &Asker,
            _: Transport,
            request: &[u8],
            reply: &mut Vec<u8>,
        ) -> Action {
            assert!(reply.is_empty());
            match request.first() {
                Some(0xFF) => return Action::Drop,
                Some(0xFE) => reply.resize(65_536, 0),
                _ => reply.extend_from_slice(request),
            }
            Action::Send
        }
    }

    fn exchange() -> Exchange<Echo> {
        let address = "127.0.0.1:53".parse().unwrap();
        Exchange::new(Asker { client: address, local: address }, Echo)
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
        framed.extend_from_slice(message);
        framed
    }

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
            let mut exchange = exchange();
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
                    got.append(&mut exchange.output);
                }
            }
            assert_eq!((requests, exchange.end), (9, None), "cut {cut}");
            assert!(got == expected, "cut {cut}");
            assert!(exchange.input.is_empty());
            exchange.relax();
            assert!(exchange.input.capacity() <= KEEP && exchange.reply.capacity() <= KEEP);
        }
    }

    #[test]
    fn a_message_shorter_than_a_header_ends_it() {
        for length in 0..HEADER {
            let mut exchange = exchange();
            exchange.input.extend(framed(&[1; HEADER]));
            exchange.input.extend(framed(&vec![2; length]));
            exchange.input.extend(framed(&[3; HEADER]));
            assert_eq!(exchange.answer(), Took { requests: 1, replies: 1 });
            assert_eq!(exchange.end, Some(End::Malformed));
            assert_eq!(exchange.output, framed(&[1; HEADER]));
            assert_eq!(exchange.answer(), Took::default());
        }
    }

    #[test]
    fn an_answer_longer_than_tcp_allows_is_not_cut_but_ends_it() {
        let mut exchange = exchange();
        exchange.input.extend(framed(&[0xFE; HEADER]));
        assert_eq!(exchange.answer(), Took { requests: 1, replies: 0 });
        assert_eq!(exchange.end, Some(End::Broken));
        assert!(exchange.output.is_empty());
    }

    #[test]
    fn output_is_bounded() {
        let mut exchange = exchange();
        for _ in 0..4 {
            exchange.input.extend(framed(&[0; 65_535]));
        }
        assert_eq!(exchange.answer().requests, 1);
        assert_eq!(exchange.answer().requests, 0, "65,537 octets wait");
        exchange.output.drain(..2);
        assert_eq!(exchange.answer().requests, 1);
        assert!(exchange.output.len() <= OUTPUT_FULL + 2 + 65_535);
    }
}
