//! Answers to UDP requests that come later, from an upstream: one task waits for
//! all of them, so that no worker does.

use std::net::UdpSocket;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::Messages;
use super::options::fragmenting;
use super::stats::UdpCounters;
use super::sys::{self, WayBack};
use crate::forward::MAX_WAITING;

/// Answers handed over that the task has not taken up yet; it does so at once. As
/// many as may be waited for in forwarding, where each client has its share: so
/// who has a place there has one here, whatever others send.
const QUEUE: usize = 2 * MAX_WAITING;

/// An answer to come, and where it goes.
pub(super) struct Waiting {
    /// Only the first is sent: over UDP an answer is one message.
    pub messages: Messages,
    pub socket: Arc<UdpSocket>,
    pub back: WayBack,
    pub counters: Arc<UdpCounters>,
}

/// Where workers hand over what they do not wait for.
#[derive(Clone)]
pub(super) struct LaterSender(mpsc::Sender<Waiting>);

/// The other end: [`run`](LaterReceiver::run) it in a task.
pub(super) struct LaterReceiver(mpsc::Receiver<Waiting>);

pub(super) fn channel() -> (LaterSender, LaterReceiver) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (LaterSender(sender), LaterReceiver(receiver))
}

impl LaterSender {
    /// Hands over an answer to come; false if there is no room. Never waits.
    pub(super) fn send(&self, waiting: Waiting) -> bool {
        self.0.try_send(waiting).is_ok()
    }
}

impl LaterReceiver {
    /// Waits and sends until all senders are gone and everything is answered.
    pub(super) async fn run(mut self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                waiting = self.0.recv() => match waiting {
                    Some(waiting) => under_way.push(waiting.finish()),
                    None => break,
                },
                Some(()) = under_way.next() => {}
            }
        }
        while under_way.next().await.is_some() {}
    }
}

impl Waiting {
    async fn finish(self) {
        let Self { mut messages, socket, mut back, counters } = self;
        let counter = match messages.next().await {
            None => &counters.silent,
            Some(octets) => match fragmenting(&socket, || sys::send(&socket, &octets, &mut back)) {
                Ok(()) => &counters.sent,
                Err(_) => &counters.send_errors,
            },
        };
        counter.add(1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::serve::sys::Datagram;

    #[test]
    fn a_full_channel_turns_away_and_what_it_took_is_finished() {
        let (sender, receiver) = channel();
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let counters = Arc::<UdpCounters>::default();
        let waiting = |answer: Option<&'static [u8]>| Waiting {
            messages: Box::pin(stream::iter(answer.map(<[u8]>::to_vec))),
            socket: Arc::clone(&socket),
            back: Datagram::of(client.local_addr().unwrap(), false).way_back(),
            counters: Arc::clone(&counters),
        };
        assert!(sender.send(waiting(Some(b"answer"))));
        assert!((1..QUEUE).all(|_| sender.send(waiting(None))));
        assert!(!sender.send(waiting(None)));
        drop(sender);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(receiver.run());
        let mut reply = [0; 64];
        assert_eq!(client.recv_from(&mut reply).unwrap(), (6, socket.local_addr().unwrap()));
        assert_eq!((counters.sent.get(), counters.silent.get()), (1, QUEUE as u64 - 1));
    }
}
