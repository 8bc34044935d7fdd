//! Which source of the last configuration a source carries on.
//!
//! What a source said stands until its successor has delivered, whatever was
//! changed about it: its pace, its endpoint, its filters or its name, by a
//! reload or over a restart. Nothing here asks anybody.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Source, SourceKind};

/// The settings that decide which addresses a source sees, by key. Intervals,
/// TTLs and the like are not among them.
pub(crate) type Settings = BTreeMap<String, String>;

/// What decides which addresses a source sees.
pub(crate) fn fingerprint(source: &Source) -> Settings {
    let mut of = Settings::new();
    let mut put = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            of.insert(key.to_owned(), value.to_owned());
        }
    };
    put("region", source.region.as_deref());
    match &source.kind {
        SourceKind::File { path, interfaces: _ } => {
            put("type", Some("file"));
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            put("path", Some(&path.to_string_lossy()));
        }
        SourceKind::Ec2(ec2) => {
            put("type", Some("ec2"));
            put("endpoint_url", ec2.endpoint_url.as_deref());
            put("profile", ec2.profile.as_deref());
            put("role_arn", ec2.role_arn.as_deref());
            put("external_id", ec2.external_id.as_deref());
            put("account", ec2.account.as_deref());
            for (name, values) in &ec2.filters {
                put(&format!("filter {name}"), Some(&values.join(",")));
            }
        }
    }
    of
}

/// Every setting of a source: what a reload may have changed about it.
fn settings(source: &Source) -> Settings {
    let mut all = fingerprint(source);
    all.insert("name".into(), source.name.clone());
    all.insert("ttl".into(), source.ttl.to_string());
    if let Some(suffix) = &source.public_suffix {
        all.insert("public_suffix".into(), suffix.to_string());
    }
    match &source.kind {
        SourceKind::Ec2(ec2) => {
            all.insert("poll".into(), humantime::format_duration(ec2.poll).to_string());
        }
        SourceKind::File { path: _, interfaces } => {
            let shown = interfaces.as_ref().map(|path| path.to_string_lossy().into_owned());
            all.extend(shown.map(|path| ("interfaces".to_owned(), path)));
        }
    }
    all
}

/// What a reload changed about a source, for people; empty if nothing.
pub(crate) fn changes(was: &Source, is: &Source) -> String {
    differences(&settings(was), &settings(is))
}

/// Are two sources of one account and region, asked at one place with the same
/// credentials, as far as is configured? What EC2 says to one of them about too many
/// calls, it says to both.
pub(crate) fn share_account(a: &Source, b: &Source) -> bool {
    let account = |source: &Source| {
        let mut of = fingerprint(source);
        of.retain(|key, _| key != "account" && !key.starts_with("filter "));
        of
    };
    let is_ec2 = matches!(a.kind, SourceKind::Ec2(_));
    is_ec2 && account(a) == account(b) && !are_apart(&fingerprint(a), &fingerprint(b))
}

/// Does each say of which account it is, and another one?
fn are_apart(a: &Settings, b: &Settings) -> bool {
    a.get("account").zip(b.get("account")).is_some_and(|(a, b)| a != b)
}

/// What differs between settings, for people; empty if nothing.
pub(crate) fn differences(was: &Settings, is: &Settings) -> String {
    let keys: BTreeSet<_> = was.keys().chain(is.keys()).collect();
    let shown = |of: &Settings, key| match of.get(key) {
        Some(value) => format!("{value:?}"),
        None => "not set".to_owned(),
    };
    keys.into_iter()
        .filter(|key| was.get(*key) != is.get(*key))
        .map(|key| format!("its `{key}` was {} and is {}", shown(was, key), shown(is, key)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A source of the last configuration or process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Former<'s> {
    /// Its name.
    pub name: &'s str,
    /// Its [`fingerprint`].
    pub of: &'s Settings,
    /// The region it found itself in, if it did.
    pub region: Option<&'s str>,
}

impl Former<'_> {
    fn setting(&self, key: &str) -> Option<&str> {
        self.of.get(key).map(String::as_str)
    }

    fn region(&self) -> Option<&str> {
        self.region.or(self.setting("region"))
    }

    /// Could the source with these settings be the same one under another
    /// name: of the same type, region and role?
    fn is_like(&self, settings: &Settings) -> bool {
        let setting = |key: &str| settings.get(key).map(String::as_str);
        let region = setting("region");
        self.setting("type") == setting("type")
            && self.setting("role_arn") == setting("role_arn")
            && (region == self.setting("region") || region == self.region())
    }

    /// Is the source with these settings, which finds itself in `region`,
    /// plainly one of another account or region? What it says then replaces
    /// all that was known.
    pub(crate) fn is_elsewhere(&self, settings: &Settings, region: Option<&str>) -> bool {
        let ec2 = |of: &Settings| of.get("type").is_some_and(|t| t == "ec2");
        let region = region.or(settings.get("region").map(String::as_str));
        let moved = matches!((self.region(), region), (Some(was), Some(is)) if was != is);
        let role = self.setting("role_arn") != settings.get("role_arn").map(String::as_str);
        ec2(self.of) && ec2(settings) && (moved || role || are_apart(self.of, settings))
    }
}

/// For each of `sources` the number of the former one that it carries on: the
/// one of its name; else the only one left of the same type, region and role.
/// With two candidates, on either side, there is none.
pub(crate) fn predecessors(former: &[Former<'_>], sources: &[Source]) -> Vec<Option<usize>> {
    let by_name = |source: &Source| former.iter().position(|f| f.name == source.name);
    let mut found: Vec<_> = sources.iter().map(by_name).collect();
    let left: Vec<usize> = (0..former.len()).filter(|at| !found.contains(&Some(*at))).collect();
    let candidates: Vec<Vec<usize>> = sources
        .iter()
        .zip(&found)
        .map(|(source, found)| match found {
            Some(_) => Vec::new(),
            None => {
                let of = fingerprint(source);
                left.iter().copied().filter(|at| former[*at].is_like(&of)).collect()
            }
        })
        .collect();
    for (found, mine) in found.iter_mut().zip(&candidates) {
        if let [only] = mine[..]
            && candidates.iter().filter(|all| all.contains(&only)).count() == 1
        {
            *found = Some(only);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::Ec2Source;
    use crate::diag::Place;

    fn source(name: &str, region: Option<&str>, role: Option<&str>) -> Source {
        Source {
            name: name.to_owned(),
            kind: SourceKind::Ec2(Ec2Source {
                poll: Duration::from_secs(2),
                endpoint_url: None,
                profile: None,
                role_arn: role.map(str::to_owned),
                external_id: None,
                account: None,
                filters: BTreeMap::new(),
            }),
            region: region.map(str::to_owned),
            public_suffix: None,
            ttl: 5,
            place: Place::file(Path::new("server.toml")),
        }
    }

    fn ec2(source: &mut Source) -> &mut Ec2Source {
        match &mut source.kind {
            SourceKind::Ec2(ec2) => ec2,
            SourceKind::File { .. } => panic!("a file"),
        }
    }

    /// Which of `old`, each in the region it says, do `new` carry on?
    fn of(old: &[Source], new: &[Source]) -> Vec<Option<usize>> {
        let prints: Vec<_> = old.iter().map(fingerprint).collect();
        let former: Vec<_> = old
            .iter()
            .zip(&prints)
            .map(|(s, of)| Former { name: &s.name, of, region: s.region.as_deref() })
            .collect();
        predecessors(&former, new)
    }

    #[test]
    fn by_name_else_the_only_one_alike() {
        let east = || source("east", Some("us-east-1"), None);
        let west = || source("west", Some("us-west-2"), None);
        let named = |name, of: Source| Source { name: String::from(name), ..of };
        assert_eq!(of(&[east(), west()], &[west(), east()]), [Some(1), Some(0)]);
        // A name counts whatever else has changed.
        let moved = source("east", Some("eu-west-1"), Some("arn:aws:iam::111122223333:role/a"));
        assert_eq!(of(&[east(), west()], &[moved]), [Some(0)]);
        // Renamed: the only one alike.
        assert_eq!(of(&[east(), west()], &[named("main", east()), west()]), [Some(0), Some(1)]);
        assert_eq!(of(&[east()], &[named("main", west())]), [None]);
        // Two candidates, before or now: none.
        let (a, b) = (named("a", east()), named("b", east()));
        assert_eq!(of(&[a.clone(), b.clone()], &[named("c", east())]), [None]);
        assert_eq!(of(&[named("c", east())], &[a.clone(), b.clone()]), [None, None]);
        // One of them keeps its name: the other one is the only one left.
        assert_eq!(of(&[a.clone(), b], &[named("c", east()), a]), [Some(1), Some(0)]);
        assert_eq!(of(&[], &[east()]), [None]);
    }

    #[test]
    fn a_region_that_was_found_counts_as_one_that_is_written() {
        let found = source("main", None, None);
        let print = fingerprint(&found);
        let former = Former { name: "main", of: &print, region: Some("us-east-1") };
        assert_eq!(predecessors(&[former], &[source("x", Some("us-east-1"), None)]), [Some(0)]);
        assert_eq!(predecessors(&[former], &[source("x", None, None)]), [Some(0)]);
        assert_eq!(predecessors(&[former], &[source("x", Some("us-west-2"), None)]), [None]);
        let written = fingerprint(&source("main", Some("us-east-1"), None));
        assert!(!former.is_elsewhere(&written, None));
        assert!(!former.is_elsewhere(&print, Some("us-east-1")));
        assert!(former.is_elsewhere(&print, Some("us-west-2")));
        assert!(!former.is_elsewhere(&print, None), "not known yet");
    }

    #[test]
    fn who_is_throttled_together() {
        let east = || source("east", Some("us-east-1"), None);
        let mut other = Source { name: "main".into(), ttl: 9, ..east() };
        ec2(&mut other).filters.insert("tag:Role".into(), vec!["db".into()]);
        ec2(&mut other).poll = Duration::from_secs(9);
        assert!(share_account(&east(), &other));
        ec2(&mut other).profile = Some("partner".into());
        assert!(!share_account(&east(), &other));
        assert!(!share_account(&east(), &source("east", Some("us-west-2"), None)));
        assert!(!share_account(&east(), &source("east", Some("us-east-1"), Some("arn:a"))));
        let file = SourceKind::File { path: "addresses.json".into(), interfaces: None };
        let file = Source { kind: file, ..east() };
        assert!(!share_account(&file, &file));
    }

    /// One that says nothing of its account may be of any.
    #[test]
    fn accounts_are_others_where_both_say_so() {
        let of = |account: Option<&str>| {
            let mut source = source("east", Some("us-east-1"), None);
            ec2(&mut source).account = account.map(str::to_owned);
            source
        };
        let (ours, theirs, any) = (of(Some("111122223333")), of(Some("444455556666")), of(None));
        let is_elsewhere = |was: &Source, is: &Source| {
            let former = fingerprint(was);
            let former = Former { name: "east", of: &former, region: None };
            former.is_elsewhere(&fingerprint(is), None)
        };
        for (was, is, same) in [
            (&ours, &theirs, false),
            (&ours, &ours, true),
            (&any, &ours, true),
            (&ours, &any, true),
        ] {
            assert_eq!((is_elsewhere(was, is), share_account(was, is)), (!same, same));
        }
        assert_eq!(changes(&any, &ours), "its `account` was not set and is \"111122223333\"");
    }

    #[test]
    fn another_role_is_another_account_and_a_filter_is_not() {
        let mut plain = source("main", Some("us-east-1"), None);
        let was = fingerprint(&plain);
        let former = Former { name: "main", of: &was, region: None };
        let role = source("main", Some("us-east-1"), Some("arn:aws:iam::111122223333:role/a"));
        assert!(former.is_elsewhere(&fingerprint(&role), None));
        ec2(&mut plain).filters.insert("tag:Role".into(), vec!["db".into(), "web".into()]);
        ec2(&mut plain).endpoint_url = Some("http://127.0.0.1:1".into());
        let is = fingerprint(&plain);
        assert!(!former.is_elsewhere(&is, None));
        assert_eq!(
            differences(&was, &is),
            "its `endpoint_url` was not set and is \"http://127.0.0.1:1\", its `filter tag:Role` \
             was not set and is \"db,web\""
        );
        let file = SourceKind::File { path: "addresses.json".into(), interfaces: None };
        let file = Source { kind: file, ..plain.clone() };
        let mut other = file.clone();
        if let SourceKind::File { interfaces, .. } = &mut other.kind {
            *interfaces = Some("interfaces.json".into());
        }
        assert_eq!(fingerprint(&other), fingerprint(&file), "it sees the same addresses");
        let changed = "its `interfaces` was not set and is \"interfaces.json\"";
        assert_eq!(changes(&file, &other), changed);
        assert!(Path::new(&fingerprint(&file)["path"]).is_absolute());
        assert!(!former.is_elsewhere(&fingerprint(&file), None));
        let mut slower = plain.clone();
        ec2(&mut slower).poll = Duration::from_secs(5);
        slower.ttl = 9;
        assert_eq!(fingerprint(&slower), fingerprint(&plain));
        assert_eq!(
            changes(&plain, &slower),
            "its `poll` was \"2s\" and is \"5s\", its `ttl` was \"5\" and is \"9\""
        );
    }
}
