//! Where addresses come from, and how losses are taken.
//!
//! Each source runs by itself and fails by itself. It tells the one writer of
//! every call in a [`Delivery`]; the writer keeps what it accepted of each
//! source, publishes, and then [acknowledges](Delivery::published), which
//! answers those who asked for a refresh. Nothing else connects the two.
//!
//! * [`mod@file`]: a JSON file, watched ([`watch`], [`json`]).
//! * [`known`]: what of an answer is as in the one before.
//! * [`usable`]: what of an answer can be used at all.
//! * [`identity`]: which address it is; [`allocation`]: what of that it is known by from one
//!   answer to the next.
//! * [`accept`]: how losses are taken, between a source and what is published.
//! * [`discover`]: the names that tags give.
//! * [`poll`]: when EC2 is called, and who is told.
//! * [`interfaces`]: the IPv6 addresses of what holds an address.
//! * [`ec2`]: who makes the call itself, in a crate of its own.
//! * [`lookup`]: how EC2 is found without asking ourselves.
//! * [`health`], [`stats`], [`error`]: what is known about a source.
//! * [`successor`]: which source carries on what another one said.
//! * `asks`: what a source is asked to do; `post`: its own end of that.
//! * [`clock`]: the time all of it is measured with.

pub mod accept;
pub mod allocation;
mod asks;
pub mod clock;
pub mod discover;
pub mod ec2;
pub mod error;
pub(crate) mod file;
pub(crate) mod health;
pub mod identity;
pub mod interfaces;
pub mod inventory;
pub mod json;
pub mod known;
pub mod lookup;
pub mod once;
pub mod poll;
mod post;
pub(crate) mod resolvers;
pub(crate) mod stats;
pub(crate) mod successor;
pub mod tags;
#[cfg(test)]
pub(crate) mod testing;
pub mod usable;
pub(crate) mod watch;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use error::SourceError;
use tokio::sync::oneshot;
use usable::Said;

use crate::config::{Source, SourceId};
use crate::source::inventory::{Health, SourceInventory};
pub(crate) use asks::{Accept, Ask, By, Pending};
pub use asks::{Gone, Handle};
pub(crate) use post::Post;
pub use post::{Ended, Setup};

/// Everything a source says at one moment, or why it says nothing.
pub type Answer = Result<Said, Arc<SourceError>>;

/// What a source hands to the writer after a call.
#[derive(Debug)]
pub struct Delivery {
    /// Which source.
    pub source: SourceId,
    /// When the answer, or its failure, was there.
    pub at: SystemTime,
    /// How long the call took.
    pub took: Duration,
    /// The source's region, once known.
    pub region: Option<String>,
    /// What it brought.
    pub answer: Answer,
    /// How the source does, this call included.
    pub health: Health,
    /// An operator takes the losses in this answer as they are.
    pub accept_losses: bool,
    /// A peer had this call made: peers are not told of what it shows.
    pub hinted: bool,
    /// Who waits for it to be published.
    pub waiters: Waiters,
}

impl Delivery {
    /// Tells those who wait for it that the delivery is in every answer from
    /// now on, or why it is not although the source has answered. A delivery
    /// that is dropped instead tells them that the source has ended.
    pub fn published(self, not_published: Option<String>) {
        let failed = not_published.or(self.answer.as_ref().err().map(ToString::to_string));
        let done = Refreshed { at: self.at, took: self.took, failed };
        for waiter in self.waiters.0 {
            // Whoever does not wait any longer needs no answer.
            let _ = waiter.send(done.clone());
        }
    }
}

/// Those who wait for a delivery.
#[derive(Debug, Default)]
pub struct Waiters(pub(crate) Vec<oneshot::Sender<Refreshed>>);

/// The outcome of a refresh.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// When the call ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Why there is no new answer, when there is none; losses were then not
    /// accepted either.
    pub failed: Option<String>,
}

/// A source that has not said anything yet.
pub fn silent(source: &Source) -> SourceInventory {
    SourceInventory {
        name: source.name.clone(),
        region: source.region.clone(),
        entries: None,
        interfaces: Default::default(),
        health: Health::Starting,
        delivered_at: None,
    }
}
