//! The second task of an EC2 source: asks for interfaces, again and again and when there are new
//! ones. When is [`Plan`]'s to say; what is called is a [`DescribeInterfaces`], so tests script
//! it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::plan::{Call, Plan, Progress};
use super::post::{Handle, Post, Setup};
use super::usable::LeftOut;
use super::{DescribeInterfaces, Described, InterfaceId, Wanted};
use crate::host::timer::sleep_until;
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
    /// The same since the round under way began.
    of_round: LeftOut,
}

impl Asker {
    /// One that calls `called` for what is wanted, and tells what it says.
    pub(crate) fn new(setup: Setup, called: Box<dyn DescribeInterfaces>) -> (Self, Handle) {
        let plan = setup.throttled.map_or_else(Plan::default, Plan::throttled);
        let (post, handle) = Post::new(setup);
        let (left_out, of_round) = Default::default();
        (Self { called, plan, post, requests: 0, left_out, of_round }, handle)
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
                (self.left_out, self.of_round) = Default::default();
                self.post.nothing_is_wanted();
            }
            tokio::select! {
                biased;
                wanted = self.post.wanted() => want(&mut self.plan, &mut self.post, wanted?),
                () = sleep_until(at) => break,
            }
        }
        let call = self.plan.start(Instant::now(), jitter());
        if call.begins_round {
            self.of_round = LeftOut::default();
        }
        let answer = self.call(&call).await?;
        let requests = self.called.requests();
        self.post.count_requests(requests.saturating_sub(self.requests));
        self.requests = requests;
        let shown = answer.as_ref().map(shown).map_err(PollError::class);
        let shown = shown.as_ref().map_err(|class| *class);
        let progress = self.plan.ended(Instant::now(), &call.ids, shown, jitter());
        self.post.set_throttled(self.plan.throttled_pause());
        self.tell(call.ids, answer, &progress).await
    }

    /// Whatever becomes wanted meanwhile is for the next call.
    async fn call(&mut self, call: &Call) -> Result<Result<Described, PollError>, Ended> {
        let Self { called, plan, post, .. } = self;
        let ids: Vec<_> = call.ids.iter().cloned().collect();
        let mut asking = called.describe(&ids);
        loop {
            tokio::select! {
                biased;
                answer = &mut asking => return Ok(answer),
                wanted = post.wanted() => want(plan, post, wanted?),
            }
        }
    }

    async fn tell(
        &mut self,
        asked: BTreeSet<InterfaceId>,
        answer: Result<Described, PollError>,
        progress: &Progress,
    ) -> Result<(), Ended> {
        let asked = Wanted::new(asked);
        let Described { interfaces, left_out, .. } = match answer {
            Ok(described) => described,
            Err(error) => {
                let error = Arc::new(SourceError::from(error));
                let at = self.post.note(Some(&error), None);
                return self.post.tell(at, asked, Err(error)).await;
            }
        };
        self.of_round.join(left_out.clone());
        match progress.ends_round {
            true => self.left_out = std::mem::take(&mut self.of_round),
            false => self.left_out.join(left_out),
        }
        let at = match progress.is_well {
            true => self.post.note(None, Some(&self.left_out)),
            false => self.post.note_one(&self.left_out),
        };
        self.post.note_missing(self.plan.missing());
        let wanted = Arc::clone(self.plan.wanted());
        let is_all = wanted.is_subset(&asked);
        self.post.tell(at, asked, Ok(interfaces)).await?;
        match progress.ends_round && !is_all {
            true => self.post.tell(at, wanted, Ok(Vec::new())).await,
            false => Ok(()),
        }
    }
}

fn want(plan: &mut Plan, post: &mut Post, wanted: Wanted) {
    plan.want(wanted);
    post.note_missing(plan.missing());
}

/// The interfaces that are in an answer.
fn shown(answer: &Described) -> BTreeSet<InterfaceId> {
    let Described { interfaces, unusable, .. } = answer;
    interfaces.iter().map(|interface| &interface.id).chain(unusable).cloned().collect()
}
