//! What an edit would take away: a file that somebody is writing, or that was
//! removed by mistake, often is a sound configuration with nothing in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hickory_proto::rr::RecordType;

use super::{Binding, Config, ViewId, Zone};
use crate::diag::{Place, Problem, Severity};
use crate::dns::name::Key;
use crate::records::{MasterFile, StaticRecord};

/// Something that a configuration had and another one has not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Every `[[view]]`.
    Views,
    /// Every `[[source]]`.
    Sources,
    /// Every `[[reverse]]`.
    Reverse,
    /// A zone, with its names.
    Zone {
        /// Its file.
        file: PathBuf,
        /// Its origin.
        origin: Key,
    },
    /// All of a zone's `[names]`, or all of its `records`.
    Names {
        /// The zone's file.
        file: PathBuf,
        /// Its origin.
        origin: Key,
        /// `[names]` or `records`.
        of: &'static str,
        /// The view in which they are gone, unless it is each that had some.
        view: Option<String>,
    },
    /// A zone's `[discover]`, with all names that tags give.
    Discover {
        /// The zone's file.
        file: PathBuf,
        /// Its origin.
        origin: Key,
    },
    /// All records of a file that a master file includes, while others are
    /// left.
    Included {
        /// The included file.
        file: PathBuf,
        /// The zone's origin.
        origin: Key,
    },
}

impl Loss {
    /// As a reason not to take the configuration of `directory`.
    pub fn problem(&self, directory: &Path) -> Problem {
        let server = || directory.join("server.toml");
        let (file, what) = match self {
            Loss::Views => (server(), "all views are gone".into()),
            Loss::Sources => (server(), "all sources are gone".into()),
            Loss::Reverse => (server(), "every `[[reverse]]` is gone, with all PTR records".into()),
            Loss::Zone { file, origin } => {
                (file.clone(), format!("zone {origin} is gone, with all its names"))
            }
            Loss::Discover { file, origin } => (
                file.clone(),
                format!("`[discover]` of zone {origin} is gone, with all names that tags give"),
            ),
            Loss::Included { file, origin } => {
                (file.clone(), format!("it had records of zone {origin} and has none now"))
            }
            Loss::Names { file, origin, of, view } => {
                let view = view.as_ref().map_or(String::new(), |view| format!(" in view {view}"));
                (file.clone(), format!("{of} of zone {origin} had names and has none now{view}"))
            }
        };
        Problem {
            place: Place::file(&file),
            severity: Severity::Error,
            what,
            remedy: "if that is meant, run `eipdns reload` or send SIGHUP: both take the files as \
                     they are"
                .into(),
        }
    }
}

/// What `new` has lost of `old` altogether: zones, the names of a part of a
/// zone in a view, the records of a file that is included, all views, all
/// sources. Names that a zone has in another part now are not lost. What was empty before is no loss.
pub fn losses(old: &Config, new: &Config) -> Vec<Loss> {
    let mut losses = Vec::new();
    if new.server.views.is_empty() && !old.server.views.is_empty() {
        losses.push(Loss::Views);
    }
    if new.server.sources.is_empty() && !old.server.sources.is_empty() {
        losses.push(Loss::Sources);
    }
    if new.server.reverse.is_empty() && !old.server.reverse.is_empty() {
        losses.push(Loss::Reverse);
    }
    let mut views = Vec::new();
    for (before, view) in old.server.views.iter().enumerate() {
        if let Some(now) = new.server.views.iter().position(|now| now.name == view.name) {
            views.push((view.name.as_str(), before, now));
        }
    }
    for zone in &old.zones {
        // In order of origin, as they are.
        match new.zones.binary_search_by(|now| now.origin.cmp(&zone.origin)) {
            Ok(at) => {
                let now = &new.zones[at];
                of_zone(zone, now, &views, &mut losses);
                if zone.discover.is_some() && now.discover.is_none() {
                    let (file, origin) = (now.file.clone(), now.origin.clone());
                    losses.push(Loss::Discover { file, origin });
                }
            }
            Err(_) => {
                let (file, origin) = (zone.file.clone(), zone.origin.clone());
                losses.push(Loss::Zone { file, origin });
            }
        }
    }
    losses
}

/// The parts of a zone file that have names.
const PARTS: [Part; 2] = [Part::Bound, Part::Recorded];

#[derive(Clone, Copy)]
enum Part {
    /// `[names]`
    Bound,
    /// `records`
    Recorded,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Bound => "[names]",
            Part::Recorded => "`records`",
        }
    }

    /// The names of this part that a view has. Of records, SOA and NS of the
    /// apex count for nothing: every zone has these.
    fn names(self, zone: &Zone, view: ViewId) -> Box<dyn Iterator<Item = &Key> + '_> {
        match self {
            Part::Bound => {
                let has = move |name: &&Binding| name.modes.get(view).is_some_and(Option::is_some);
                Box::new(zone.names.iter().filter(has).map(|name| &name.name))
            }
            Part::Recorded => {
                let file = zone.records.get(view).and_then(Option::as_deref);
                let has = |record: &&StaticRecord| {
                    record.owner != zone.origin
                        || !matches!(record.rtype, RecordType::SOA | RecordType::NS)
                };
                let records = file.map_or(&[][..], |file| &file.records);
                Box::new(records.iter().filter(has).map(|record| &record.owner))
            }
        }
    }

    /// Had a view names of this part, and has neither this part now nor any of
    /// these names?
    fn is_lost(self, (old, before): (&Zone, ViewId), (new, now): (&Zone, ViewId)) -> bool {
        if self.names(old, before).next().is_none() || self.names(new, now).next().is_some() {
            return false;
        }
        let left = names_of(new, now);
        !self.names(old, before).any(|name| left.contains(name))
    }
}

/// What a zone has lost; `views` are those of both configurations: name, and
/// number in each.
fn of_zone(old: &Zone, new: &Zone, views: &[(&str, ViewId, ViewId)], losses: &mut Vec<Loss>) {
    for part in PARTS {
        let (of, file, origin) = (part.name(), &old.file, &old.origin);
        let loss = |view| Loss::Names { file: file.clone(), origin: origin.clone(), of, view };
        let had =
            |(_, before, _): &&(&str, ViewId, ViewId)| part.names(old, *before).next().is_some();
        let is_lost =
            |(_, before, now): &&(&str, ViewId, ViewId)| part.is_lost((old, *before), (new, *now));
        let lost: Vec<_> = views.iter().filter(is_lost).collect();
        if !lost.is_empty() && lost.len() == views.iter().filter(had).count() {
            losses.push(loss(None));
        } else {
            losses.extend(lost.iter().map(|(view, ..)| loss(Some((*view).to_owned()))));
        }
    }
    let mut told = BTreeSet::new();
    for (_, before, now) in views {
        let file = |zone: &Zone, view: ViewId| zone.records.get(view).cloned().flatten();
        if let (Some(was), Some(is)) = (file(old, *before), file(new, *now))
            && !Part::Recorded.is_lost((old, *before), (new, *now))
        {
            let emptied = emptied(&was, &is);
            if !emptied.is_empty() {
                let left = names_of(new, *now);
                let is_lost = |file: &&Path| of(&was, file).all(|r| !left.contains(&r.owner));
                told.extend(emptied.into_iter().filter(is_lost).map(Path::to_owned));
            }
        }
    }
    let included = |file| Loss::Included { file, origin: old.origin.clone() };
    losses.extend(told.into_iter().map(included));
}

/// Every name that a view has.
fn names_of(zone: &Zone, view: ViewId) -> BTreeSet<&Key> {
    PARTS.iter().flat_map(|part| part.names(zone, view)).collect()
}

/// Of a master file and those it includes: which are read as before and had
/// records, but have none now.
fn emptied<'m>(was: &MasterFile, is: &'m MasterFile) -> Vec<&'m Path> {
    // Alone, an empty one is refused anyway.
    if is.files().len() < 2 {
        return Vec::new();
    }
    let filled: BTreeSet<&Path> = is.records.iter().filter_map(|r| is.file_of(r)).collect();
    let files = is.files().iter().map(PathBuf::as_path).filter(|file| !filled.contains(file));
    files.filter(|file| of(was, file).next().is_some()).collect()
}

/// The records that stand in one of the files.
fn of<'m>(all: &'m MasterFile, file: &Path) -> impl Iterator<Item = &'m StaticRecord> {
    all.records.iter().filter(move |record| all.file_of(record) == Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, SERVER};

    /// What is lost between two directories, one line each.
    fn lost(old: &[(&str, &str)], new: &[(&str, &str)]) -> Vec<String> {
        let with_server = |files: &[(&str, &str)]| {
            let mut all = files.to_vec();
            if all.iter().all(|(name, _)| *name != "server.toml") {
                all.push(("server.toml", SERVER));
            }
            testing::config(&all)
        };
        let losses = losses(&with_server(old), &with_server(new));
        let shown = |loss: &Loss| {
            let problem = loss.problem(Path::new("zones"));
            assert!(problem.remedy.contains("SIGHUP"), "{problem}");
            let file = problem.place.file.file_name().unwrap().to_string_lossy().into_owned();
            format!("{file}: {}", problem.what)
        };
        losses.iter().map(shown).collect()
    }

    const FILE: &str = "example.com.toml";
    const NAMES: &str = "[names]\ndb = \"198.51.100.1\"\nns1 = { address = \"10.0.0.1\" }\n";
    const SOA: &str = "@ SOA ns1 hostmaster 1 3600 600 86400 5\n@ NS ns1\n";

    #[test]
    fn an_edit_that_leaves_something_loses_nothing() {
        let other = "[names]\nother = { address = \"10.0.0.7\" }\n";
        for (old, new) in [
            (NAMES, NAMES),
            (NAMES, other),
            (NAMES, "[names]\ndb = \"198.51.100.1\"\n"),
            // Empty before.
            ("", ""),
            ("", NAMES),
            ("[names]\n", "ttl = 7\n"),
        ] {
            assert_eq!(lost(&[(FILE, old)], &[(FILE, new)]), [""; 0], "{old} {new}");
        }
        // A zone more, a view less, another source.
        let more = [(FILE, NAMES), ("example.net.toml", "")];
        assert_eq!(lost(&[(FILE, NAMES)], &more), [""; 0]);
        let (server, _) = SERVER.rsplit_once("[[view]]").unwrap();
        let fewer = server.replace("\"sample\"", "\"another\"");
        assert_eq!(lost(&[(FILE, NAMES)], &[(FILE, NAMES), ("server.toml", &fewer)]), [""; 0]);
    }

    #[test]
    fn emptied_and_removed_zones_are_told() {
        let emptied = ["example.com.toml: [names] of zone example.com. had names and has none now"];
        for text in ["", "ttl = 5\n", "[names]\n"] {
            assert_eq!(lost(&[(FILE, NAMES)], &[(FILE, text)]), emptied, "{text:?}");
        }
        let other = ("example.net.toml", "");
        let gone = ["example.com.toml: zone example.com. is gone, with all its names"];
        assert_eq!(lost(&[(FILE, NAMES), other], &[other]), gone);
        // It may be empty on purpose, to keep names in the house.
        let gone = ["example.net.toml: zone example.net. is gone, with all its names"];
        assert_eq!(lost(&[(FILE, NAMES), other], &[(FILE, NAMES)]), gone);
    }

    #[test]
    fn a_discover_that_is_gone_is_told() {
        let by_tag = format!("[discover]\ntag = \"dns-name\"\n{NAMES}");
        let gone = [
            "example.com.toml: `[discover]` of zone example.com. is gone, with all names that tags give",
        ];
        assert_eq!(lost(&[(FILE, &by_tag)], &[(FILE, NAMES)]), gone);
        assert_eq!(lost(&[(FILE, NAMES)], &[(FILE, &by_tag)]), [""; 0]);
        let other = by_tag.replace("dns-name", "name");
        assert_eq!(lost(&[(FILE, &by_tag)], &[(FILE, &other)]), [""; 0], "an edit");
    }

    #[test]
    fn names_are_lost_in_one_view_or_in_all() {
        let in_vpc =
            "[names]\ndb = { elastic_ip = \"198.51.100.1\", answer = { outside = \"none\" } }\n";
        let in_none = "views = [\"peered\"]\n";
        let in_peered = format!("{in_none}{NAMES}");
        let told = |text| lost(&[(FILE, NAMES)], &[(FILE, text)]);
        assert_eq!(
            told(in_vpc),
            [
                "example.com.toml: [names] of zone example.com. had names and has none now in view outside"
            ]
        );
        assert_eq!(told(in_none).len(), 1);
        assert_eq!(told(&in_peered).len(), 2);
    }

    #[test]
    fn records_count_by_themselves_for_each_view() {
        let whole = format!("{SOA}ns1 A 10.0.0.1\nwww A 10.0.0.2\n");
        let keys = "records = { vpc = \"a.zone\", peered = \"b.zone\" }\n";
        let old = [(FILE, keys), ("a.zone", &whole), ("b.zone", &whole)];
        // Cut off behind what every zone has.
        let new = [(FILE, keys), ("a.zone", &whole), ("b.zone", "@ NS ns.example.net.\n")];
        assert_eq!(
            lost(&old, &new),
            [
                "example.com.toml: `records` of zone example.com. had names and has none now in view peered"
            ]
        );
        let both = format!("{keys}{NAMES}");
        let old =
            [(FILE, both.as_str()), ("a.zone", "www A 10.0.0.2\n"), ("b.zone", "www A 10.0.0.2\n")];
        let cut = [(FILE, keys), ("a.zone", "www A 10.0.0.2\n"), ("b.zone", "www A 10.0.0.2\n")];
        assert_eq!(
            lost(&old, &cut),
            ["example.com.toml: [names] of zone example.com. had names and has none now"]
        );
        let cut = [(FILE, NAMES)];
        assert_eq!(
            lost(&old, &cut),
            ["example.com.toml: `records` of zone example.com. had names and has none now"]
        );
        // The names stand in the other part now.
        let moved = [(FILE, keys), ("a.zone", "db A 10.0.0.2\n"), ("b.zone", "db A 10.0.0.2\n")];
        let old = [(FILE, NAMES)];
        assert_eq!(lost(&old, &moved).len(), 1, "not in the view without records");
        let moved = [(FILE, "records = \"a.zone\"\n"), ("a.zone", "db A 10.0.0.2\n")];
        assert_eq!(lost(&old, &moved), [""; 0]);
    }

    /// The same between two states of one directory, so that files keep their
    /// paths.
    fn lost_in_place(old: &[(&str, &str)], new: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let load = |files: &[(&str, &str)]| {
            for (name, text) in files.iter().chain(&[("server.toml", SERVER)]) {
                std::fs::write(dir.path().join(name), text).unwrap();
            }
            crate::config::load(dir.path(), &crate::config::Overrides::default()).unwrap().config
        };
        let (old, new) = (load(old), load(new));
        let shown = |loss: &Loss| {
            let problem = loss.problem(dir.path());
            let file = problem.place.file.strip_prefix(dir.path()).unwrap();
            format!("{}: {}", file.display(), problem.what)
        };
        losses(&old, &new).iter().map(shown).collect()
    }

    #[test]
    fn an_included_file_that_is_emptied_is_told() {
        let zone = (FILE, "records = \"a.zone\"\n");
        let main = ("a.zone", "www A 10.0.0.2\n$INCLUDE hosts.zone\n$INCLUDE more.zone\n");
        let more = ("more.zone", "more A 10.0.0.4\n");
        let old = [zone, main, ("hosts.zone", "db A 10.0.0.3\n"), more];
        for text in ["", "; all of it is to come\n"] {
            assert_eq!(
                lost_in_place(&old, &[zone, main, ("hosts.zone", text), more]),
                ["hosts.zone: it had records of zone example.com. and has none now"]
            );
        }
        // Its name stands elsewhere, or it is not included any more.
        let moved = ("more.zone", "db A 10.0.0.3\n");
        assert_eq!(lost_in_place(&old, &[zone, main, ("hosts.zone", ""), moved]), [""; 0]);
        let without = ("a.zone", "www A 10.0.0.2\n$INCLUDE more.zone\n");
        assert_eq!(lost_in_place(&old, &[zone, without, ("hosts.zone", ""), more]), [""; 0]);
        // Empty before.
        let empty = [zone, main, ("hosts.zone", ""), more];
        assert_eq!(lost_in_place(&empty, &empty), [""; 0]);
        // With the whole, it is the whole that is told.
        let main = ("a.zone", "@ NS ns.example.net.\n$INCLUDE hosts.zone\n");
        let old = [zone, main, ("hosts.zone", "db A 10.0.0.3\n")];
        assert_eq!(
            lost_in_place(&old, &[zone, main, ("hosts.zone", "")]),
            ["example.com.toml: `records` of zone example.com. had names and has none now"]
        );
    }

    #[test]
    fn views_and_sources_are_lost_when_none_is_left() {
        let old = testing::config(&[("server.toml", SERVER), (FILE, "")]);
        let mut new = old.clone();
        new.server.views.pop();
        assert_eq!(losses(&old, &new), []);
        new.server.views.clear();
        assert_eq!(losses(&old, &new), [Loss::Views]);
        assert_eq!(losses(&new, &new), []);
        new.server.sources.clear();
        assert_eq!(losses(&old, &new), [Loss::Views, Loss::Sources]);
        let server = format!("{SERVER}[[reverse]]\nnetworks = [\"10.0.0.0/8\"]\n");
        let with = testing::config(&[("server.toml", &server), (FILE, "")]);
        assert_eq!(losses(&with, &old), [Loss::Reverse]);
        assert_eq!(losses(&old, &with), []);
    }
}
