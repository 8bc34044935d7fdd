//! `eipdns init`: a first configuration, from the Elastic IPs that an account has.
//!
//! * `labels`: what the addresses are called. `texts`: the files. `place`: putting them where
//!   nothing is.

mod labels;
mod place;
#[cfg(test)]
mod tests;
mod texts;

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::access::{self, Grant};
use super::{Exit, SHIPPED, print, print_problems};
use crate::config::{self, Config, Overrides, SourceKind};
use crate::dns::name::{Key, MAX_NAME};
use crate::host::text::one_line;
use crate::source::ec2::{self, Principal};
use crate::source::error::{PollError, SourceError};
use crate::source::inventory::Inventory;
use crate::source::once::{self, Asked};
use labels::{MAX_LABEL, Named};
use place::PlaceError;
use texts::Ground;

const SERVER: &str = "server.toml";

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The region whose Elastic IPs get names
    #[arg(long)]
    region: String,
    /// The zone that the names are in
    #[arg(long, value_name = "NAME")]
    zone: String,
    /// Ask with this profile of the AWS CLI; it is not written, as it is not the server's
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Where the two files go
    #[arg(long, value_name = "DIR", default_value = SHIPPED)]
    directory: PathBuf,
    /// Print the files and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Say as JSON what was written
    #[arg(long)]
    json: bool,
    /// Ask EC2 here, and write that the server does
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
}

impl Init {
    pub(super) fn run(self) -> Exit {
        self.told().unwrap_or_else(|exit| exit)
    }

    fn told(&self) -> Result<Exit, Exit> {
        let zone = zone(&self.zone)?;
        let asking = self.asking()?;
        let zone_file = format!("{}.toml", zone.text);
        let vacant = place::vacant(&self.directory, &[SERVER, &zone_file]);
        if let (Err(error), false) = (&vacant, self.dry_run) {
            return Err(refused(error));
        }
        let (inventory, asked) = once::survey(&asking, once::at_hand(&asking));
        let asked = asked.into_iter().next().flatten().ok_or(Exit::Internal)?;
        self.heard(&asking, &asked)?;
        let named = named(&inventory, &zone.origin);
        let server = texts::server(self.ground(asked.principal.as_ref().ok()));
        let text = texts::zone(&zone.text, &self.region, &named);
        // The zone comes first: server.toml makes a configuration of the directory.
        let files = [(zone_file.as_str(), text.as_str()), (SERVER, server.as_str())];
        self.verify(&files)?;
        if !self.dry_run {
            place::put(&self.directory, &files).map_err(|error| refused(&error))?;
        }
        let report = self.report(&zone, &asked, &files, &named);
        let exit = self.print(&report)?;
        vacant.map_err(|error| refused(&error))?;
        if !self.dry_run {
            self.verify_whole()?;
        }
        Ok(exit)
    }

    fn ground<'g>(&'g self, principal: Option<&'g Principal>) -> Ground<'g> {
        Ground { region: &self.region, endpoint: self.endpoint_url.as_deref(), principal }
    }

    /// What is asked with: the configuration to come, as far as it is known, so that flags
    /// are judged as keys are.
    fn asking(&self) -> Result<Config, Exit> {
        if ec2::calls().is_none() {
            print::complain(&"this eipdns was built without the cargo feature `ec2`");
            return Err(Exit::No);
        }
        let server = texts::server(self.ground(None));
        let (mut config, _) = config::load_texts(&self.directory, &[(SERVER, &server)], &ours())
            .map_err(|problems| {
                for problem in problems {
                    print::complain(&format_args!("{}; {}", problem.what, problem.remedy));
                }
                Exit::Usage
            })?;
        if let Some(profile) = &self.profile {
            access::with_profile(&mut config, profile);
        }
        Ok(config)
    }

    /// Says what is wrong with what EC2 and STS say.
    fn heard(&self, asking: &Config, asked: &Asked) -> Result<(), Exit> {
        let Some(error) = &asked.failed else {
            if let Err(error) = &asked.principal {
                print::line(&format_args!(
                    "warning: whose credentials they are is not known, so `account` is not \
                     pinned: {}",
                    shortly(error)
                ));
            }
            return Ok(());
        };
        let region = &self.region;
        print::complain(&format_args!("EC2 in {region} says nothing: {}", shortly(error)));
        let kind = asking.server.sources.first().map(|source| &source.kind);
        if let Some(SourceKind::Ec2(ec2)) = kind {
            let lacks_credentials = access::lacks_credentials(error);
            if lacks_credentials {
                access::WAY_ON.iter().for_each(print::line);
            }
            let needed = match lacks_credentials {
                true => access::needed(ec2, false),
                false => access::missing(ec2, asked),
            };
            access::grants(&needed).iter().for_each(tell);
        }
        Err(access::exit([Some(error)]))
    }

    /// What is written passes `check`. That it does is ours to see to.
    fn verify(&self, files: &[(&str, &str)]) -> Result<(), Exit> {
        match config::load_texts(&self.directory, files, &ours()) {
            Ok((_, warnings)) => {
                print_problems(&warnings);
                Ok(())
            }
            Err(problems) => {
                print::complain(&"what would be written is no good configuration: report this");
                print_problems(&problems);
                Err(Exit::Internal)
            }
        }
    }

    /// Zones that stand in the directory already are part of the configuration from now on.
    fn verify_whole(&self) -> Result<(), Exit> {
        let Err(invalid) = config::load(&self.directory, &ours()) else { return Ok(()) };
        print_problems(&invalid.problems);
        print::complain(
            &"both files are written, and with the other files of the directory they are no good \
              configuration: mend or remove what is named above",
        );
        Err(Exit::No)
    }

    fn report(
        &self,
        zone: &ZoneName,
        asked: &Asked,
        files: &[(&str, &str)],
        named: &[Named],
    ) -> Report {
        let principal = asked.principal.as_ref().ok();
        let file = |(name, text): &(&str, &str)| FileOf {
            path: self.directory.join(name).display().to_string(),
            text: (*text).to_owned(),
        };
        let (bound, left_out): (Vec<_>, Vec<_>) =
            named.iter().partition(|one| one.left_out.is_none());
        let below = |label: &str| format!("{label}.{}.", zone.text);
        Report {
            written: !self.dry_run,
            region: self.region.clone(),
            account: principal.map(|principal| principal.account.clone()),
            caller: principal.map(|principal| principal.arn.clone()),
            files: files.iter().map(file).collect(),
            names: bound
                .into_iter()
                .map(|one| NameOf {
                    name: below(&one.label),
                    target: one.target.clone(),
                    tag: one.tag.clone(),
                })
                .collect(),
            left_out: left_out
                .into_iter()
                .filter_map(|one| {
                    Some(LeftOutOf {
                        target: one.target.clone(),
                        tag: one.tag.clone(),
                        why: one.left_out.as_ref()?.to_string(),
                        proposed: below(&one.label),
                    })
                })
                .collect(),
            unusable: asked.left_out.first.iter().map(ToString::to_string).collect(),
            unusable_in_all: asked.left_out.count,
            profile: self.profile.clone(),
            next: self.next(),
        }
    }

    /// The next two commands.
    fn next(&self) -> [String; 2] {
        // Without --config the environment counts before the default.
        let is_found =
            self.directory == Path::new(SHIPPED) && std::env::var_os("EIPDNS_CONFIG").is_none();
        let config = match is_found {
            true => String::new(),
            false => format!(" --config {}", word(&self.directory.display().to_string())),
        };
        let profile = self.profile.as_deref().map(word);
        let flag = profile.as_ref().map(|name| format!(" --profile {name}")).unwrap_or_default();
        let variable = profile.map(|name| format!("AWS_PROFILE={name} ")).unwrap_or_default();
        [format!("eipdns check --aws{flag}{config}"), format!("{variable}eipdns serve{config}")]
    }

    fn print(&self, report: &Report) -> Result<Exit, Exit> {
        if !self.json {
            return Ok(print::answer(&report.to_string(), Exit::Ok));
        }
        match serde_json::to_string_pretty(report) {
            Ok(text) => Ok(print::answer(&(text + "\n"), Exit::Ok)),
            Err(error) => {
                print::complain(&format_args!("cannot write JSON: {error}"));
                Err(Exit::Internal)
            }
        }
    }
}

/// No flags and no environment: what the files say.
fn ours() -> Overrides {
    Overrides { ec2: true, ..Overrides::default() }
}

/// The zone, and its name without final dot, which is a file's.
struct ZoneName {
    origin: Key,
    text: String,
}

fn zone(given: &str) -> Result<ZoneName, Exit> {
    let refuse = |why: &dyn Display| {
        print::complain(&format_args!("--zone: {} {why}", texts::shown(given)));
        Exit::Usage
    };
    let origin = Key::parse(given, None)
        .map_err(|error| refuse(&format_args!("is no domain name: {error}")))?;
    let text = origin.to_string().trim_end_matches('.').to_owned();
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    match () {
        () if text.is_empty() || !text.bytes().all(is_plain) => {
            Err(refuse(&"is no zone for this: write one of letters, digits and hyphens"))
        }
        () if origin.octets().len() + MAX_LABEL + 1 > MAX_NAME => {
            Err(refuse(&"is so long that names below it are too long"))
        }
        () if format!("{text}.toml") == SERVER => {
            Err(refuse(&"has a file of the name server.toml, which is another one"))
        }
        () => Ok(ZoneName { origin, text }),
    }
}

/// What the addresses of the one source are called.
fn named(inventory: &Inventory, origin: &Key) -> Vec<Named> {
    let entries = inventory.sources.iter().flat_map(|source| &source.entries);
    let addresses = entries.flat_map(|entries| entries.values()).map(|entry| &*entry.address);
    labels::named(addresses, origin)
}

fn refused(error: &PlaceError) -> Exit {
    print::complain(error);
    Exit::No
}

/// As it is said everywhere else.
fn shortly(error: &PollError) -> SourceError {
    SourceError::Poll(error.clone())
}

fn tell(grant: &Grant) {
    print::line(&format_args!("a policy that allows what is needed, for {}:", grant.to));
    grant.policy.text().lines().for_each(|line| print::line(&line));
}

/// A word for a shell.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// What was done; as it stands here it is what `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// False: a dry run.
    written: bool,
    region: String,
    /// None: it is not known.
    account: Option<String>,
    /// The ARN of whoever asked.
    caller: Option<String>,
    files: Vec<FileOf>,
    names: Vec<NameOf>,
    /// Addresses that have no name, and are comments in the zone's file.
    left_out: Vec<LeftOutOf>,
    /// Why entries of EC2's answer cannot be used: the first ones.
    unusable: Vec<String>,
    unusable_in_all: usize,
    /// The profile that was used, and not written.
    profile: Option<String>,
    /// The next two commands.
    next: [String; 2],
}

#[derive(Debug, Serialize)]
struct FileOf {
    path: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct NameOf {
    name: String,
    /// The Elastic IP, or the allocation.
    target: String,
    /// The value of its tag `Name`.
    tag: Option<String>,
}

#[derive(Debug, Serialize)]
struct LeftOutOf {
    target: String,
    tag: Option<String>,
    why: String,
    /// The name that the comment has.
    proposed: String,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.files.iter().map(|file| file.path.as_str()).collect();
        let paths = paths.join(" and ");
        if self.written {
            writeln!(f, "wrote {paths}")?;
        } else {
            for file in &self.files {
                writeln!(f, "==> {} <==\n{}", file.path, file.text)?;
            }
            writeln!(f, "a dry run: {paths} are not written")?;
        }
        let account = self.account.as_deref().unwrap_or("not known");
        let all = self.names.len() + self.left_out.len();
        let (names, region) = (self.names.len(), &self.region);
        writeln!(f, "{names} names of {all} addresses in {region}, account {account}")?;
        for NameOf { name, target, tag } in &self.names {
            let tag = tag.as_deref().map(texts::shown).unwrap_or_default();
            writeln!(f, "  {name} = {target}, Name {tag}")?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "not served, and comments in the zone's file:")?;
        }
        for LeftOutOf { target, tag, why, .. } in &self.left_out {
            let tag = tag.as_deref().map(|tag| format!(", Name {}", texts::shown(tag)));
            writeln!(f, "  {target}{}: {why}", tag.unwrap_or_default())?;
        }
        for why in &self.unusable {
            writeln!(f, "cannot be used: {}", one_line(why))?;
        }
        match self.unusable_in_all.saturating_sub(self.unusable.len()) {
            0 => {}
            more => writeln!(f, "cannot be used: {more} more entries")?,
        }
        if let Some(profile) = &self.profile {
            writeln!(
                f,
                "profile {} is yours and is not written: a server has the role of its instance, or \
                 `profile` or `role_arn` in server.toml",
                texts::shown(profile)
            )?;
        }
        let [check, serve] = &self.next;
        writeln!(f, "next:\n  {check}\n  {serve}")
    }
}
