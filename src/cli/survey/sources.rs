//! Who asks EC2, where, and how much of what it grants that takes.

use serde::Serialize;

use crate::cli::offline::Offline;
use crate::config::{Config, SourceKind};
use crate::source::error::SourceError;
use crate::source::inventory::{Health, SourceInventory};
use crate::source::once::Asked;
use crate::source::stats::Totals;
use crate::status::board::budget::{self, BUCKET, REFILL};

/// A source of type `ec2`.
#[derive(Debug, Serialize)]
pub(super) struct SourceOf {
    pub name: String,
    /// `file:line`
    pub place: String,
    /// None: nobody knows.
    pub region: Option<String>,
    /// `configured`, or `chain`: of the SDK's environment, files or metadata service.
    pub region_from: &'static str,
    /// If one is configured.
    pub endpoint: Option<String>,
    /// The profile that was used.
    pub profile: Option<String>,
    /// The configured profile that another one takes the place of.
    pub instead_of: Option<String>,
    /// The role that was assumed.
    pub role: Option<String>,
    /// The account that is configured.
    pub account: Option<String>,
    /// Who the credentials are.
    pub caller: Option<Caller>,
    /// Why that is not known.
    pub caller_unknown: Option<String>,
    /// How many addresses there are.
    pub addresses: usize,
    /// How many of them are associated.
    pub associated: usize,
    /// How many more cannot be used.
    pub left_out: usize,
    /// Why the first of those cannot.
    pub left_out_first: Vec<String>,
    /// Why it says nothing.
    pub failed: Option<Failure>,
    /// Of how many network interfaces something is known, for names with `ipv6`.
    pub interfaces: usize,
    /// Why not of all that names want to know of.
    pub interfaces_failed: Option<Failure>,
}

/// Who credentials are.
#[derive(Debug, Serialize)]
pub(super) struct Caller {
    pub account: String,
    pub arn: String,
}

/// Why a source says nothing.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    /// A word of those that the metrics have.
    pub class: &'static str,
    pub why: String,
}

/// Requests that count together.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct BudgetOf {
    /// None: it is not known.
    pub account: Option<String>,
    /// What the requests are signed with, where the account is not known.
    pub credentials: Option<String>,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    /// The sources that send them.
    pub sources: Vec<String>,
    /// How many a second one replica sends, at the configured `poll`.
    pub per_second: f64,
    /// How many a second EC2 grants the account there, whoever sends them.
    pub granted_per_second: f64,
    /// How many at once.
    pub granted_at_once: u32,
    /// So many replicas would take all that is granted.
    pub replicas: u32,
}

impl SourceOf {
    /// What is to be done about it, if it says nothing.
    pub(super) fn missing(&self) -> Option<String> {
        let Failure { why, .. } = self.failed.as_ref()?;
        Some(format!("source {} ({}) says nothing: {why}", self.name, self.place))
    }

    /// Likewise about network interfaces.
    pub(super) fn without_interfaces(&self) -> Option<String> {
        let Failure { why, .. } = self.interfaces_failed.as_ref()?;
        let Self { name, place, .. } = self;
        Some(format!("source {name} ({place}) says nothing of network interfaces: {why}"))
    }
}

/// Each source of type `ec2`, in the order of the configuration.
pub(super) fn all(
    configured: &Config,
    offline: &Offline<'_>,
    asked: &[Option<Asked>],
) -> Vec<SourceOf> {
    let used = &offline.config.server.sources;
    let sources = configured.server.sources.iter().zip(used).zip(&offline.inventory.sources);
    let told = sources.zip(asked).filter_map(|(((source, used), said), asked)| {
        let (SourceKind::Ec2(ec2), SourceKind::Ec2(used)) = (&source.kind, &used.kind) else {
            return None;
        };
        let asked = asked.as_ref()?;
        let entries = || said.entries.iter().flat_map(|entries| entries.values());
        let caller = asked.principal.as_ref();
        Some(SourceOf {
            name: source.name.clone(),
            place: source.place.to_string(),
            region: said.region.clone(),
            region_from: if source.region.is_some() { "configured" } else { "chain" },
            endpoint: ec2.endpoint_url.clone(),
            profile: used.profile.clone(),
            instead_of: ec2.profile.clone().filter(|_| ec2.profile != used.profile),
            role: ec2.role_arn.clone(),
            account: ec2.account.clone(),
            caller: caller.ok().map(|principal| Caller {
                account: principal.account.clone(),
                arn: principal.arn.clone(),
            }),
            caller_unknown: caller.err().map(ToString::to_string),
            addresses: entries().count(),
            associated: entries().filter(|one| one.address.associated().is_some()).count(),
            left_out: asked.left_out.count,
            left_out_first: asked.left_out.first.iter().map(ToString::to_string).collect(),
            failed: failure(said, asked),
            interfaces: said.interfaces.iter().count(),
            interfaces_failed: asked.interfaces.as_ref().map(|error| Failure {
                class: error.class().as_str(),
                why: SourceError::from(error.clone()).to_string(),
            }),
        })
    });
    told.collect()
}

fn failure(said: &SourceInventory, asked: &Asked) -> Option<Failure> {
    let error = asked.failed.as_ref()?;
    let why = match &said.health {
        // Bounded, as it is said everywhere else.
        Health::Stalled { why, .. } => why.clone(),
        _ => error.to_string(),
    };
    Some(Failure { class: error.class().as_str(), why })
}

/// What `sources`, those of this configuration, take of what EC2 grants. Those of one account
/// and region count together, by whatever credentials they ask.
pub(super) fn budgets(config: &Config, sources: &[SourceOf]) -> Vec<BudgetOf> {
    let mut all: Vec<BudgetOf> = Vec::new();
    for source in sources {
        let kind = config.server.sources.iter().find(|one| one.name == source.name);
        let Some(SourceKind::Ec2(ec2)) = kind.map(|source| &source.kind) else { continue };
        let known = source.caller.as_ref().map(|caller| &caller.account);
        let account = known.or(source.account.as_ref()).cloned();
        let credentials = account.is_none().then(|| budget::credentials(ec2));
        let per_second = budget::per_second(ec2, &Totals::default());
        let is_same = |other: &&mut BudgetOf| {
            (&other.account, &other.credentials) == (&account, &credentials)
                && (&other.region, &other.endpoint) == (&source.region, &source.endpoint)
        };
        match all.iter_mut().find(is_same) {
            Some(budget) => {
                budget.per_second += per_second;
                budget.sources.push(source.name.clone());
            }
            None => all.push(BudgetOf {
                account,
                credentials,
                region: source.region.clone(),
                endpoint: source.endpoint.clone(),
                sources: vec![source.name.clone()],
                per_second,
                granted_per_second: REFILL,
                granted_at_once: BUCKET,
                replicas: 0,
            }),
        }
    }
    for budget in &mut all {
        // One more would ask for more than is granted.
        budget.replicas = (budget.granted_per_second / budget.per_second).floor() as u32;
    }
    all
}
