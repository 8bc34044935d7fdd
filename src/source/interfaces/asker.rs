//! The second task of an EC2 source: asks for interfaces, again and again and when there are new
//! ones. When is [`Plan`]'s to say; what is called is a [`DescribeInterfaces`], so tests script
//! it.

use std::sync::Arc;

use tokio::time::Instant;

use super::plan::{Call, Plan};
use super::post::{Handle, Post, Setup};
use super::round::{Round, ask};
use super::usable::LeftOut;
use super::{DescribeInterfaces, Wanted};
use crate::source::Ended;
use crate::source::error::{PollError, SourceError};
use crate::source::poll::jitter;

/// The task, ready to [`run`](Self::run).
pub(crate) struct Asker {
    called: Box<dyn DescribeInterfaces>,
    plan: Plan,
    post: Post,
    /// How many requests were counted.
    requests: u64,
    /// What cannot be used, since the last good round over all.
    left_out: LeftOut,
}

impl Asker {
    /// One that calls `called` for what is wanted, and tells what it says.
    pub(crate) fn new(setup: Setup, called: Box<dyn DescribeInterfaces>) -> (Self, Handle) {
        let plan = setup.throttled.map_or_else(Plan::default, Plan::throttled);
        let (post, handle) = Post::new(setup);
        (Self { called, plan, post, requests: 0, left_out: LeftOut::default() }, handle)
    }

    /// Asks until nobody is to be told or nobody can want anything any longer.
    pub(crate) async fn run(mut self) -> Ended {
        loop {
            if let Err(ended) = self.step().await {
                return ended;
            }
        }
    }

    /// Waits for the time of the next call, makes it, tells.
    async fn step(&mut self) -> Result<(), Ended> {
        loop {
            let at = self.plan.next_start(Instant::now());
            if at.is_none() {
                self.left_out = LeftOut::default();
                self.post.nothing_is_wanted();
            }
            tokio::select! {
                biased;
                wanted = self.post.wanted() => self.plan.want(wanted?),
                () = sleep_until(at) => break,
            }
        }
        let call = self.plan.start(Instant::now(), jitter());
        let round = self.call(&call).await?;
        let requests = self.called.requests();
        self.post.count_requests(requests.saturating_sub(self.requests));
        self.requests = requests;
        let trouble = round.failed.as_ref().map(PollError::class);
        self.plan.ended(Instant::now(), &round.answered, trouble, jitter());
        self.post.set_throttled(self.plan.throttled_pause());
        self.tell(call, round).await
    }

    /// Whatever becomes wanted meanwhile is for the next call.
    async fn call(&mut self, call: &Call) -> Result<Round, Ended> {
        let Self { called, plan, post, .. } = self;
        let mut asking = std::pin::pin!(ask(called.as_mut(), &call.ids));
        loop {
            tokio::select! {
                biased;
                round = &mut asking => return Ok(round),
                wanted = post.wanted() => plan.want(wanted?),
            }
        }
    }

    async fn tell(&mut self, call: Call, round: Round) -> Result<(), Ended> {
        let Round { said, left_out, answered, failed } = round;
        match (call.is_round, &failed) {
            (true, None) => self.left_out = left_out,
            // Of some nothing was said.
            (true, Some(_)) => {}
            (false, _) => self.left_out.join(left_out),
        }
        let failed = failed.map(|error| Arc::new(SourceError::from(error)));
        let at = self.post.note(failed.as_deref(), Some(&self.left_out));
        let unanswered = call.ids.difference(&answered).cloned().collect();
        if !answered.is_empty() {
            self.post.tell(at, Wanted::new(answered), Ok(said)).await?;
        }
        match failed {
            Some(error) => self.post.tell(at, Wanted::new(unanswered), Err(error)).await,
            None => Ok(()),
        }
    }
}

/// Until `at`; without one, for ever.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
