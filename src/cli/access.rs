//! What calls of AWS need, and what to do without: for `check --aws` and `init`.

use serde::Serialize;

use super::Exit;
use crate::config::{Config, Ec2Source, SourceId, SourceKind};
use crate::source::error::{Class, PollError};
use crate::source::once::Asked;
use crate::status::board::budget;

/// What EC2 is asked (Service authorization reference, "Actions for Amazon EC2").
const DESCRIBE_ADDRESSES: &str = "ec2:DescribeAddresses";
/// What names with `ipv6` need.
const DESCRIBE_INTERFACES: &str = "ec2:DescribeNetworkInterfaces";
/// What `role_arn` needs.
const ASSUME_ROLE: &str = "sts:AssumeRole";
/// EC2's Describe actions know no resource (there, "Resource types").
const ANY: &str = "*";

/// What to do without credentials.
pub(super) const WAY_ON: [&str; 3] = [
    "on a laptop: `aws configure` or `aws sso login`, then --profile NAME or AWS_PROFILE",
    "on an instance: attach a role to it; in a container the metadata service needs a hop limit of 2",
    "elsewhere: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
];

/// An action that somebody must be allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Permission {
    /// As IAM names it.
    pub action: String,
    /// On what.
    pub resource: String,
    /// Whose it must be: an ARN, a role, or what the configuration says of credentials.
    pub to: String,
}

/// All that a source needs to be asked; `ipv6`: also for the IPv6 addresses of interfaces.
pub(super) fn needed(ec2: &Ec2Source, ipv6: bool) -> Vec<Permission> {
    let permission = |action: &str, resource: &str, to: String| Permission {
        action: action.into(),
        resource: resource.into(),
        to,
    };
    let (mut all, to) = match &ec2.role_arn {
        None => (Vec::new(), budget::credentials(ec2)),
        Some(role) => {
            let base = budget::credentials(&Ec2Source { role_arn: None, ..ec2.clone() });
            (vec![permission(ASSUME_ROLE, role, base)], format!("role {role}"))
        }
    };
    all.push(permission(DESCRIBE_ADDRESSES, ANY, to.clone()));
    if ipv6 {
        all.push(permission(DESCRIBE_INTERFACES, ANY, to));
    }
    all
}

/// Does a name that may be in a source want the IPv6 address of an interface?
pub(super) fn wants_ipv6(config: &Config, source: SourceId) -> bool {
    let may_be_in = |only: Option<SourceId>| only.is_none_or(|only| only == source);
    config.zones.iter().any(|zone| {
        let discover = zone.discover.as_ref().filter(|discover| discover.ipv6);
        discover.is_some_and(|discover| may_be_in(discover.source))
            || zone.names.iter().any(|name| name.ipv6 && may_be_in(name.source))
    })
}

/// The permissions that are missing, if any of these is why a call failed.
pub(super) fn missing(ec2: &Ec2Source, asked: &Asked) -> Vec<Permission> {
    let errors = asked.failed.iter().chain(asked.principal.as_ref().err());
    let denied: Vec<&str> = errors.chain(&asked.interfaces).filter_map(denied).collect();
    let mut all = needed(ec2, true);
    all.retain(|one| denied.contains(&&*one.action));
    // A role has a name already.
    if let (None, Ok(principal)) = (&ec2.role_arn, &asked.principal) {
        all.iter_mut().for_each(|one| one.to.clone_from(&principal.arn));
    }
    all
}

/// The action that was not allowed.
fn denied(error: &PollError) -> Option<&str> {
    match error {
        PollError::Unauthorised { action, .. } => Some(action),
        PollError::Sts(of) | PollError::Unverified { of, .. } => denied(of),
        _ => None,
    }
}

/// Are there no credentials at all?
pub(super) fn lacks_credentials(error: &PollError) -> bool {
    match error {
        PollError::NoCredentials { .. } | PollError::Imds { .. } | PollError::Unanswered { .. } => {
            true
        }
        PollError::Sts(of) | PollError::Unverified { of, .. } => lacks_credentials(of),
        _ => false,
    }
}

/// How a command ends for which sources were asked: is none of them, or what gives their
/// credentials, within reach?
pub(super) fn exit<'a>(failed: impl IntoIterator<Item = Option<&'a PollError>>) -> Exit {
    let is_unreachable = |error: Option<&PollError>| {
        let class = error.map(PollError::class);
        matches!(class, Some(Class::Dns | Class::Connect | Class::Tls | Class::Timeout))
    };
    let all: Vec<_> = failed.into_iter().collect();
    let any = all.iter().any(Option::is_some);
    match any {
        false => Exit::Ok,
        true if all.into_iter().all(is_unreachable) => Exit::Unreachable,
        true => Exit::No,
    }
}

/// Has every source of type `ec2` use this profile of the shared configuration files.
pub(super) fn with_profile(config: &mut Config, profile: &str) {
    for source in &mut config.server.sources {
        if let SourceKind::Ec2(ec2) = &mut source.kind {
            ec2.profile = Some(profile.to_owned());
        }
    }
}

/// A policy, and who must have it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Grant {
    /// Who.
    pub to: String,
    /// The document, as IAM takes it.
    pub policy: Policy,
}

/// A policy document (IAM user guide, "JSON policy reference").
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: &'static str,
    action: String,
    resource: String,
}

/// The policies that allow all of these.
pub(super) fn grants(all: &[Permission]) -> Vec<Grant> {
    let mut grants: Vec<Grant> = Vec::new();
    for Permission { action, resource, to } in all {
        let statement =
            Statement { effect: "Allow", action: action.clone(), resource: resource.clone() };
        match grants.iter_mut().find(|grant| grant.to == *to) {
            Some(grant) if grant.policy.statement.contains(&statement) => {}
            Some(grant) => grant.policy.statement.push(statement),
            None => {
                let policy = Policy { version: "2012-10-17", statement: vec![statement] };
                grants.push(Grant { to: to.clone(), policy });
            }
        }
    }
    grants
}

impl Policy {
    /// The document.
    pub(super) fn text(&self) -> String {
        // Texts and lists of texts are always JSON.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ec2(role: Option<&str>) -> Ec2Source {
        Ec2Source {
            poll: Duration::from_secs(1),
            endpoint_url: None,
            profile: None,
            role_arn: role.map(str::to_owned),
            external_id: None,
            account: None,
            filters: Default::default(),
        }
    }

    fn denied(action: &str) -> PollError {
        PollError::of_service(action, 403, Some("AccessDenied"), "No.")
    }

    fn asked(failed: PollError) -> Asked {
        Asked {
            failed: Some(failed.clone()),
            left_out: Default::default(),
            principal: Err(failed),
            interfaces: None,
        }
    }

    #[test]
    fn what_is_missing_has_a_name_and_a_policy() {
        let role = "arn:aws:iam::111122223333:role/eipdns";
        let plain = missing(&ec2(None), &asked(denied("ec2:DescribeAddresses")));
        let to = "the default credentials";
        assert_eq!(plain.len(), 1);
        assert_eq!((&*plain[0].action, &*plain[0].to), ("ec2:DescribeAddresses", to));
        let cannot = PollError::Sts(Box::new(denied("sts:AssumeRole")));
        let assumes = missing(&ec2(Some(role)), &asked(cannot));
        assert_eq!(assumes.len(), 1);
        assert_eq!((&*assumes[0].resource, &*assumes[0].to), (role, to));
        let by_role = missing(&ec2(Some(role)), &asked(denied("ec2:DescribeAddresses")));
        assert_eq!(by_role[0].to, format!("role {role}"));
        let down = PollError::Timeout { after: Duration::from_secs(3) };
        assert_eq!(missing(&ec2(None), &asked(down)), []);
        // Of several sources with the same credentials one policy.
        let all = [plain.clone(), plain, assumes].concat();
        let [grant] = &grants(&all)[..] else { panic!("one policy") };
        let said: serde_json::Value = serde_json::from_str(&grant.policy.text()).unwrap();
        let wanted = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [
                { "Effect": "Allow", "Action": "ec2:DescribeAddresses", "Resource": "*" },
                { "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role },
            ],
        });
        assert_eq!(said, wanted);
    }

    #[test]
    fn a_command_ends_with_69_only_if_nobody_is_within_reach() {
        let down = PollError::Timeout { after: Duration::from_secs(3) };
        let unverified = PollError::Unverified { wanted: "1".into(), of: Box::new(down.clone()) };
        let refused = denied("ec2:DescribeAddresses");
        assert_eq!(exit([]), Exit::Ok);
        assert_eq!(exit([None, None]), Exit::Ok);
        assert_eq!(exit([Some(&down), Some(&unverified)]), Exit::Unreachable);
        assert_eq!(exit([Some(&down), None]), Exit::No);
        assert_eq!(exit([Some(&down), Some(&refused)]), Exit::No);
    }
}
