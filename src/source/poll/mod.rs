//! The poll loop of an `ec2` source: when to call, and who is told.
//!
//! The loop is the only retry there is. Decisions are `Pace`'s, which knows
//! neither clock nor network; what is called is a [`Describe`], so tests
//! script it.

mod pace;
mod tell;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::source::error::PollError;
use crate::source::inventory::Address;
use crate::source::known::shared;
use crate::source::usable::{LeftOut, Said};
use crate::source::{Answer, Ended, Handle, Pending, Post, Setup};
use pace::Pace;
pub(super) use pace::Throttled;
pub(crate) use pace::{MEAN_PART, Pause};
pub use pace::{Slowed, SlowedBy};
pub(in crate::source) use pace::{doubled, jitter, part};
use tell::Teller;

/// Something that says, when called, which addresses there are.
pub trait Describe: Send {
    /// One call, with its own deadline. Dropping it ends it.
    fn describe(&mut self) -> BoxFuture<'_, Result<Described, PollError>>;

    /// How many requests it has sent so far: a slow call sends a second one.
    fn requests(&self) -> u64;

    /// The region that is asked, once known.
    fn region(&self) -> Option<String>;
}

/// What a good call brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Described {
    /// The same as the last good call of this caller, in whatever order.
    Equal,
    /// Perhaps something else.
    New {
        /// The addresses, each Elastic IP once.
        addresses: Vec<Arc<Address>>,
        /// What of the answer cannot be used.
        left_out: LeftOut,
    },
}

impl Described {
    /// What it says, in the memory of what was said `before` where that is equal.
    ///
    /// # Errors
    /// It is to be equal to what nobody has said.
    pub(crate) fn beside(self, before: Option<&Said>) -> Result<Said, PollError> {
        match (self, before) {
            (Self::Equal, Some(before)) => Ok(before.clone()),
            (Self::Equal, None) => {
                Err(PollError::NotWhole { what: "it is equal to none before".into() })
            }
            (Self::New { addresses, left_out }, None) => {
                Ok(Said { addresses: addresses.into(), left_out: left_out.into() })
            }
            (Self::New { addresses, left_out }, Some(before)) => {
                let left_out = match &before.left_out {
                    known if **known == left_out => Arc::clone(known),
                    _ => left_out.into(),
                };
                Ok(Said { addresses: shared(&before.addresses, addresses), left_out })
            }
        }
    }
}

/// One source of type `ec2`, ready to [`run`](Self::run).
pub(crate) struct Poller {
    called: Box<dyn Describe>,
    pace: Pace,
    teller: Teller,
    /// How many requests were counted.
    requests: u64,
    post: Post,
    /// Who asked while a call was under way.
    later: Pending,
    /// The last good answer, if there was one.
    said: Option<Said>,
}

impl Poller {
    /// A source that calls `called` each `poll`, and delivers what it says.
    pub(crate) fn new(setup: Setup, poll: Duration, called: Box<dyn Describe>) -> (Self, Handle) {
        let teller = Teller::new(&setup.name);
        let pace = setup.throttled.map_or_else(|| Pace::new(poll), |p| Pace::throttled(poll, p));
        let (post, handle) = Post::new(setup);
        let (requests, later, said) = (0, Pending::default(), None);
        (Self { called, pace, teller, requests, post, later, said }, handle)
    }

    /// Calls at once, and again and again, until nobody takes deliveries or
    /// nobody can ask any longer.
    pub(crate) async fn run(mut self) -> Ended {
        loop {
            if let Err(ended) = self.round().await {
                return ended;
            }
        }
    }

    /// Waits for the time of the next call, makes it, delivers.
    async fn round(&mut self) -> Result<(), Ended> {
        let mut asked = std::mem::take(&mut self.later);
        loop {
            while let Some(ask) = self.post.ask_at_hand() {
                self.pace.hear(ask, &mut asked);
            }
            let at = self.pace.next_start(asked.by(), Instant::now());
            tokio::select! {
                () = tokio::time::sleep_until(at) => break,
                ask = self.post.asked() => self.pace.hear(ask?, &mut asked),
            }
        }
        let began = Instant::now();
        self.pace.started(began, asked.by());
        let described = self.call().await?;
        let is_equal = matches!(described, Ok(Described::Equal));
        let said = described.and_then(|described| described.beside(self.said.as_ref()));
        if is_equal && said.is_ok() {
            self.post.count_unchanged();
        }
        let took = began.elapsed();
        self.pace.ended(said.as_ref().err().map(PollError::class), took, jitter());
        self.tell_pace();
        let answer: Answer = match said {
            Ok(said) => {
                self.said = Some(said.clone());
                Ok(said)
            }
            Err(error) => Err(Arc::new(error.into())),
        };
        self.post.deliver(took, self.called.region(), answer, asked).await
    }

    /// Says how often EC2 is asked, and how often it will be.
    fn tell_pace(&mut self) {
        let (requests, slowed) = (self.called.requests(), self.pace.slowed());
        self.post.count_requests(requests.saturating_sub(self.requests), slowed);
        self.requests = requests;
        self.teller.hear(slowed);
        self.post.throttled.set(self.pace.throttled_pause());
    }

    /// One call. Whoever asks meanwhile may know of a change that it does not
    /// show: they are for the next one.
    async fn call(&mut self) -> Result<Result<Described, PollError>, Ended> {
        let mut call = self.called.describe();
        loop {
            tokio::select! {
                biased;
                said = &mut call => return Ok(said),
                ask = self.post.asked() => self.pace.hear(ask?, &mut self.later),
            }
        }
    }
}
