//! DescribeNetworkInterfaces: which IPv6 addresses interfaces have.
//!
//! Asked by filter and not by ids: one id that is gone would fail a call by ids, and EC2 takes
//! no ids together with pages (EC2 API reference, "DescribeNetworkInterfaces"). Credentials and
//! connections are its own, so that it never holds up a poll.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::SharedHttpClient;
use aws_sdk_ec2::operation::describe_network_interfaces::DescribeNetworkInterfacesOutput;
use aws_sdk_ec2::types::{Filter, NetworkInterface};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};

use super::answer::{WholeXml, some};
use super::session::{Asked, Failed, Session, Signed};
use super::trouble::{not_whole, of_call};
use super::{LIMITS, Limits};
use eipdns::source::ec2::Of;
use eipdns::source::error::PollError;
use eipdns::source::interfaces::usable::{Gather, Item, ItemAddress};
use eipdns::source::interfaces::{DescribeInterfaces, Described, InterfaceId};

/// The action that is needed, as IAM names it.
const DESCRIBE: &str = "ec2:DescribeNetworkInterfaces";

/// The filter that names them.
const BY_ID: &str = "network-interface-id";

/// Interfaces on a page: the most that EC2 gives, and more than one answer has.
const PAGE: i32 = 1000;

/// The most pages of an answer. EC2 may give fewer interfaces on one than it is asked for, but
/// an answer has 200 at most.
const MAX_PAGES: usize = 20;

/// How long one page may take, and all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) page: Duration,
    pub(super) whole: Duration,
}

const DEADLINES: Deadlines = Deadlines { page: LIMITS.whole, whole: Duration::from_secs(10) };

/// One account and region of EC2.
#[derive(Debug)]
pub(super) struct Interfaces {
    asked: Asked,
    /// None until the SDK has found region and credentials providers.
    caller: Option<Caller>,
}

impl Interfaces {
    pub(super) fn new(of: &Of<'_>) -> Self {
        Self { asked: Asked::new(of, DESCRIBE), caller: None }
    }

    async fn set_up(&self) -> Result<Caller, PollError> {
        let http = self.asked.http(false);
        let session = self.asked.open(&http).await?;
        Ok(Caller::new(session, http, LIMITS, DEADLINES))
    }
}

impl DescribeInterfaces for Interfaces {
    fn describe<'c>(
        &'c mut self,
        ids: &'c [InterfaceId],
    ) -> BoxFuture<'c, Result<Described, PollError>> {
        Box::pin(async move {
            let caller = match self.caller.take() {
                Some(caller) => caller,
                None => self.set_up().await?,
            };
            self.caller.insert(caller).describe(ids).await
        })
    }

    fn requests(&self) -> u64 {
        self.caller.as_ref().map_or(0, |caller| caller.requests)
    }
}

/// Ready to call.
#[derive(Debug)]
pub(super) struct Caller {
    session: Session,
    client: Client,
    /// Sent so far.
    pub(super) requests: u64,
    deadlines: Deadlines,
}

impl Caller {
    pub(super) fn new(
        session: Session,
        http: SharedHttpClient,
        limits: Limits,
        deadlines: Deadlines,
    ) -> Self {
        let client = session.client(http, WholeXml::INTERFACES, limits);
        Self { session, client, requests: 0, deadlines }
    }

    /// All pages about these interfaces.
    pub(super) async fn describe(&mut self, ids: &[InterfaceId]) -> Result<Described, PollError> {
        self.session.provide().await?;
        let until = Instant::now() + self.deadlines.whole;
        let wanted: BTreeSet<&str> = ids.iter().map(|id| &**id).collect();
        let (mut gather, mut tokens) = (Gather::default(), Vec::new());
        for _ in 0..MAX_PAGES {
            let page = self.page(ids, tokens.last(), until).await;
            let page = self.session.judge(page).await?;
            let items = page.network_interfaces;
            for item in items.ok_or_else(|| not_whole("it has no networkInterfaceSet"))? {
                let judged = item_of(item).judge();
                let judged = judged.map_err(|e| not_whole(&format!("an interface in it: {e}")))?;
                // Nobody has asked for others.
                if wanted.contains(&*judged.0) {
                    gather.take(judged);
                }
            }
            let Some(next) = some(page.next_token) else { return Ok(gather.finish()) };
            if tokens.contains(&next) {
                return Err(not_whole("it has a page twice: its NextToken comes again"));
            }
            tokens.push(next);
            // Others may have come meanwhile.
            self.session.provide().await?;
        }
        Err(not_whole(&format!("it has more than {MAX_PAGES} pages")))
    }

    /// The page that `token` stands for, or the first one.
    async fn page(
        &mut self,
        ids: &[InterfaceId],
        token: Option<&String>,
        until: Instant,
    ) -> Result<Signed<DescribeNetworkInterfacesOutput>, Failed> {
        let signed_with = self.session.signs_with();
        self.requests += 1;
        let values = ids.iter().map(|id| id.to_string()).collect();
        let call = self
            .client
            .describe_network_interfaces()
            .filters(Filter::builder().name(BY_ID).set_values(Some(values)).build())
            .max_results(PAGE)
            .set_next_token(token.cloned());
        let Deadlines { page, whole } = self.deadlines;
        let by = Instant::now() + page;
        let (by, after) = if by < until { (by, page) } else { (until, whole) };
        let error = match timeout_at(by, call.send()).await {
            Ok(Ok(page)) => return Ok((page, signed_with)),
            Ok(Err(error)) => of_call(DESCRIBE, &error),
            Err(_) => PollError::Timeout { after },
        };
        Err(Failed { error, signed_with })
    }
}

fn item_of(interface: NetworkInterface) -> Item {
    let addresses = interface.ipv6_addresses.unwrap_or_default().into_iter();
    let addresses = addresses.map(|address| ItemAddress {
        ip: some(address.ipv6_address),
        is_primary: address.is_primary_ipv6.unwrap_or_default(),
    });
    Item { id: some(interface.network_interface_id), addresses: addresses.collect() }
}
