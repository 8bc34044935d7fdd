//! An upstream's reply, taken apart once so that serving it is copying it.
//!
//! What is between us and the upstream only ends here: its OPT with all
//! options (cookies, keepalive, padding, ECS), TSIG and SIG(0). Of the OPT only
//! Extended DNS Errors go on (RFC 8914 section 3). Everything else stays as it
//! came, octet for octet: TTLs are noted by their offsets.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use hickory_proto::op::ResponseCode;

use super::chain::in_order;
use super::question::{Question, asks_for};
use super::svcb::{ADDRESS, addresses_at};
use super::wire::{CNAME, Encoder, Malformed, Record, SIG, SOA, Section, TSIG, Walk, WireName};
use crate::dns::ede::{self, Remark};
use crate::dns::opt::{self, OPT, Options};
use crate::dns::wire::{HEADER, TYPE_AND_CLASS, overlay, u16_at, u32_at};

/// No answer is kept for longer, whatever its TTL says (RFC 8767 section 4
/// advises days at most).
pub(crate) const MAX_TTL: u32 = 86_400;
/// No negative answer is kept for longer (RFC 2308 section 5: "one to three
/// hours have been found to work well").
pub(crate) const MAX_NEGATIVE_TTL: u32 = 3 * 3_600;
/// So many Extended DNS Errors of an upstream are passed on.
const MAX_REMARKS: usize = 4;

/// A reply without what was meant for us alone: a header with nothing but
/// RCODE and counts, the question in lower case, the records.
#[derive(Debug, PartialEq)]
pub struct Message {
    pub(crate) octets: Box<[u8]>,
    /// Where the question ends.
    pub(crate) question_end: u16,
    /// Where the additional section begins.
    pub(crate) additional_at: u16,
    /// Where TTLs stand.
    pub(crate) ttls: Box<[u16]>,
    /// Where IPv4 addresses of class IN stand: of A records, and hints of SVCB
    /// and HTTPS records.
    addresses: Box<[u16]>,
    /// Where the targets of CNAME records in the answer section stand.
    aliases: Box<[u16]>,
    /// AD: the upstream has validated it (RFC 4035 section 3.2.3).
    pub(crate) authenticated: bool,
    /// For how many seconds it is good; 0 means that it must not be kept.
    pub(crate) life: u32,
    remarks: Box<[Remark]>,
}

impl Message {
    /// A message without records: our own word when there is no other.
    pub(crate) fn bare(question: &Question<'_>, rcode: ResponseCode, remarks: Vec<Remark>) -> Self {
        let mut octets = vec![0, 0, 0, rcode.low(), 0, 1, 0, 0, 0, 0, 0, 0];
        octets.extend_from_slice(&question.wire());
        let end = octets.len() as u16;
        Self {
            octets: octets.into(),
            question_end: end,
            additional_at: end,
            ttls: Box::default(),
            addresses: Box::default(),
            aliases: Box::default(),
            authenticated: false,
            life: 0,
            remarks: remarks.into(),
        }
    }

    /// Takes a message in: notes where TTLs and addresses stand, brings TTLs
    /// within bounds and finds out how long it is good for. The question must
    /// be `question` already, and OPT gone.
    pub(super) fn take(
        mut octets: Vec<u8>,
        question: &Question<'_>,
        authenticated: bool,
        remarks: Vec<Remark>,
    ) -> Result<Self, Malformed> {
        let question_end = HEADER + question.name.len() + TYPE_AND_CLASS;
        let (mut ttls, mut addresses, mut fixes) = (Vec::new(), Vec::new(), Vec::new());
        let mut aliases = Vec::new();
        let (mut answered, mut lowest, mut denial) = (false, None::<u32>, None);
        let mut additional_at = octets.len();
        for record in Walk::new(&octets, question_end)? {
            let record = record?;
            let ttl = sane(record.ttl);
            match record.section {
                Section::Answer => {
                    answered |= asks_for(question, record.rtype);
                    if record.rtype == CNAME {
                        aliases.push(record.place.start as u16);
                    }
                }
                Section::Authority if record.rtype == SOA => denial = Some(negative_ttl(&record)),
                Section::Authority => {}
                Section::Additional => additional_at = additional_at.min(record.start),
            }
            let hints = addresses_at(&record).step_by(ADDRESS);
            addresses.extend(hints.map(|at| (record.place.start + at) as u16));
            ttls.push(record.ttl_at as u16);
            fixes.push((record.ttl_at, ttl));
            lowest = Some(lowest.map_or(ttl, |other| other.min(ttl)));
        }
        let rcode = ResponseCode::from(0, octets.get(3).copied().unwrap_or_default());
        let life = match denial.filter(|_| may_deny(rcode)) {
            _ if answered && rcode == ResponseCode::NoError => lowest,
            Some(denial) => {
                fixes.push(denial);
                lowest.map(|lowest| lowest.min(denial.1))
            }
            None => None,
        };
        for (at, ttl) in fixes {
            overlay(&mut octets, at, &ttl.to_be_bytes());
        }
        Ok(Self {
            octets: octets.into(),
            question_end: question_end as u16,
            additional_at: additional_at as u16,
            ttls: ttls.into(),
            addresses: addresses.into(),
            aliases: aliases.into(),
            authenticated,
            life: life.unwrap_or(0),
            remarks: remarks.into(),
        })
    }

    /// RCODE.
    pub fn rcode(&self) -> ResponseCode {
        ResponseCode::from(0, self.octets.get(3).copied().unwrap_or_default())
    }

    /// Extended DNS Errors of the upstream, or our own.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// All records, in order. TTLs are those it came with: see
    /// [`Hit::ttl`](super::Hit::ttl).
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        // Every record was read once when the message came in.
        Walk::new(&self.octets, self.question_end.into())
            .into_iter()
            .flatten()
            .map_while(Result::ok)
    }

    /// The addresses of all A records and in hints of SVCB and HTTPS records,
    /// without taking records apart.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.addresses.iter().filter_map(|at| u32_at(&self.octets, (*at).into())).map(Into::into)
    }

    /// Where the aliases of the answer section lead, in lower case.
    pub fn aliases(&self) -> impl Iterator<Item = WireName> {
        let target = |at: &u16| Some(WireName::read(&self.octets, (*at).into())?.0.folded());
        self.aliases.iter().filter_map(target)
    }

    /// The same question with records chosen and changed by `edit`, which
    /// returns the TTL and, where it is to change, the RDATA to write; none
    /// leaves the record out. Not authenticated any more, and not to be kept.
    pub(crate) fn edited(
        &self,
        mut edit: impl FnMut(&Record<'_>) -> Option<(u32, Option<Vec<u8>>)>,
    ) -> Result<Self, Malformed> {
        let mut encoder = Encoder::new(&self.start()?);
        for record in self.records() {
            if let Some((ttl, rdata)) = edit(&record) {
                encoder.push(&record, ttl, rdata.as_deref());
            }
        }
        let question_end = usize::from(self.question_end);
        let name = self.octets.get(HEADER..question_end - 4).unwrap_or_default();
        let number = |at| u16_at(&self.octets, at).unwrap_or_default();
        let question = Question {
            name,
            rtype: number(question_end - 4),
            class: number(question_end - 2),
            dnssec_ok: false,
            checking_disabled: false,
        };
        let edited = Self::take(encoder.finish()?, &question, false, self.remarks.to_vec())?;
        Ok(Self { life: 0, ..edited })
    }

    /// Header and question, no records counted.
    fn start(&self) -> Result<Vec<u8>, Malformed> {
        start(&self.octets, self.question_end.into())
    }

    /// Octets it holds on to.
    pub(crate) fn weight(&self) -> usize {
        let remarks: usize = self.remarks.iter().map(|r| size_of::<Remark>() + r.text.len()).sum();
        self.octets.len()
            + (self.ttls.len() + self.addresses.len() + self.aliases.len()) * 2
            + remarks
    }
}

/// Header and question of a message, no records counted.
pub(super) fn start(octets: &[u8], question_end: usize) -> Result<Vec<u8>, Malformed> {
    let mut start = octets.get(..question_end).ok_or(Malformed::Question)?.to_vec();
    overlay(&mut start, 6, &[0; 6]);
    Ok(start)
}

/// A TTL with the top bit set counts as 0 (RFC 2181 section 8).
fn sane(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl.min(MAX_TTL) }
}

/// Where the TTL of an SOA stands, and how long the denial beside it may be kept:
/// without an SOA it must not be (RFC 2308 section 5).
fn negative_ttl(soa: &Record<'_>) -> (usize, u32) {
    (soa.ttl_at, sane(soa.ttl).min(minimum(soa)).min(MAX_NEGATIVE_TTL))
}

fn may_deny(rcode: ResponseCode) -> bool {
    matches!(rcode, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// The last number of an SOA: the longest a denial may be kept (RFC 2308
/// section 4).
fn minimum(soa: &Record<'_>) -> u32 {
    let data = soa.rdata();
    data.len().checked_sub(4).and_then(|at| u32_at(data, at)).map_or(0, sane)
}

/// What an upstream said.
#[derive(Debug)]
pub(crate) enum UpstreamReply {
    /// TC: the rest is to be had over TCP.
    Truncated,
    /// It failed, or refused, or did not understand.
    Error {
        /// RCODE, with the upper bits of OPT.
        rcode: ResponseCode,
        /// It sent an OPT, so it knows EDNS.
        edns: bool,
        /// Why, in its own words.
        remarks: Vec<Remark>,
    },
    /// A referral: it does not look further for us.
    Referral,
    /// An answer, positive or negative.
    Answer(Message),
}

impl UpstreamReply {
    /// Takes a reply apart that was matched to `question` before.
    pub(crate) fn read(octets: &[u8], question: &Question<'_>) -> Result<Self, Malformed> {
        let head = octets.first_chunk::<HEADER>().ok_or(Malformed::Header)?;
        let low = head[3] & 0x0f;
        if u16_at(head, 4) == Some(0) {
            let rcode = ResponseCode::from(0, low);
            let edns = strip(octets, HEADER).is_ok_and(|stripped| stripped.opt.is_some());
            return Ok(Self::Error { rcode, edns, remarks: Vec::new() });
        }
        if head[2] & 0x02 != 0 {
            return Ok(Self::Truncated);
        }
        let question_end = HEADER + question.name.len() + TYPE_AND_CLASS;
        let mut own = octets.to_vec();
        overlay(&mut own, HEADER, question.name);
        let stripped = match strip(&own, question_end) {
            // Who did not understand us need not make sense behind the header.
            Err(_) if !matches!(low, 0 | 3) => {
                let rcode = ResponseCode::from(0, low);
                return Ok(Self::Error { rcode, edns: false, remarks: Vec::new() });
            }
            stripped => stripped?,
        };
        let opt = stripped.opt.as_ref();
        let rcode = match ResponseCode::from(opt.map_or(0, |opt| opt::rcode_high(opt.ttl)), low) {
            // Both are 16: BADSIG is one of TSIG records only (RFC 8945
            // section 3), and hickory does not tell them apart.
            ResponseCode::BADSIG => ResponseCode::BADVERS,
            rcode => rcode,
        };
        let edns = opt.is_some();
        let remarks = opt.map(|opt| remarks(opt.rdata())).unwrap_or_default();
        match rcode {
            ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::YXDomain => {}
            _ => return Ok(Self::Error { rcode, edns, remarks }),
        }
        let [is_authority, recurses] = [head[2] & 0x04 != 0, head[3] & 0x80 != 0];
        if rcode == ResponseCode::NoError && !is_authority && !recurses && stripped.is_referral {
            return Ok(Self::Referral);
        }
        let authenticated = head[3] & 0x20 != 0;
        let mut kept = stripped.octets.into_owned();
        overlay(&mut kept, 0, &[0, 0, 0, low]);
        if let Some(in_order) = in_order(&kept, question)? {
            kept = in_order;
        }
        Message::take(kept, question, authenticated, remarks).map(Self::Answer)
    }
}

/// A message without the records of this hop.
struct Stripped<'m> {
    octets: Cow<'m, [u8]>,
    opt: Option<Record<'m>>,
    /// No answer, no SOA, but an NS.
    is_referral: bool,
}

fn strip(octets: &[u8], question_end: usize) -> Result<Stripped<'_>, Malformed> {
    let (mut opt, mut first, mut in_between, mut count) = (None, None, false, 0u16);
    let (mut answers, mut soa, mut ns) = (false, false, false);
    for record in Walk::new(octets, question_end)? {
        let record = record?;
        if record.rtype == OPT && (record.section != Section::Additional || opt.is_some()) {
            return Err(Malformed::Opt);
        }
        if !is_of_this_hop(&record) {
            in_between |= first.is_some();
            answers |= record.section == Section::Answer;
            soa |= record.section == Section::Authority && record.rtype == SOA;
            ns |= record.section == Section::Authority && record.rtype == 2;
            continue;
        }
        count += 1;
        first.get_or_insert(record.start);
        if record.rtype == OPT {
            opt = Some(record);
        }
    }
    let octets = match first {
        None => Cow::Borrowed(octets),
        // At the end, as nearly always: cut.
        Some(end) if !in_between => {
            let mut kept = octets.get(..end).unwrap_or_default().to_vec();
            let rest = u16_at(octets, 10).unwrap_or_default().saturating_sub(count);
            overlay(&mut kept, 10, &rest.to_be_bytes());
            Cow::Owned(kept)
        }
        // Others may point into what goes: all is written anew.
        Some(_) => {
            let mut encoder = Encoder::new(&start(octets, question_end)?);
            let records = Walk::new(octets, question_end)?.map_while(Result::ok);
            for record in records.filter(|record| !is_of_this_hop(record)) {
                encoder.push(&record, record.ttl, None);
            }
            Cow::Owned(encoder.finish()?)
        }
    };
    Ok(Stripped { octets, opt, is_referral: ns && !soa && !answers })
}

/// Is it between the upstream and us alone: OPT, TSIG, or a SIG that covers no
/// type (RFC 2931 section 3)?
fn is_of_this_hop(record: &Record<'_>) -> bool {
    record.section == Section::Additional
        && match record.rtype {
            OPT | TSIG => true,
            SIG => u16_at(record.rdata(), 0) == Some(0),
            _ => false,
        }
}

/// The Extended DNS Errors among the options of an OPT (RFC 8914 section 2).
fn remarks(data: &[u8]) -> Vec<Remark> {
    let errors = Options::of(data).filter(|(code, _)| *code == ede::OPTION);
    errors
        .filter_map(|(_, data)| Remark::split(data))
        .take(MAX_REMARKS)
        .map(|(code, text)| {
            let text = String::from_utf8_lossy(text);
            // Some end their text with a NUL (RFC 8914 section 2).
            Remark::new(code, text.trim_end_matches('\0'))
        })
        .collect()
}
