//! How many requests sources send to EC2, and how many it grants.

use super::Facts;
use crate::config::{Ec2Source, SourceId, SourceKind};
use crate::source::poll::MEAN_PART;
use crate::source::stats::Totals;
use crate::status::report::BudgetReport;

/// How many requests a second EC2 grants an account in a region for calls like DescribeAddresses,
/// and how many at once (EC2 developer guide, "Request throttling").
pub(crate) const REFILL: f64 = 20.0;
pub(crate) const BUCKET: u32 = 100;

impl Facts {
    /// For each region, endpoint and set of credentials: what its sources take.
    pub(super) fn budgets(&self) -> Vec<BudgetReport> {
        let mut all: Vec<BudgetReport> = Vec::new();
        for one in (0..self.config.server.sources.len()).filter_map(|id| self.budget(id)) {
            match all.iter_mut().find(|other| other.counts_with(&one)) {
                Some(budget) => {
                    budget.per_second += one.per_second;
                    budget.sources.extend(one.sources);
                }
                None => all.push(one),
            }
        }
        all
    }

    /// What one source takes; none for a file.
    pub(crate) fn budget(&self, id: SourceId) -> Option<BudgetReport> {
        let source = self.config.server.sources.get(id)?;
        let SourceKind::Ec2(ec2) = &source.kind else { return None };
        let known = self.inventory.sources.get(id).and_then(|known| known.region.as_ref());
        let handle = self.handles.get(id).and_then(Option::as_ref);
        let totals = handle.map(|handle| handle.stats().read()).unwrap_or_default();
        Some(BudgetReport {
            region: known.or(source.region.as_ref()).cloned(),
            endpoint: ec2.endpoint_url.clone(),
            credentials: credentials(ec2),
            sources: vec![source.name.clone()],
            per_second: per_second(ec2, &totals),
            granted_per_second: REFILL,
            granted_at_once: BUCKET,
        })
    }
}

impl BudgetReport {
    /// As far as is configured. Credentials with different names may be of one account: nobody
    /// has asked whose they are.
    fn counts_with(&self, other: &Self) -> bool {
        let place = |of: &Self| (of.region.clone(), of.endpoint.clone(), of.credentials.clone());
        place(self) == place(other)
    }
}

/// What requests are signed with, as far as it has a name.
pub(crate) fn credentials(ec2: &Ec2Source) -> String {
    match (&ec2.role_arn, &ec2.profile) {
        (Some(role), None) => format!("role {role}"),
        (Some(role), Some(profile)) => format!("role {role} by profile {profile}"),
        (None, Some(profile)) => format!("profile {profile}"),
        (None, None) => "the default credentials".to_owned(),
    }
}

/// Requests a second at the configured `poll`, with second tries as there were so far.
pub(crate) fn per_second(ec2: &Ec2Source, totals: &Totals) -> f64 {
    let a_call = match totals.polls {
        0 => 1.0,
        polls => (totals.requests as f64 / polls as f64).max(1.0),
    };
    a_call / ec2.poll.mul_f64(MEAN_PART).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ec2(poll: Duration) -> Ec2Source {
        Ec2Source {
            poll,
            endpoint_url: None,
            profile: None,
            role_arn: None,
            external_id: None,
            account: None,
            filters: Default::default(),
        }
    }

    #[test]
    fn second_tries_count_as_they_were() {
        let at = |millis, requests, polls| {
            let totals = Totals { requests, polls, ..Totals::default() };
            (per_second(&ec2(Duration::from_millis(millis)), &totals) * 100.0).round()
        };
        // In [0.85, 1.0] x poll: on average 0.925 s.
        assert_eq!(at(1000, 0, 0), 108.0);
        assert_eq!(at(1000, 50, 50), 108.0);
        assert_eq!(at(1000, 100, 50), 216.0);
        assert_eq!(at(500, 75, 50), 324.0);
        // Where there were no credentials, nothing was sent; there may be some again.
        assert_eq!(at(1000, 0, 50), 108.0);
    }

    #[test]
    fn whose_requests_count_together() {
        let of = |profile: Option<&str>, role: Option<&str>| {
            let mut ec2 = ec2(Duration::from_secs(1));
            (ec2.profile, ec2.role_arn) = (profile.map(Into::into), role.map(Into::into));
            credentials(&ec2)
        };
        assert_eq!(of(None, None), "the default credentials");
        assert_eq!(of(Some("partner"), None), "profile partner");
        assert_eq!(of(None, Some("arn:a")), "role arn:a");
        assert_eq!(of(Some("partner"), Some("arn:a")), "role arn:a by profile partner");
        let budget = |region: &str, endpoint: Option<&str>, name: &str| BudgetReport {
            region: Some(region.to_owned()),
            endpoint: endpoint.map(Into::into),
            credentials: of(None, None),
            sources: vec![name.to_owned()],
            per_second: 1.0,
            granted_per_second: REFILL,
            granted_at_once: BUCKET,
        };
        let east = budget("us-east-1", None, "a");
        assert!(east.counts_with(&budget("us-east-1", None, "b")));
        assert!(!east.counts_with(&budget("eu-west-1", None, "a")));
        assert!(!east.counts_with(&budget("us-east-1", Some("http://127.0.0.1:1"), "a")));
    }
}
