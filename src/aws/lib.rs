//! Calls of EC2 through the AWS SDK, in a crate of its own: nothing else knows the SDK.
//!
//! Here is DescribeAddresses, `interfaces` is DescribeNetworkInterfaces; `session` is what both
//! need of a source. `account` knows whose credentials they are, and `principal` says who;
//! `credentials` keeps what calls are signed with. `answer` reads what comes back, and only what
//! is new of it. `files` bounds what the SDK reads of them, `http_client` connects, `trouble`
//! names what goes wrong.
//!
//! The SDK retries nothing and waits for nothing here: one call has one
//! deadline, a second try on a connection of its own when the first is slow,
//! and every way to fail becomes a [`PollError`]. Its HTTP client finds hosts
//! through [`Resolver`](eipdns::source::lookup::Resolver), for EC2, STS and whatever else it asks.

mod account;
mod answer;
mod credentials;
mod files;
mod http_client;
mod interfaces;
mod principal;
mod session;
#[cfg(test)]
mod tests;
mod trouble;

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::SharedHttpClient;
use aws_sdk_ec2::types::Filter;
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use answer::{Answer, Memory, WholeXml};
use eipdns::source::ec2::{Calls, Of};
use eipdns::source::error::PollError;
use eipdns::source::poll::{Describe, Described};
use interfaces::Interfaces;
use session::{Asked, Failed, Session, Signed};
use trouble::of_call;

/// The action that is needed, as IAM names it.
const DESCRIBE: &str = "ec2:DescribeAddresses";

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// To resolve, connect and shake hands.
    connect: Duration,
    /// Until a second try starts beside the first.
    hedge: Duration,
    /// In all.
    whole: Duration,
}

/// A good call takes some 20 to 100 ms within a region. README.md promises a
/// move within poll and three seconds.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(1),
    hedge: Duration::from_secs(1),
    whole: Duration::from_secs(3),
};

/// What calls EC2, for [`install`](eipdns::source::ec2::install).
pub const CALLS: Calls = Calls {
    addresses: |of| Box::new(Ec2::new(of)),
    interfaces: |of| Box::new(Interfaces::new(of)),
    principal: principal::principal,
};

/// One account and region of EC2.
#[derive(Debug)]
struct Ec2 {
    asked: Asked,
    /// None until the SDK has found region and credentials providers.
    caller: Option<Caller>,
}

impl Ec2 {
    fn new(of: &Of<'_>) -> Self {
        Self { asked: Asked::new(of, DESCRIBE), caller: None }
    }

    async fn set_up(&self) -> Result<Caller, PollError> {
        let http = [self.asked.http(false), self.asked.http(true)];
        let session = self.asked.open(&http[0]).await?;
        Ok(Caller::new(session, self.asked.filters(), http, LIMITS))
    }
}

impl Describe for Ec2 {
    fn describe(&mut self) -> BoxFuture<'_, Result<Described, PollError>> {
        Box::pin(async move {
            let caller = match self.caller.take() {
                Some(caller) => caller,
                None => self.set_up().await?,
            };
            self.caller.insert(caller).describe().await
        })
    }

    fn requests(&self) -> u64 {
        self.caller.as_ref().map_or(0, |caller| caller.requests.load(Ordering::Relaxed))
    }

    fn region(&self) -> Option<String> {
        self.caller
            .as_ref()
            .map(|caller| caller.session.region.clone())
            .or_else(|| self.asked.region())
    }
}

/// Ready to call.
#[derive(Debug)]
struct Caller {
    session: Session,
    main: Client,
    /// Has a new connection for each call.
    fresh: Client,
    memory: Memory,
    /// Sent so far.
    requests: AtomicU64,
    filters: Option<Vec<Filter>>,
    limits: Limits,
}

impl Caller {
    /// `http` is what keeps its connections, and what does not.
    fn new(
        session: Session,
        filters: Vec<Filter>,
        http: [SharedHttpClient; 2],
        limits: Limits,
    ) -> Self {
        let [main, fresh] = http.map(|http| session.client(http, WholeXml::ADDRESSES, limits));
        let filters = Some(filters).filter(|filters| !filters.is_empty());
        let (memory, requests) = Default::default();
        Self { session, main, fresh, memory, requests, filters, limits }
    }

    async fn describe(&mut self) -> Result<Described, PollError> {
        self.session.provide().await?;
        let mut failed = None;
        let outcome = match timeout(self.limits.whole, self.hedged(&mut failed)).await {
            Ok(outcome) => outcome,
            // What is known of one try says more than that the other is late.
            Err(_) => Err(failed.unwrap_or(Failed {
                error: PollError::Timeout { after: self.limits.whole },
                signed_with: None,
            })),
        };
        let answer = self.session.judge(outcome).await?;
        Ok(self.memory.take(answer))
    }

    /// One call, and a second one beside it when it is slow: the first good
    /// answer counts. Connections die in silence, and a packet lost costs a
    /// second.
    async fn hedged(&self, failed: &mut Option<Failed>) -> Result<Signed<Answer>, Failed> {
        let mut first = pin!(self.call(&self.main));
        tokio::select! {
            // The connect timeout may be the same second.
            biased;
            () = sleep(self.limits.hedge) => {}
            outcome = &mut first => return outcome,
        }
        let mut second = pin!(self.call(&self.fresh));
        let (outcome, first_left) = tokio::select! {
            outcome = &mut first => (outcome, false),
            outcome = &mut second => (outcome, true),
        };
        match outcome {
            Ok(answer) => Ok(answer),
            Err(error) => {
                *failed = Some(error);
                if first_left { first.await } else { second.await }
            }
        }
    }

    async fn call(&self, client: &Client) -> Result<Signed<Answer>, Failed> {
        let signed_with = self.session.signs_with();
        self.requests.fetch_add(1, Ordering::Relaxed);
        let reading = self.memory.reading();
        let call = client.describe_addresses().set_filters(self.filters.clone());
        let read = call.customize().interceptor(reading.clone()).send().await;
        let answer = read.map_err(|error| of_call(DESCRIBE, &error));
        let answer = answer.and_then(|read| reading.finish(read));
        match answer {
            Ok(answer) => Ok((answer, signed_with)),
            Err(error) => Err(Failed { error, signed_with }),
        }
    }
}
