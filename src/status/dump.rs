//! A zone as one view is answered it, as a master file (RFC 1035 section 5):
//! what `/api/dump` and `eipdns dump` say.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use hickory_proto::rr::RecordType;
use serde::{Deserialize, Serialize};

use crate::compile::names;
use crate::config::Target;
use crate::dns::name::{Key, labels};
use crate::host::background::{breathe, breathing};
use crate::host::text::one_line;
use crate::records::record_line;
use crate::snapshot::{Freshness, Node, RrSet, Snapshot, ZoneTable};
use crate::source::discover::Member;
use crate::source::inventory::Address;

/// The longest text that a server makes, in octets: ten times what 100,000
/// names take.
pub(crate) const MAX_OCTETS: usize = 128 << 20;

/// One zone as one view is answered it, from one snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Dumped {
    /// The zone's origin.
    pub zone: String,
    /// The view; of several that are answered the same, the first.
    pub view: String,
    /// The zone's serial.
    pub serial: u32,
    /// Of the snapshot.
    pub generation: u64,
    /// Names that are answered SERVFAIL, or which of those that are not in it are. Each is a comment in `text`, in place
    /// of the records that nobody gets.
    pub unanswered: Vec<Unanswered>,
    /// The master file: the SOA first, then names in canonical order (RFC 4034
    /// section 6.1).
    pub text: String,
}

/// A name without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unanswered {
    /// The name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// Whose word a dump is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// What clients are answered.
    Server,
    /// What a server would say if it started now and heard the same.
    Offline,
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoDump {
    /// There is no such view.
    #[error("there is no view {wanted:?}; the views are {known}")]
    View {
        /// The one asked for.
        wanted: String,
        /// All there are.
        known: String,
    },
    /// There is no such zone.
    #[error("no zone {0} in this configuration (or not in that view)")]
    Zone(Key),
    /// No view was named, and what they are answered differs.
    #[error("{origin} differs between the views {views}: choose one with --view (`view`)")]
    Several {
        /// The zone asked for.
        origin: Key,
        /// Those that have it.
        views: String,
    },
    /// More than so many octets.
    #[error(
        "{origin} takes more than {most} octets as a master file; `eipdns dump --offline` has no \
         such limit"
    )]
    TooLong {
        /// The zone asked for.
        origin: Key,
        /// The limit.
        most: usize,
    },
}

/// Writes the zone `origin` as `view` is answered it, or as all views are that
/// have it. Takes a second for some 100,000 names: in turns, where work is done
/// in turns.
///
/// # Errors
/// There is nothing to print, or more than `most` octets.
pub(crate) fn dump(
    snapshot: &Snapshot,
    origin: &Key,
    view: Option<&str>,
    word: Word,
    most: usize,
) -> Result<Dumped, NoDump> {
    let (view, table) = chosen(snapshot, origin, view)?;
    let mut out = ZoneText { snapshot, table, text: String::new(), unanswered: Vec::new(), most };
    out.head(view, word);
    out.tags();
    out.names_of_tags();
    let mut nodes: Vec<_> = table.nodes.values().collect();
    nodes.sort_by_cached_key(|node| {
        breathe();
        canonical(&node.key)
    });
    for node in std::iter::once(&table.apex).chain(nodes) {
        breathe();
        if !out.node(node) {
            return Err(NoDump::TooLong { origin: origin.clone(), most });
        }
    }
    Ok(Dumped {
        zone: origin.to_string(),
        view: view.to_owned(),
        serial: table.serial,
        generation: snapshot.generation,
        unanswered: out.unanswered,
        text: out.text,
    })
}

/// The table of a zone, with the name of its view.
fn chosen<'s>(
    snapshot: &'s Snapshot,
    origin: &Key,
    wanted: Option<&str>,
) -> Result<(&'s str, &'s Arc<ZoneTable>), NoDump> {
    let views = || snapshot.views.iter();
    if let Some(wanted) = wanted
        && !views().any(|view| *view.name == *wanted)
    {
        let known = views().map(|view| view.name.to_string()).collect::<Vec<_>>().join(", ");
        return Err(NoDump::View { wanted: wanted.to_owned(), known });
    }
    let found: Vec<_> = views()
        .filter(|view| wanted.is_none_or(|wanted| *view.name == *wanted))
        .filter_map(|view| Some((&*view.name, view.zones.get(origin.octets())?)))
        .collect();
    let same = found.windows(2).all(|two| Arc::ptr_eq(two[0].1, two[1].1));
    match found.first() {
        None => Err(NoDump::Zone(origin.clone())),
        Some(first) if same => Ok(*first),
        Some(_) => {
            let views = found.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            Err(NoDump::Several { origin: origin.clone(), views })
        }
    }
}

struct ZoneText<'s> {
    snapshot: &'s Snapshot,
    table: &'s ZoneTable,
    text: String,
    unanswered: Vec<Unanswered>,
    most: usize,
}

impl ZoneText<'_> {
    /// What this is, and how the sources do that it rests on.
    fn head(&mut self, view: &str, word: Word) {
        let (zone, serial) = (&self.table.zone.origin, self.table.serial);
        self.comment(&match word {
            Word::Server => format!(
                "{zone} as view {view} is answered it: serial {serial}, generation {}",
                self.snapshot.generation
            ),
            Word::Offline => format!(
                "{zone} for view {view}, --offline: from the configuration and the sources as they \
                 are now. The running server was not asked; what it holds and its serial differ"
            ),
        });
        let used: HashSet<_> = self
            .nodes()
            .filter_map(|n| n.basis.as_ref())
            .chain(&self.table.denial)
            .flat_map(|b| b.sources.iter())
            .collect();
        let mut stale = Vec::new();
        for (id, source) in self.snapshot.sources.iter().enumerate() {
            if let Freshness::Stale(remark) = &source.freshness
                && used.contains(&id)
            {
                stale.push(format!("answered as last known: {}", remark.text));
            }
        }
        stale.iter().for_each(|line| self.comment(line));
    }

    /// Where names come from that tags give, and whether all of them, or all addresses, are
    /// known.
    fn tags(&mut self) {
        let (table, snapshot) = (self.table, self.snapshot);
        let Some(denial) = &table.denial else { return };
        let too_old =
            denial.sources.iter().find_map(|id| match &snapshot.sources.get(*id)?.freshness {
                Freshness::TooOld(remark) => Some(&remark.text),
                Freshness::Fresh | Freshness::Stale(_) => None,
            });
        let unknown = denial.remark.as_ref().filter(|_| denial.not_ready).map(|r| &r.text);
        if let Some(why) = too_old.or(unknown) {
            let what = match &table.zone.discover {
                Some(_) => "names that tags could give",
                None => "names of addresses that may be known later",
            };
            let why = format!("SERVFAIL for {what}: {why}");
            self.comment(&format!("other names of {}: {why}", table.zone.origin));
            let name = format!("other names of {}", table.zone.origin);
            self.unanswered.push(Unanswered { name, why });
        }
    }

    /// Where names come from that tags give, and sets that are held.
    fn names_of_tags(&mut self) {
        let (table, discovered) = (self.table, &self.snapshot.inventory.discovered);
        let known = |(name, _)| discovered.names.get_key_value(name);
        let mut names: Vec<_> = breathing(table.resolved.iter()).filter_map(known).collect();
        names.sort_by_cached_key(|(name, _)| canonical(name));
        for (name, named) in breathing(names) {
            let binding = names::binding(&table.zone, discovered, name);
            let Some(Target::Discovered { tag, .. }) = binding.map(|b| b.into_owned().target)
            else {
                continue;
            };
            let address = |member: &Member| {
                let Address { identity, .. } = &*member.entry.address;
                match (identity.edge_ip(), identity.allocation_id()) {
                    (None, None) => identity.allocation().to_string(),
                    (None, Some(id)) => format!("{} ({id})", identity.allocation()),
                    (Some(edge_ip), _) => {
                        format!("{} ({edge_ip}, no public one)", identity.allocation())
                    }
                }
            };
            let all: Vec<_> = named.members.iter().map(address).collect();
            let held = if named.gone.is_some() { ", held: no tag gives it any longer" } else { "" };
            self.comment(&format!("{name}: tag {tag} of {}{held}", all.join(", ")));
        }
    }

    fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        std::iter::once(&self.table.apex).chain(self.table.nodes.values())
    }

    /// Writes one name; false when the text is too long.
    fn node(&mut self, node: &Node) -> bool {
        let why = self.why_unanswered(node);
        if let Some(why) = &why {
            self.comment(&format!("{}: {why}", node.key));
        }
        let too_old = self.too_old(node).is_some();
        for set in &node.rrsets {
            if too_old && !self.is_beside(node, set) {
                continue;
            }
            for record in set.records(&node.key.to_name()) {
                // Writing to a string does not fail.
                let _ = writeln!(self.text, "{}", record_line(&record));
                if self.text.len() > self.most {
                    return false;
                }
            }
        }
        let name = || node.key.to_string();
        self.unanswered.extend(why.map(|why| Unanswered { name: name(), why }));
        self.text.len() <= self.most
    }

    /// Why the name is answered SERVFAIL, if it is.
    fn why_unanswered(&self, node: &Node) -> Option<String> {
        if let Some(why) = self.too_old(node) {
            return Some(format!("SERVFAIL, its address is not known any longer ({why})"));
        }
        let basis = node.basis.as_ref().filter(|basis| basis.not_ready)?;
        let why = basis.remark.as_ref().map_or("", |remark| &remark.text);
        let sources = self.silent();
        let between = if why.is_empty() || sources.is_empty() { "" } else { "; " };
        Some(format!("SERVFAIL, no address is known ({why}{between}{sources})"))
    }

    /// Why what the name rests on is too old, if it is.
    fn too_old(&self, node: &Node) -> Option<&str> {
        let sources = node.basis.iter().flat_map(|basis| basis.sources.iter());
        let mut all = sources.filter_map(|id| match &self.snapshot.sources.get(*id)?.freshness {
            Freshness::TooOld(remark) => Some(&*remark.text),
            Freshness::Fresh | Freshness::Stale(_) => None,
        });
        all.next()
    }

    /// Is it of the zone's own file, or the SOA, and rests on no source?
    fn is_beside(&self, node: &Node, set: &RrSet) -> bool {
        let beside = self.table.beside.get(node.key.octets());
        set.rtype == RecordType::SOA
            || beside.is_some_and(|sets| sets.iter().any(|one| one.rtype == set.rtype))
    }

    /// How the sources do that have not said anything.
    fn silent(&self) -> String {
        let sources = self.snapshot.inventory.sources.iter();
        let silent = sources.filter(|source| source.entries.is_none());
        let words: Vec<_> = silent
            .map(|source| format!("source {} {}", source.name, source.health.as_str()))
            .collect();
        words.join(", ")
    }

    fn comment(&mut self, text: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "; {}", one_line(text));
    }
}

/// Labels from the root down: what canonical order compares.
fn canonical(key: &Key) -> Vec<Vec<u8>> {
    let mut labels: Vec<_> = labels(key.octets()).map(<[u8]>::to_vec).collect();
    labels.reverse();
    labels
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};

    use super::*;
    use crate::answer::{Outcome, answer_in_view};
    use crate::config::Config;
    use crate::source::error::Class;
    use crate::source::inventory::{Health, Inventory};
    use crate::testing;

    const IP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    fn config(more: &str) -> Config {
        let server = format!("{}{more}", testing::SERVER);
        let zone = "records = \"zone\"\n[names]\ndb = { elastic_ip = \"198.51.100.1\", answer = \"private\" }\nfixed = { address = \"192.0.2.9\" }\n";
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("server.toml"), server).unwrap();
        std::fs::write(dir.path().join("example.com.toml"), zone).unwrap();
        let records = "db 60 IN MX 10 mail.example.net.\n";
        std::fs::write(dir.path().join("zone"), records).unwrap();
        crate::config::load(dir.path(), &Default::default()).unwrap().config
    }

    /// The dump, which names those without an answer that clients get none for.
    fn dumped(config: &Config, inventory: &Inventory) -> Dumped {
        let origin = Key::parse("example.com", None).unwrap();
        let snapshot = testing::snapshot(config, inventory);
        let all = dump(&snapshot, &origin, Some("vpc"), Word::Server, MAX_OCTETS).unwrap();
        for name in ["db.example.com.", "fixed.example.com.", "ns1.example.com.", "example.com."] {
            let mut message = Message::new(0, MessageType::Query, OpCode::Query);
            message.queries.push(Query::query(name.parse().unwrap(), RecordType::A));
            let request = message.to_vec().unwrap();
            let outcome = answer_in_view(&snapshot, 0, &request, &mut (), &mut Vec::new());
            let Outcome::Reply { rcode, .. } = outcome else { panic!("{name}") };
            let told = all.unanswered.iter().any(|one| one.name == name);
            assert_eq!(rcode == ResponseCode::ServFail, told, "{name}: {all:?}");
        }
        all
    }

    #[test]
    fn what_is_answered_is_there() {
        let private = Some(Ipv4Addr::new(10, 0, 0, 1));
        let all = dumped(&config(""), &testing::inventory(&[(IP, private)]));
        assert!(all.unanswered.is_empty(), "{all:?}");
        assert!(all.text.contains("db.example.com. 5 IN A 10.0.0.1\n"), "{}", all.text);
        let lines: Vec<_> = all.text.lines().collect();
        assert!(lines[0].starts_with("; example.com. as view vpc is answered it"), "{lines:?}");
        assert!(lines[1].contains(" IN SOA "), "{lines:?}");
    }

    #[test]
    fn a_name_that_is_servfail_is_a_comment_and_is_told() {
        let mut silent = testing::inventory(&[]);
        silent.sources[0].entries = None;
        silent.sources[0].health = Health::Stalled {
            since: testing::noon(),
            class: Class::Other,
            why: "timeout\n10.0.0.66".into(),
        };
        let all = dumped(&config(""), &silent);
        let [one] = &all.unanswered[..] else { panic!("{all:?}") };
        assert_eq!(one.name, "db.example.com.");
        assert!(one.why.contains("sample stalled"), "{one:?}");
        assert!(all.text.contains("\n; db.example.com.: SERVFAIL, no address"), "{}", all.text);
        assert!(!all.text.contains(" A 10."), "{}", all.text);
        // What does not rest on the source is answered.
        assert!(all.text.contains("db.example.com. 60 IN MX 10 mail"), "{}", all.text);
        assert!(all.text.contains("fixed.example.com. 5 IN A 192.0.2.9"), "{}", all.text);
    }

    #[test]
    fn what_is_beyond_max_stale_is_no_answer_either() {
        let private = Some(Ipv4Addr::new(10, 0, 0, 1));
        let mut old = testing::inventory(&[(IP, private)]);
        let since = testing::noon() - Duration::from_secs(3600);
        old.sources[0].health =
            Health::Stalled { since, class: Class::Other, why: "timeout".into() };
        old.sources[0].delivered_at = Some(since);
        let all = dumped(&config("[serve]\nmax_stale = \"1m\"\n"), &old);
        assert_eq!(all.unanswered.len(), 1, "{all:?}");
        assert!(!all.text.contains("10.0.0.1"), "{}", all.text);
        assert!(all.text.contains("db.example.com. 60 IN MX 10 mail"), "{}", all.text);
        // Without it the last good answer stands, and the head says so.
        let all = dumped(&config(""), &old);
        assert!(all.unanswered.is_empty(), "{all:?}");
        assert!(all.text.contains("\n; answered as last known: "), "{}", all.text);
        assert!(all.text.contains("db.example.com. 5 IN A 10.0.0.1\n"), "{}", all.text);
    }

    #[test]
    fn a_text_has_a_limit() {
        let snapshot = testing::snapshot(&config(""), &testing::inventory(&[]));
        let origin = Key::parse("example.com", None).unwrap();
        let error = dump(&snapshot, &origin, Some("vpc"), Word::Server, 200).unwrap_err();
        assert!(matches!(error, NoDump::TooLong { .. }), "{error}");
    }
}
