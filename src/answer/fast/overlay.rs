//! Answers from overlay zones: all are short and alike, so they are put together here
//! from what the zone says, rather than kept. What an NS answer is made of, the ordinary
//! path knows.

use hickory_proto::op::ResponseCode;

use super::{Path, Plain};
use crate::answer::Outcome;
use crate::dns::wire::{HEADER, IN};
use crate::snapshot::overlay::{LOCALHOST, NOBODY, Overlay, Said, TIMES};
use crate::snapshot::ready::Stale;
use crate::snapshot::tail::{COUNTS, Tail};

/// Types (RFC 1035 section 3.2.2).
const A: u16 = 1;
const NS: u16 = 2;
const SOA: u16 = 6;

/// Octets of the owner, a pointer, and of TYPE, CLASS, TTL and RDLENGTH.
const BEFORE_RDATA: usize = 2 + 10;
/// RDLENGTH of a SOA: two names and five numbers.
const SOA_RDLENGTH: usize = LOCALHOST.len() + NOBODY.len() + 5 * 4;

/// What the SOA's names end in: in a question it would be pointed to.
const POINTED_TO: [&[u8]; 2] = [LOCALHOST, b"\x07invalid\0"];

/// What stands behind the question: ANCOUNT, NSCOUNT, ARCOUNT and one record.
type Address = [u8; COUNTS + BEFORE_RDATA + 4];
type Authority = [u8; COUNTS + BEFORE_RDATA + SOA_RDLENGTH];

/// Counts of an answer, and of a denial.
const ANSWER: [u8; COUNTS] = [0, 1, 0, 0, 0, 0];
const DENIAL: [u8; COUNTS] = [0, 0, 0, 1, 0, 0];

impl Plain<'_, '_> {
    /// Answers from an overlay zone that the name lies in.
    pub(super) fn in_overlay(
        &self,
        Overlay { name, said }: Overlay<'_>,
        reply: &mut Vec<u8>,
    ) -> Option<Outcome> {
        let (query, asked) = (self.query, self.query.name());
        let tail = |octets| Tail::of(octets, asked.len());
        let below = asked.len() - name.octets().len();
        if below > 0 {
            let denial = soa(said, DENIAL, asked, below)?;
            let denied = (tail(&denial), ResponseCode::NXDomain, Stale(false));
            return self.write(denied, Path::Zone, reply);
        }
        let silent = query.opt.is_none();
        if said.remark.is_some() && !silent {
            return None;
        }
        let sources = 1u32.checked_shl(said.source as u32)?;
        let stale = Stale::resting_on(sources, self.snapshot, silent)?;
        let answer = |octets| (tail(octets), ResponseCode::NoError, stale);
        match query.rtype {
            A => self.write(answer(&address(said)), Path::Ec2, reply),
            NS => None,
            SOA => self.write(answer(&soa(said, ANSWER, asked, 0)?), Path::Ec2, reply),
            _ => self.write(answer(&soa(said, DENIAL, asked, 0)?), Path::Ec2, reply),
        }
    }
}

/// The address record of the name asked for.
fn address(Said { address, ttl, .. }: &Said) -> Address {
    let before = before_rdata(0, A, *ttl, address.octets().len());
    joined([&ANSWER[..], &before, &address.octets()])
}

/// The SOA of a zone whose name is so many octets `below` the beginning of the one asked
/// for; none where that has a label for the SOA's names to point to.
fn soa(said: &Said, counts: [u8; COUNTS], asked: &[u8], below: usize) -> Option<Authority> {
    if POINTED_TO.iter().any(|suffix| asked.ends_with(suffix)) {
        return None;
    }
    let [refresh, retry, expire] = TIMES.map(i32::to_be_bytes);
    let (serial, minimum) = (said.serial.to_be_bytes(), said.ttl.to_be_bytes());
    let before = before_rdata(below, SOA, said.ttl, SOA_RDLENGTH);
    let data = [LOCALHOST, NOBODY, &serial, &refresh, &retry, &expire, &minimum];
    Some(joined([&counts[..], &before].into_iter().chain(data)))
}

/// What a record has before its data; its owner is so many octets `below` the beginning
/// of the name asked for (RFC 1035 section 4.1.4).
fn before_rdata(below: usize, rtype: u16, ttl: u32, length: usize) -> [u8; BEFORE_RDATA] {
    let [p0, p1] = (0xc000 | (HEADER + below) as u16).to_be_bytes();
    let ([t0, t1], [c0, c1]) = (rtype.to_be_bytes(), IN.to_be_bytes());
    let ([s0, s1, s2, s3], [l0, l1]) = (ttl.to_be_bytes(), (length as u16).to_be_bytes());
    [p0, p1, t0, t1, c0, c1, s0, s1, s2, s3, l0, l1]
}

/// Pieces of so many octets in all, one after the other.
fn joined<'p, const N: usize>(pieces: impl IntoIterator<Item = &'p [u8]>) -> [u8; N] {
    let mut octets = [0; N];
    let mut rest = &mut octets[..];
    for piece in pieces {
        let Some((place, behind)) = rest.split_at_mut_checked(piece.len()) else { break };
        place.copy_from_slice(piece);
        rest = behind;
    }
    octets
}
