//! `eipdns check --aws`: what AWS says of a configuration, asked once.
//!
//! * `sources`: who asks, and what is granted.
//! * `names`: what each name is bound to, and what every view is answered.
//! * `text`: the same for a terminal.

mod names;
mod sources;
#[cfg(test)]
mod tests;
mod text;

use serde::Serialize;

use super::access::{self, Grant, Permission};
use super::{Exit, print};
use crate::cli::offline::{self, Extent, Offline};
use crate::config::{Config, SourceKind};
use crate::source::error::SourceError;
use crate::source::inventory::Inventory;
use crate::source::once::{self, Asked};
use crate::status::report::TagProblem;
use names::{NameOf, Shared};
use sources::{BudgetOf, SourceOf};

/// All that is said; as it stands here it is what `--json` prints.
#[derive(Debug, Serialize)]
struct Survey {
    /// Nothing is missing.
    ok: bool,
    /// The sources of type `ec2`.
    sources: Vec<SourceOf>,
    /// Actions that are not allowed.
    missing_permissions: Vec<Permission>,
    /// Policies that allow them; without credentials: all that is needed.
    policies: Vec<Grant>,
    /// What to do where there are no credentials.
    way_on: Vec<&'static str>,
    /// What sources take of what EC2 grants, where they count together.
    budgets: Vec<BudgetOf>,
    /// Names that follow an Elastic IP.
    names: Vec<NameOf>,
    /// Addresses of which several names are bound, sets apart.
    shared: Vec<Shared>,
    /// Tags that give no name, or not everywhere.
    tag_problems: Vec<TagProblemOf>,
    /// What makes the command end with another code than 0, one line each.
    missing: Vec<String>,
}

/// A word in a tag of an address that gives no name, or not everywhere.
#[derive(Debug, Serialize)]
struct TagProblemOf {
    source: String,
    #[serde(flatten)]
    problem: TagProblem,
}

/// How the command is asked to tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct How<'h> {
    /// Instead of the profiles that are configured.
    pub profile: Option<&'h str>,
    pub json: bool,
    /// Comes first, for people.
    pub head: &'h str,
}

/// Asks AWS and prints what it says; `files` is what sources of type `file` say.
pub(super) fn run(config: &Config, files: Inventory, how: How<'_>) -> Exit {
    let mut asking = config.clone();
    if let Some(profile) = how.profile {
        access::with_profile(&mut asking, profile);
    }
    let (mut inventory, mut asked) = once::survey(&asking, files);
    let failed = offline::ask_interfaces(&asking, &mut inventory, Extent::AtLeastOne);
    for (id, error) in failed {
        // That a file cannot be read is said by `check` itself.
        if let (Some(Some(asked)), SourceError::Poll(error)) = (asked.get_mut(id), &*error) {
            asked.interfaces = Some(error.clone());
        }
    }
    let offline = Offline::new(&asking, inventory);
    let survey = Survey::of(config, &offline, &asked);
    survey.missing.iter().for_each(print::complain);
    let failed = asked.iter().flatten().map(|asked| asked.failed.as_ref());
    let exit = match access::exit(failed) {
        Exit::Ok if !survey.ok => Exit::No,
        exit => exit,
    };
    if !how.json {
        return print::answer(&format!("{}{survey}", how.head), exit);
    }
    match serde_json::to_string_pretty(&survey) {
        Ok(text) => print::answer(&(text + "\n"), exit),
        Err(error) => {
            print::complain(&format_args!("cannot write JSON: {error}"));
            Exit::Internal
        }
    }
}

impl Survey {
    /// `configured` is as the files say, where `offline` may have another profile.
    fn of(configured: &Config, offline: &Offline<'_>, asked: &[Option<Asked>]) -> Self {
        let sources = sources::all(configured, offline, asked);
        let names = names::all(offline);
        let mut missing: Vec<String> = sources.iter().filter_map(SourceOf::missing).collect();
        missing.extend(sources.iter().filter_map(SourceOf::without_interfaces));
        missing.extend(names.iter().filter_map(NameOf::missing));
        let (mut missing_permissions, mut needed) = (Vec::new(), Vec::new());
        let mut without_any = false;
        for (id, (source, asked)) in offline.config.server.sources.iter().zip(asked).enumerate() {
            let (SourceKind::Ec2(ec2), Some(asked)) = (&source.kind, asked) else { continue };
            missing_permissions.extend(access::missing(ec2, asked));
            if asked.failed.as_ref().is_some_and(access::lacks_credentials) {
                without_any = true;
                needed.extend(access::needed(ec2, access::wants_ipv6(offline.config, id)));
            }
        }
        needed.extend(missing_permissions.iter().cloned());
        Self {
            ok: missing.is_empty(),
            budgets: sources::budgets(offline.config, &sources),
            sources,
            policies: access::grants(&needed),
            missing_permissions,
            way_on: if without_any { access::WAY_ON.to_vec() } else { Vec::new() },
            shared: names::shared(&names),
            names,
            tag_problems: tag_problems(offline),
            missing,
        }
    }
}

/// Those of addresses in files are told as well: a name may lie in either.
fn tag_problems(offline: &Offline<'_>) -> Vec<TagProblemOf> {
    let sources = &offline.config.server.sources;
    let all = offline.inventory.discovered.problems();
    let told = all.filter_map(|problem| {
        let source = sources.get(problem.claim.source)?.name.clone();
        Some(TagProblemOf { source, problem: problem.into() })
    });
    told.collect()
}
