//! What only shows when all records of a master file are seen.

use std::collections::{HashMap, HashSet};

use hickory_proto::rr::RecordType;

use super::fault::Fault;
use super::read::Report;
use super::write::type_name;
use super::{MasterFile, Spot, StaticRecord, data, layout};
use crate::dns::name::{Key, MAX_NAME};
use crate::dns::opt::OPT_LEN;
use crate::dns::wire::{HEADER, TYPE_AND_CLASS};

/// Drops what is there twice, gives each RRset one TTL and reports what a
/// zone cannot hold.
pub(super) fn check(file: &mut MasterFile, apex: &Key, report: &mut Report<'_>) {
    let mut changes = Changes::default();
    let mut records: Vec<&StaticRecord> = file.records.iter().collect();
    // Stable: within an RRset the order of the file remains.
    records.sort_by_key(|r| (&r.owner, u16::from(r.rtype)));
    for node in records.chunk_by(|a, b| a.owner == b.owner) {
        for rrset in node.chunk_by(|a, b| a.rtype == b.rtype) {
            changes.rrset(rrset, file, report);
            soa_at_apex(rrset, file, apex, report);
        }
        cname_alone(node, file, report);
    }
    let Changes { dropped, ttls } = changes;
    if !dropped.is_empty() || !ttls.is_empty() {
        file.records.retain_mut(|record| {
            record.ttl = *ttls.get(&record.spot).unwrap_or(&record.ttl);
            !dropped.contains(&record.spot)
        });
    }
}

/// The longest message, in octets (RFC 1035 section 4.2.2).
const MAX_MESSAGE: usize = 65_535;
/// Octets of a record before its data, its owner being a pointer (RFC 1035
/// sections 3.2.1 and 4.1.4).
pub(crate) const OVERHEAD: usize = 12;

/// So many octets are left for the records of one RRset in the answer to a
/// question for it: less header, question and OPT (RFC 6891 section 6.1.2).
pub(crate) fn room_for_records(owner: &Key) -> usize {
    // Any name may be asked for by way of a wildcard.
    let name = if owner.is_wildcard() { MAX_NAME } else { owner.octets().len() };
    MAX_MESSAGE - HEADER - name - TYPE_AND_CLASS - OPT_LEN
}

/// What is to be done to records once all are seen; a spot is one record.
#[derive(Default)]
struct Changes {
    dropped: HashSet<Spot>,
    ttls: HashMap<Spot, u32>,
}

impl Changes {
    /// `rrset` are records of one owner and type, not empty.
    fn rrset(&mut self, rrset: &[&StaticRecord], file: &MasterFile, report: &mut Report<'_>) {
        let [first, others @ ..] = rrset else { return };
        if others.is_empty() {
            return;
        }
        let code = u16::from(first.rtype);
        let mut seen: HashMap<Vec<u8>, &StaticRecord> = HashMap::with_capacity(rrset.len());
        let mut size = 0;
        for record in rrset {
            let octets = data::wire(&record.data).unwrap_or_default();
            let length = octets.len();
            let octets = match layout::of(code) {
                Some(layout) => layout.folded(octets),
                None => octets,
            };
            let earlier = *seen.entry(octets).or_insert(record);
            if earlier.spot != record.spot {
                self.dropped.insert(record.spot);
                let fault = Fault::Duplicate { first: file.place(earlier).to_string() };
                report.warn(|| file.place(record), &fault);
                continue;
            }
            size += OVERHEAD + length;
            if record.spot != first.spot && is_singleton(first.rtype) {
                let fault = Fault::Several {
                    owner: first.owner.to_string(),
                    rtype: type_name(code),
                    first: file.place(first).to_string(),
                };
                report.error(|| file.place(record), &fault);
            }
        }
        if size > room_for_records(&first.owner) {
            let (owner, rtype) = (first.owner.to_string(), type_name(code));
            report.error(|| file.place(first), &Fault::TooLarge { owner, rtype });
        }
        let Some(odd) = others.iter().find(|r| r.ttl != first.ttl) else { return };
        let lowest = rrset.iter().map(|r| r.ttl).min().unwrap_or(first.ttl);
        let fault = Fault::TtlDiffers {
            owner: first.owner.to_string(),
            rtype: type_name(code),
            ttl: odd.ttl,
            other: first.ttl,
            first: file.place(first).to_string(),
            lowest,
        };
        report.warn(|| file.place(odd), &fault);
        self.ttls.extend(rrset.iter().map(|r| (r.spot, lowest)));
    }
}

/// RFC 1034 section 3.6.2, RFC 6672 section 2.4, RFC 1035 section 5.2.
fn is_singleton(rtype: RecordType) -> bool {
    matches!(rtype, RecordType::CNAME | RecordType::DNAME | RecordType::SOA)
}

fn soa_at_apex(rrset: &[&StaticRecord], file: &MasterFile, apex: &Key, report: &mut Report<'_>) {
    if let [soa, ..] = rrset
        && soa.rtype == RecordType::SOA
        && soa.owner != *apex
    {
        report.error(|| file.place(soa), &Fault::SoaBelowApex(soa.owner.to_string()));
    }
}

/// `node` are the records of one owner.
fn cname_alone(node: &[&StaticRecord], file: &MasterFile, report: &mut Report<'_>) {
    let is_cname = |r: &&&StaticRecord| r.rtype == RecordType::CNAME;
    let cname = node.iter().find(is_cname);
    let other = node.iter().find(|r| !is_cname(r));
    if let (Some(cname), Some(other)) = (cname, other) {
        let fault = Fault::CnameAndOther {
            owner: cname.owner.to_string(),
            rtype: type_name(other.rtype.into()),
            other: file.place(other).to_string(),
        };
        report.error(|| file.place(cname), &fault);
    }
}
