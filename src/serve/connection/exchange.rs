//! A connection without its socket: requests in, answers out.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use futures_util::StreamExt;
use futures_util::stream::{FuturesUnordered, StreamFuture};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::End;
use crate::answer::{Asker, Transport};
use crate::dns::wire::HEADER;
use crate::serve::{Action, Messages, Respond};

/// Octets of answers that may wait for the client before its next request is
/// taken, or the next message of a long answer. One more message may come on top,
/// and the first ones of answers that come later.
pub(super) const OUTPUT_FULL: usize = 64 * 1024;

/// Octets read at a time: a few dozen queries, and little for an idle
/// connection to hold on to.
const READ: usize = 2048;

/// Octets of each buffer that a connection keeps while it has no use for them.
pub(super) const KEEP: usize = 4096;

/// Answers that come later, at once; then no further request is taken. A
/// resolver has many questions for us over one connection.
const MAX_WAITING: usize = 128;

/// What a connection has received, owes and waits for.
pub(in crate::serve) struct Exchange<R> {
    asker: Asker,
    transport: Transport,
    responder: R,
    /// Received, not yet taken.
    pub(super) input: Vec<u8>,
    pub(super) output: Output,
    pub(super) reply: Vec<u8>,
    /// Answers of which no message has come yet. The first is taken however slow the
    /// client is, so that none waits for it in forwarding.
    later: FuturesUnordered<StreamFuture<Messages>>,
    /// Answers of which some messages have come. The next is taken only when
    /// the output has room.
    begun: FuturesUnordered<StreamFuture<Messages>>,
    /// Why no more requests are taken, once that is so.
    pub(super) end: Option<End>,
}

/// What one call of [`Exchange::answer`] did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Took {
    pub requests: usize,
    pub replies: usize,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// The client took octets.
    Written,
    /// It sent so many; after 0 it sends no more.
    Read(usize),
    /// A message of an answer that comes later was queued.
    Queued,
    /// An answer that comes later has no message, or no further one.
    Over,
}

impl<R: Respond> Exchange<R> {
    pub(in crate::serve) fn new(asker: Asker, transport: Transport, responder: R) -> Self {
        Self {
            asker,
            transport,
            responder,
            input: Vec::new(),
            output: Output::default(),
            reply: Vec::new(),
            later: FuturesUnordered::new(),
            begun: FuturesUnordered::new(),
            end: None,
        }
    }

    /// Answers the whole requests of the input while there is room.
    pub(super) fn answer(&mut self) -> Took {
        let mut took = Took::default();
        let mut rest = self.input.as_slice();
        while self.has_room() && self.end.is_none() {
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
            match self.responder.respond(&self.asker, self.transport, request, &mut self.reply) {
                Action::Send => {}
                Action::Drop => continue,
                Action::Later(messages) => {
                    self.later.push(messages.into_future());
                    continue;
                }
            }
            match self.output.queue(&self.reply) {
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
    pub(super) fn has_room(&self) -> bool {
        self.output.has_room() && self.later.len() + self.begun.len() < MAX_WAITING
    }

    /// Are there answers that come later?
    pub(super) fn is_waiting(&self) -> bool {
        !self.later.is_empty() || !self.begun.is_empty()
    }

    /// Does the first of these that can be done: writes; queues what an answer that
    /// comes later begins with; reads, if `may_read`; queues what a long answer goes
    /// on with. So requests are taken between the messages of a long answer. Pending
    /// for ever if there is nothing to do. Cancel safe.
    pub(super) fn poll_move<S>(
        &mut self,
        stream: &mut S,
        may_read: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Moved>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.output.is_owed()
            && let Poll::Ready(written) = self.output.poll_write(stream, cx)
        {
            return Poll::Ready(written.map(|()| Moved::Written));
        }
        if !self.later.is_empty()
            && let Poll::Ready(Some((message, rest))) = self.later.poll_next_unpin(cx)
        {
            return Poll::Ready(Ok(self.take(message, rest)));
        }
        if may_read {
            self.input.reserve(READ);
            if let Poll::Ready(read) = pin!(stream.read_buf(&mut self.input)).poll(cx) {
                return Poll::Ready(read.map(Moved::Read));
            }
        }
        if !self.begun.is_empty()
            && self.output.has_room()
            && let Poll::Ready(Some((message, rest))) = self.begun.poll_next_unpin(cx)
        {
            return Poll::Ready(Ok(self.take(message, rest)));
        }
        Poll::Pending
    }

    /// Queues a message of an answer that comes later, if there is one; `rest` are
    /// those behind it.
    fn take(&mut self, message: Option<Vec<u8>>, rest: Messages) -> Moved {
        let Some(message) = message else { return Moved::Over };
        if let Err(end) = self.output.queue(&message) {
            self.end = Some(end);
            return Moved::Over;
        }
        // One that says that it is at its end need not be asked again.
        if rest.size_hint() != (0, Some(0)) {
            self.begun.push(rest.into_future());
        }
        Moved::Queued
    }

    /// Gives large buffers back once they are not in use.
    pub(super) fn relax(&mut self) {
        for buffer in [&mut self.input, &mut self.output.octets] {
            if buffer.is_empty() && buffer.capacity() > KEEP {
                buffer.shrink_to(KEEP);
            }
        }
        if self.reply.capacity() > KEEP {
            self.reply.clear();
            self.reply.shrink_to(KEEP);
        }
    }
}

/// What the client is owed.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub octets: Vec<u8>,
    /// The stream was given octets that it may not have passed on.
    is_held: bool,
}

impl Output {
    /// Queues a message: length and message leave together (RFC 7766 section 8).
    fn queue(&mut self, message: &[u8]) -> Result<(), End> {
        // A responder that breaks its word: a gap in the answers would be worse
        // than an end.
        let length = u16::try_from(message.len()).map_err(|_| End::Broken)?;
        self.octets.extend_from_slice(&length.to_be_bytes());
        self.octets.extend_from_slice(message);
        Ok(())
    }

    /// May more be queued?
    fn has_room(&self) -> bool {
        self.octets.len() < OUTPUT_FULL
    }

    /// Is anything left to be sent?
    pub(super) fn is_owed(&self) -> bool {
        self.is_held || !self.octets.is_empty()
    }

    /// Ready when the stream took some of it.
    fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let had_octets = !self.octets.is_empty();
        if had_octets {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, &self.octets))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.octets.drain(..count);
            self.is_held = true;
            if !self.octets.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        match Pin::new(stream).poll_flush(cx)? {
            Poll::Ready(()) => self.is_held = false,
            Poll::Pending if had_octets => {}
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(Ok(()))
    }
}
