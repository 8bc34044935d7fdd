//! Answers to UDP requests that have to be waited for: one task waits for all
//! of them, so that a worker never does.

use std::net::UdpSocket;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::Messages;
use super::stats::UdpCounters;
use super::sys::{self, WayBack};
use crate::forward::MAX_WAITING;

/// Requests on their way from the workers to the task, which takes them at
/// once. As many as may be waited for: who has a place there, of which each
/// client has its share, has one here, whatever others send.
const QUEUE: usize = 2 * MAX_WAITING;

/// A request without its answer.
pub(super) struct Waiting {
    /// Over UDP an answer is one message: the first.
    pub messages: Messages,
    pub socket: Arc<UdpSocket>,
    pub back: WayBack,
    pub counters: Arc<UdpCounters>,
}

/// Where workers leave requests.
#[derive(Clone)]
pub(super) struct Desk(mpsc::Sender<Waiting>);

/// Where they are taken up: [`run`](Clerk::run) it in a task.
pub(super) struct Clerk(mpsc::Receiver<Waiting>);

pub(super) fn desk() -> (Desk, Clerk) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Desk(sender), Clerk(receiver))
}

impl Desk {
    /// Leaves a request; false if there is no room. Never waits.
    pub(super) fn leave(&self, waiting: Waiting) -> bool {
        self.0.try_send(waiting).is_ok()
    }
}

impl Clerk {
    /// Waits and sends until all desks are gone and everything is answered.
    pub(super) async fn run(mut self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                left = self.0.recv() => match left {
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
            Some(octets) => match sys::send(&socket, &octets, &mut back) {
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
    fn a_full_desk_turns_away_and_what_it_took_is_finished() {
        let (desk, clerk) = desk();
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let counters = Arc::<UdpCounters>::default();
        let waiting = |answer: Option<&'static [u8]>| Waiting {
            messages: Box::pin(stream::iter(answer.map(<[u8]>::to_vec))),
            socket: Arc::clone(&socket),
            back: Datagram::of(client.local_addr().unwrap(), false).way_back(),
            counters: Arc::clone(&counters),
        };
        assert!(desk.leave(waiting(Some(b"answer"))));
        assert!((1..QUEUE).all(|_| desk.leave(waiting(None))));
        assert!(!desk.leave(waiting(None)));
        drop(desk);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(clerk.run());
        let mut reply = [0; 64];
        assert_eq!(client.recv_from(&mut reply).unwrap(), (6, socket.local_addr().unwrap()));
        assert_eq!((counters.sent.get(), counters.silent.get()), (1, QUEUE as u64 - 1));
    }
}
