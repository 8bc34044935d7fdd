//! The key `records`: master files beside the names, and the rules between
//! the two. Every rule names both places.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{RData, RecordType};

use super::files::Files;
use super::readers;
use super::scope::Scope;
use super::value::{At, Value};
use super::words::{one_of, quote};
use super::{Binding, Server, View, ViewId, Zone, pointers, server};
use crate::diag::{Place, Problems};
use crate::dns::name::Key;
use crate::records::{self, MasterFile, StaticRecord};

/// Where the records of each view are: for a file for all views, the same.
pub(super) type Masters = Vec<Option<At<PathBuf>>>;

/// One path for all views of the zone, or one per view.
pub(super) fn files(
    v: &Value<'_>,
    dir: &Path,
    server: &server::Read,
    views: &[ViewId],
) -> Option<Masters> {
    const EXAMPLE: &str = "example.com.zone";
    let mut files: Masters = vec![None; server.server.views.len()];
    let path = readers::at(readers::path(dir, EXAMPLE));
    if !v.is_table() {
        let one = path(v)?;
        for view in views {
            if let Some(file) = files.get_mut(*view) {
                *file = Some(one.clone());
            }
        }
        return Some(files);
    }
    let table = v.table(Scope::Free, &v.written(&quote(EXAMPLE)))?;
    for (name, value) in table.entries() {
        let id = server.view(name.value).filter(|id| views.contains(id));
        match id {
            Some(id) => files[id] = path(&value),
            None if server.complete => {
                let known = views.iter().filter_map(|id| server.server.views.get(*id));
                value.at_key().error(
                    format!(
                        "`records` names the view {}, in which the zone is not",
                        quote(name.value)
                    ),
                    one_of(name.value, known.map(|view| view.name.as_str())),
                );
            }
            None => {}
        }
    }
    Some(files)
}

/// Reads each file once.
pub(super) fn load(
    masters: &Masters,
    origin: &Key,
    ttl: u32,
    files: &mut Files,
    problems: &mut Problems,
) -> Vec<Option<Arc<MasterFile>>> {
    let mut read: BTreeMap<&Path, Arc<MasterFile>> = BTreeMap::new();
    masters
        .iter()
        .map(|file| {
            let At { value: path, place } = file.as_ref()?;
            let one = || Arc::new(read_one(path, place, origin, ttl, files, problems));
            Some(Arc::clone(read.entry(path).or_insert_with(one)))
        })
        .collect()
}

/// A file that is not there is the key's fault, all else the file's.
fn read_one(
    path: &Path,
    place: &Place,
    origin: &Key,
    ttl: u32,
    files: &mut Files,
    problems: &mut Problems,
) -> MasterFile {
    let mut first = Some(files.master(path));
    if let Some(Err(_)) = &first
        && let Err(error) = fs::metadata(path)
    {
        problems.error(
            place.clone(),
            format!("cannot read the master file `{}`: {error}", path.display()),
            "correct the path or the permissions",
        );
        return MasterFile::default();
    }
    let mut open = |path: &Path| first.take().unwrap_or_else(|| files.master(path));
    records::read(path, origin, ttl, &mut open, problems)
}

/// What each rule over a zone's records and names needs.
pub(super) struct Look<'z> {
    pub zone: &'z Zone,
    pub file: &'z MasterFile,
    /// The views that see this file.
    pub views: Vec<ViewId>,
    pub server: &'z Server,
    pub by_owner: HashMap<&'z Key, Vec<&'z StaticRecord>>,
}

/// The rules between a zone's records and its names. `answers_elsewhere` says
/// whether another of our zones answers for a name of this one.
pub(super) fn check(
    zone: &Zone,
    server: &Server,
    keys: &ZoneKeys,
    answers_elsewhere: &dyn Fn(&Key) -> bool,
    problems: &mut Problems,
) {
    let mut seen: Vec<*const MasterFile> = Vec::new();
    for file in zone.records.iter().flatten() {
        if seen.contains(&Arc::as_ptr(file)) {
            continue;
        }
        seen.push(Arc::as_ptr(file));
        let has =
            |other: &Option<Arc<MasterFile>>| other.as_ref().is_some_and(|o| Arc::ptr_eq(o, file));
        let views = zone.records.iter().enumerate().filter(|(_, o)| has(o)).map(|(id, _)| id);
        let mut by_owner: HashMap<&Key, Vec<&StaticRecord>> = HashMap::new();
        for record in &file.records {
            by_owner.entry(&record.owner).or_default().push(record);
        }
        let look = Look { zone, file, views: views.collect(), server, by_owner };
        look.apex(keys, problems);
        look.own_nameserver(problems);
        look.dnames(problems);
        look.names(problems);
        look.glue(problems);
        pointers::check(&look, answers_elsewhere, problems);
    }
}

/// Keys of the zone file that a master file may make contradictory.
pub(super) struct ZoneKeys {
    pub nameservers: Option<Place>,
    pub contact: Option<Place>,
    pub negative_ttl: Option<Place>,
    pub ttl: Option<Place>,
}

impl Look<'_> {
    pub(super) fn of(&self, owner: &Key, rtype: RecordType) -> Option<&StaticRecord> {
        self.by_owner.get(owner)?.iter().find(|r| r.rtype == rtype).copied()
    }

    pub(super) fn place(&self, record: &StaticRecord) -> Place {
        self.file.place(record)
    }

    /// `nameservers` and `contact` against SOA and NS of the file.
    fn apex(&self, keys: &ZoneKeys, problems: &mut Problems) {
        let origin = &self.zone.origin;
        let at_apex = self.by_owner.get(origin).map_or(&[][..], Vec::as_slice);
        // Beside other records of the file it has been reported already.
        if let Some(cname) = self.of(origin, RecordType::CNAME)
            && at_apex.iter().all(|r| r.rtype == RecordType::CNAME)
        {
            problems.error(
                self.place(cname),
                format!("the apex {origin} is a CNAME, which cannot stand beside its SOA and NS"),
                "give it addresses here or below [names] (RFC 1034 section 3.6.2)",
            );
        }
        let pairs = [
            (&keys.nameservers, "nameservers", RecordType::NS),
            (&keys.nameservers, "nameservers", RecordType::SOA),
            (&keys.contact, "contact", RecordType::SOA),
        ];
        let mut told = BTreeSet::new();
        for (place, key, rtype) in pairs {
            if let (Some(place), Some(record)) = (place, self.of(origin, rtype))
                && told.insert(key)
            {
                problems.error(
                    place.clone(),
                    format!(
                        "`{key}` contradicts the {rtype} of {origin} at {}",
                        self.place(record)
                    ),
                    format!("remove `{key}`, or the record"),
                );
            }
        }
    }

    /// `ns1.<origin>` gets our addresses when nothing names the nameservers: it
    /// must be able to have them.
    fn own_nameserver(&self, problems: &mut Problems) {
        let origin = &self.zone.origin;
        if self.zone.nameservers.is_some() || self.of(origin, RecordType::NS).is_some() {
            return;
        }
        let Some(ns1) = origin.child(b"ns1") else { return };
        let beside = self.of(&ns1, RecordType::CNAME);
        let cut = self.of(&ns1, RecordType::NS);
        let Some(record) = beside.or(cut).or_else(|| self.of(origin, RecordType::DNAME)) else {
            return;
        };
        problems.error(
            self.place(record),
            format!(
                "this {} leaves no place for the address of {ns1}, the nameserver of a zone that names none",
                record.rtype
            ),
            format!("name the nameservers: NS records of {origin}, or `nameservers`"),
        );
    }

    /// Nothing stands below a DNAME, no delegation beside it (RFC 6672
    /// section 2.4).
    fn dnames(&self, problems: &mut Problems) {
        let is_dname = |r: &&StaticRecord| r.rtype == RecordType::DNAME;
        let dnames: HashMap<&Key, &StaticRecord> =
            self.file.records.iter().filter(is_dname).map(|r| (&r.owner, r)).collect();
        if dnames.is_empty() {
            return;
        }
        for dname in dnames.values() {
            if dname.owner != self.zone.origin
                && let Some(ns) = self.of(&dname.owner, RecordType::NS)
            {
                problems.error(
                    self.place(dname),
                    format!("{} is a DNAME and delegated at {}", dname.owner, self.place(ns)),
                    "remove one of the two (RFC 6672 section 2.4)",
                );
            }
        }
        for record in &self.file.records {
            let above = std::iter::successors(record.owner.parent(), Key::parent)
                .take_while(|above| above.is_under(&self.zone.origin))
                .find_map(|above| dnames.get(&above));
            if let Some(dname) = above {
                problems.error(
                    self.place(record),
                    format!(
                        "{} lies below the DNAME of {} at {}, so it would never be answered",
                        record.owner,
                        dname.owner,
                        self.place(dname)
                    ),
                    "move the record to the DNAME's target, or remove one of the two",
                );
            }
        }
    }

    /// Bindings against records of the same name, delegations and DNAMEs.
    fn names(&self, problems: &mut Problems) {
        for binding in &self.zone.names {
            if !self.views.iter().any(|view| binding.is_in(*view)) {
                continue;
            }
            let name = &binding.name;
            for rtype in [RecordType::A, RecordType::AAAA, RecordType::CNAME] {
                if let Some(record) = self.of(name, rtype) {
                    problems.error(
                        binding.place.clone(),
                        format!(
                            "{name} is bound here and has other data: {rtype} at {}",
                            self.place(record)
                        ),
                        "keep one of the two: an address comes from the binding or from the file",
                    );
                }
            }
            let cname = self.view_with_cname(binding);
            let others = self.by_owner.get(name).and_then(|all| {
                all.iter().find(|r| {
                    !matches!(r.rtype, RecordType::A | RecordType::AAAA | RecordType::CNAME)
                })
            });
            if let (Some(view), Some(record)) = (cname, others) {
                problems.error(
                    binding.place.clone(),
                    format!(
                        "{name} is a CNAME in view \"{}\"{} and has other data: {} at {}",
                        view.name,
                        if binding.pin.is_some() { ", which does not reach its pin," } else { "" },
                        record.rtype,
                        self.place(record)
                    ),
                    "answer it as \"private\" or \"public\" in that view, or remove the record: a CNAME stands alone (RFC 2181 section 10.1)",
                );
            }
            self.cuts_above(binding, problems);
        }
    }

    /// The delegations and DNAMEs at and above a binding's name that keep questions
    /// from it.
    fn cuts_above(&self, binding: &Binding, problems: &mut Problems) {
        let name = &binding.name;
        for above in std::iter::successors(Some(name.clone()), Key::parent) {
            let is_apex = above == self.zone.origin;
            if let Some(record) = self.of(&above, RecordType::NS).filter(|_| !is_apex) {
                self.below(binding, record, "delegation", problems);
            }
            if let Some(record) = self.of(&above, RecordType::DNAME).filter(|_| above != *name) {
                self.below(binding, record, "DNAME", problems);
            }
            if is_apex {
                break;
            }
        }
    }

    /// The first of the views in which `binding` is a CNAME.
    pub(super) fn view_with_cname(&self, binding: &Binding) -> Option<&View> {
        let views = self.views.iter().filter_map(|id| Some((*id, self.server.views.get(*id)?)));
        views.into_iter().find(|(id, view)| binding.is_cname_in(*id, view)).map(|(_, view)| view)
    }

    /// The first of the views in which `binding` is absent.
    pub(super) fn view_without(&self, binding: &Binding) -> Option<&View> {
        let absent = self.views.iter().find(|view| !binding.is_in(**view))?;
        self.server.views.get(*absent)
    }

    fn below(&self, binding: &Binding, record: &StaticRecord, what: &str, problems: &mut Problems) {
        let at = if binding.name == record.owner { "at" } else { "below" };
        problems.error(
            binding.place.clone(),
            format!(
                "{} is {at} the {what} of {} at {}, so it would never be answered",
                binding.name,
                record.owner,
                self.place(record)
            ),
            "move the name, or remove the record",
        );
    }

    /// A nameserver at or below its own cut cannot be found without glue.
    fn glue(&self, problems: &mut Problems) {
        for record in &self.file.records {
            let RData::NS(target) = &record.data else { continue };
            if record.owner == self.zone.origin {
                continue;
            }
            let target = Key::from_name(&target.0);
            if target.is_under(&record.owner) && !self.has_address(&target) {
                problems.error(
                    self.place(record),
                    format!(
                        "the nameserver {target} of {} lies below its own delegation and has no address here, so nobody could reach it",
                        record.owner
                    ),
                    format!("add an A or AAAA record for {target}"),
                );
            }
        }
    }

    /// Has the file an address at `owner`?
    pub(super) fn has_address(&self, owner: &Key) -> bool {
        [RecordType::A, RecordType::AAAA].iter().any(|rtype| self.of(owner, *rtype).is_some())
    }
}

/// The SOA that a file has.
pub(super) fn soa(file: &MasterFile) -> Option<(&StaticRecord, &SOA)> {
    file.records.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some((record, soa)),
        _ => None,
    })
}

/// Does some master file of the zone give `name` an address?
pub(super) fn have_address(zone: &Zone, name: &Key) -> bool {
    zone.records.iter().flatten().flat_map(|file| &file.records).any(|record| {
        record.owner == *name && matches!(record.rtype, RecordType::A | RecordType::AAAA)
    })
}
