//! A survey for a terminal.

use std::fmt::{self, Display, Formatter, Write};

use super::names::NameOf;
use super::sources::{BudgetOf, SourceOf};
use super::{Survey, TagProblemOf};
use crate::host::text::OneLine;
use crate::status::explain::AddressOf;

/// Of the problems with tags so many are shown; `--json` has all of them.
const SHOWN: usize = 100;

impl Display for Survey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut out = Lines(f);
        if self.sources.is_empty() {
            out.head(format_args!("no source is of type \"ec2\": AWS was not asked"))?;
        }
        self.sources.iter().try_for_each(|source| out.source(source))?;
        out.permissions(self)?;
        out.budgets(&self.budgets)?;
        out.names(self)?;
        out.shared(self)?;
        out.tag_problems(&self.tag_problems)?;
        out.end(self)
    }
}

/// What is written one line at a time: nothing that anybody says makes another.
struct Lines<'l, 'f>(&'l mut Formatter<'f>);

impl Lines<'_, '_> {
    fn line(&mut self, line: fmt::Arguments<'_>) -> fmt::Result {
        OneLine(self.0).write_fmt(line)?;
        self.0.write_char('\n')
    }

    /// What a section begins with.
    fn head(&mut self, line: fmt::Arguments<'_>) -> fmt::Result {
        self.0.write_char('\n')?;
        self.line(line)
    }

    fn row(&mut self, label: &str, value: impl Display) -> fmt::Result {
        self.line(format_args!("  {label:<12} {value}"))
    }

    fn source(&mut self, source: &SourceOf) -> fmt::Result {
        self.head(format_args!("source {} ({})", source.name, source.place))?;
        if let Some(failed) = &source.failed {
            self.row("FAILED", format_args!("{}: {}", failed.class, failed.why))?;
        }
        match (&source.caller, &source.caller_unknown) {
            (Some(caller), _) => {
                self.row("caller", &caller.arn)?;
                let pinned = match &source.account {
                    Some(wanted) if *wanted == caller.account => "as configured".to_owned(),
                    Some(wanted) => format!("NOT {wanted}, which is configured"),
                    None => format!("not pinned: write account = \"{}\"", caller.account),
                };
                self.row("account", format_args!("{} ({pinned})", caller.account))?;
            }
            // Said already.
            (None, Some(why)) if source.failed.as_ref().is_some_and(|f| f.why == *why) => {}
            (None, why) => {
                self.row("caller", format_args!("NOT KNOWN: {}", why.as_deref().unwrap_or("-")))?;
            }
        }
        let region = source.region.as_deref().unwrap_or("-");
        let from = match source.region_from {
            "configured" => "configured",
            _ => "from the SDK's chain; `region` in the source pins it",
        };
        self.row("region", format_args!("{region} ({from})"))?;
        if let Some(endpoint) = &source.endpoint {
            self.row("endpoint", endpoint)?;
        }
        self.credentials(source)?;
        if source.failed.is_none() {
            let SourceOf { addresses, associated, .. } = source;
            self.row("addresses", format_args!("{addresses}, {associated} of them associated"))?;
        }
        if source.interfaces > 0 {
            self.row("interfaces", format_args!("{}, for names with `ipv6`", source.interfaces))?;
        }
        if let Some(failed) = &source.interfaces_failed {
            self.row("NO IPV6", format_args!("{}: {}", failed.class, failed.why))?;
        }
        source.left_out_first.iter().try_for_each(|why| self.row("LEFT OUT", why))?;
        match source.left_out.saturating_sub(source.left_out_first.len()) {
            0 => Ok(()),
            more => self.row("LEFT OUT", format_args!("{more} more entries")),
        }
    }

    fn credentials(&mut self, source: &SourceOf) -> fmt::Result {
        match (&source.profile, &source.instead_of) {
            (Some(profile), Some(instead)) => self.row(
                "profile",
                format_args!("{profile}, instead of {instead}, which is configured (--profile)"),
            )?,
            (Some(profile), None) => self.row("profile", profile)?,
            (None, _) => {}
        }
        match (&source.role, &source.profile) {
            (Some(role), Some(profile)) => {
                self.row("role", format_args!("{role}, assumed by profile {profile}"))
            }
            (Some(role), None) => self.row("role", role),
            (None, _) => Ok(()),
        }
    }

    /// What is missing, what allows it, and what to do without credentials.
    fn permissions(&mut self, survey: &Survey) -> fmt::Result {
        if !survey.missing_permissions.is_empty() {
            self.head(format_args!("missing permissions"))?;
        }
        for one in &survey.missing_permissions {
            self.line(format_args!("  {} on {}, for {}", one.action, one.resource, one.to))?;
        }
        if !survey.way_on.is_empty() {
            self.head(format_args!("no credentials: what to do"))?;
            survey.way_on.iter().try_for_each(|way| self.line(format_args!("  {way}")))?;
        }
        for grant in &survey.policies {
            self.head(format_args!("a policy that allows what is needed, for {}", grant.to))?;
            let text = grant.policy.text();
            text.lines().try_for_each(|line| self.line(format_args!("  {line}")))?;
        }
        Ok(())
    }

    fn budgets(&mut self, budgets: &[BudgetOf]) -> fmt::Result {
        if !budgets.is_empty() {
            self.head(format_args!(
                "requests of each replica at the configured `poll`, of those that EC2 grants all \
                 who ask there"
            ))?;
        }
        for budget in budgets {
            let BudgetOf { per_second, granted_per_second, granted_at_once, replicas, .. } = budget;
            let of = match (&budget.account, &budget.credentials) {
                (Some(account), _) => format!("account {account}"),
                (None, Some(credentials)) => format!("the account of {credentials}"),
                (None, None) => "an account".to_owned(),
            };
            let region = budget.region.as_deref().unwrap_or("-");
            let at = budget.endpoint.as_ref().map(|url| format!(" at {url}")).unwrap_or_default();
            self.line(format_args!("  {of} in {region}{at}: {}", budget.sources.join(", ")))?;
            let share = 100.0 * per_second / granted_per_second;
            self.line(format_args!(
                "    {per_second:.1} a second of {granted_per_second} ({share:.0} %, \
                 {granted_at_once} at once); {replicas} such replicas take all of it"
            ))?;
        }
        Ok(())
    }

    fn names(&mut self, survey: &Survey) -> fmt::Result {
        let mut head = None;
        for one in &survey.names {
            if head != Some((&one.zone, one.by_tag)) {
                head = Some((&one.zone, one.by_tag));
                let from = if one.by_tag { "names from tags in" } else { "names of" };
                self.head(format_args!("{from} {}", one.zone))?;
            }
            self.name(one)?;
        }
        Ok(())
    }

    fn name(&mut self, one: &NameOf) -> fmt::Result {
        self.line(format_args!("  {} = {} ({})", one.name, one.target, one.place))?;
        match one.found {
            Some(true) => {}
            Some(false) => self.line(format_args!("    NOT FOUND in any source that was asked"))?,
            None => self.line(format_args!("    NOT KNOWN: a source says nothing"))?,
        }
        one.addresses.iter().try_for_each(|address| self.address(address))?;
        for answer in &one.answers {
            let views = answer.views.join(", ");
            self.line(format_args!("    {views:<12} {}", answer.answer))?;
            if let Some(warning) = &answer.warning {
                self.line(format_args!("    {:<12} WARNING: {warning}", ""))?;
            }
        }
        Ok(())
    }

    fn address(&mut self, address: &AddressOf) -> fmt::Result {
        let AddressOf { elastic_ip, source, .. } = address;
        let shown = elastic_ip.to_string();
        let id = address.allocation.iter().filter(|id| **id != shown);
        let id: String = id.map(|id| format!(" {id}")).collect();
        let edge = address.edge_ip.map(|edge| format!(" ({edge})")).unwrap_or_default();
        let beaten = if address.chosen { "" } else { " (another source's word counts)" };
        let at = match address.private {
            Some(private) => {
                let parts = [Some(private.to_string()), address.instance.clone()];
                let parts = parts.into_iter().chain([address.interface.clone()]).flatten();
                format!("at {}", parts.collect::<Vec<_>>().join(", "))
            }
            None => "NOT ASSOCIATED".to_owned(),
        };
        self.line(format_args!("    {shown}{id}{edge} of source {source}{beaten}: {at}"))
    }

    fn shared(&mut self, survey: &Survey) -> fmt::Result {
        if !survey.shared.is_empty() {
            self.head(format_args!("addresses with several names"))?;
        }
        for one in &survey.shared {
            self.line(format_args!("  {}: {}", one.elastic_ip, one.names.join(", ")))?;
        }
        Ok(())
    }

    fn tag_problems(&mut self, all: &[TagProblemOf]) -> fmt::Result {
        if !all.is_empty() {
            self.head(format_args!("tags that give no name, or not everywhere"))?;
        }
        for TagProblemOf { source, problem } in all.iter().take(SHOWN) {
            self.line(format_args!(
                "  {} of source {source} has {}: {}",
                problem.elastic_ip, problem.name, problem.why
            ))?;
        }
        match all.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => self.line(format_args!("  and {more} more: --json has all of them")),
        }
    }

    fn end(&mut self, survey: &Survey) -> fmt::Result {
        let found = survey.names.iter().filter(|one| one.found == Some(true)).count();
        let warnings: usize = survey.names.iter().map(NameOf::warnings).sum();
        self.head(format_args!(
            "{found} of {} names found, {} missing, {warnings} warnings, {} problems with tags",
            survey.names.len(),
            survey.missing.len(),
            survey.tag_problems.len()
        ))
    }
}
