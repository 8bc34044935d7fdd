//! A kept answer as it is served: the message, its age, its Extended DNS Errors.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_proto::ProtoError;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr;

use super::cache::Stored;
use super::message::Message;
use super::question::Question;
use super::svcb::{ADDRESS, addresses_at};
use super::wire::{RRSIG, Record, SOA, Section};
use crate::dns::ede::{self, Remark};
use crate::dns::wire::{IN, overlay, u16_at};

/// TTL of records that are past theirs (RFC 8767 section 4).
pub const STALE_TTL: u32 = 30;

/// An answer to a question, from the cache or fresh from an upstream. Cloning
/// is a reference count.
#[derive(Debug, Clone)]
pub struct Hit {
    pub(super) stored: Arc<Stored>,
    age: Age,
    /// The TTLs in the message are to be sent as they are.
    counted: bool,
}

/// How old an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It just came in.
    New,
    /// So many seconds in the cache, still within its TTL.
    Fresh(u32),
    /// So many seconds past its TTL (RFC 8767).
    Stale(u32),
    /// Nobody was asked: true at any time.
    Own,
}

impl Hit {
    /// An answer that just came in and is kept by nobody else.
    pub(super) fn new(message: Message) -> Self {
        Self::of(Arc::new(Stored::uncached(message)), Age::New)
    }

    /// An answer for which nobody was asked.
    pub(super) fn own(message: Message) -> Self {
        Self::of(Arc::new(Stored::uncached(message)), Age::Own)
    }

    /// What an upstream's reply comes to, for tests elsewhere.
    #[cfg(test)]
    pub(crate) fn from_reply(octets: &[u8], question: &Question<'_>) -> Self {
        use super::message::UpstreamReply;
        match UpstreamReply::read(octets, question) {
            Ok(UpstreamReply::Answer(message)) => Self::new(message),
            other => panic!("no answer: {other:?}"),
        }
    }

    /// An answer of this age.
    pub(super) fn of(stored: Arc<Stored>, age: Age) -> Self {
        Self { stored, age, counted: matches!(age, Age::New | Age::Own) }
    }

    /// An answer of our own: no records, a response code and why.
    pub(super) fn bare(question: &Question<'_>, rcode: ResponseCode, remark: Remark) -> Self {
        Self::new(Message::bare(question, rcode, vec![remark]))
    }

    /// What was answered.
    pub fn message(&self) -> &Message {
        self.stored.message()
    }

    /// How old it is.
    pub fn age(&self) -> Age {
        self.age
    }

    /// RCODE. SERVFAIL means that no upstream had an answer, and REFUSED that
    /// the question is never forwarded.
    pub fn rcode(&self) -> ResponseCode {
        self.message().rcode()
    }

    /// The TTL to send for a record that came with `ttl` seconds.
    pub fn ttl(&self, ttl: u32) -> u32 {
        match self.age {
            _ if self.counted => ttl,
            Age::New | Age::Own => ttl,
            Age::Fresh(seconds) => ttl.saturating_sub(seconds),
            Age::Stale(_) => STALE_TTL,
        }
    }

    /// Do the message's TTLs go out as they are?
    pub(super) fn is_counted(&self) -> bool {
        self.counted
    }

    /// AD may be set for those who asked: validated upstream, and still good.
    pub fn authenticated(&self) -> bool {
        self.message().authenticated && !matches!(self.age, Age::Stale(_))
    }

    /// What the asker should know about the age of the answer.
    pub fn remark(&self) -> Option<Remark> {
        let (code, text) = match (self.age, self.rcode()) {
            (Age::Stale(seconds), ResponseCode::NXDomain) => {
                (ede::STALE_NXDOMAIN, format!("upstreams fail; expired {seconds} s ago"))
            }
            (Age::Stale(seconds), _) => {
                (ede::STALE, format!("upstreams fail; expired {seconds} s ago"))
            }
            (Age::Fresh(seconds), ResponseCode::ServFail) => {
                (ede::CACHED_ERROR, format!("failed {seconds} s ago"))
            }
            _ => return None,
        };
        Some(Remark { code, text: text.into() })
    }

    /// The records of the answer section for use in another answer, TTLs
    /// counted down.
    ///
    /// # Errors
    /// RDATA that hickory cannot read.
    pub fn answers(&self) -> Result<Vec<rr::Record>, ProtoError> {
        self.read(|record| record.section == Section::Answer)
    }

    /// The SOA of a denial (RFC 2308 section 2), for use in another answer.
    ///
    /// # Errors
    /// As [`answers`](Self::answers).
    pub fn denial(&self) -> Result<Vec<rr::Record>, ProtoError> {
        self.read(|record| record.section == Section::Authority && record.rtype == SOA)
    }

    fn read(&self, wanted: impl Fn(&Record<'_>) -> bool) -> Result<Vec<rr::Record>, ProtoError> {
        use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
        let mut records = Vec::new();
        for record in self.message().records().filter(wanted) {
            let mut decoder = BinDecoder::new(&self.message().octets).clone(record.start as u16);
            let mut read = rr::Record::read(&mut decoder)?;
            read.ttl = self.ttl(record.ttl);
            records.push(read);
        }
        Ok(records)
    }

    /// Puts other addresses into A records and into the hints of SVCB and HTTPS
    /// records: `new` says which instead of which, and the most the TTL may be. Equal records in an RRset so
    /// changed are merged, and AD is cleared. RRsets with a signature stay as
    /// they are: a change would break it.
    ///
    /// None when nothing changes, and that costs no more than a look at each
    /// address.
    pub fn rewrite(&self, new: impl Fn(Ipv4Addr) -> Option<(Ipv4Addr, u32)>) -> Option<Self> {
        let new = |old| new(old).filter(|(new, _)| *new != old);
        let message = self.message();
        if !message.addresses().any(|old| new(old).is_some()) {
            return None;
        }
        // RRsets by section, type and owner. All are of class IN.
        let set_of = |record: &Record<'_>, rtype| {
            let owner = record.owner.folded().octets().to_vec().into_boxed_slice();
            (record.section as u8, rtype, owner)
        };
        let signed: HashSet<_> =
            message.records().filter_map(|r| Some(set_of(&r, covers(&r)?))).collect();
        // RRsets that change, and the most their TTL may be: one for all
        // records (RFC 2181 section 5.2).
        let mut changed: HashMap<_, u32> = HashMap::new();
        for record in message.records() {
            let Some(ttl) = addresses(&record).filter_map(new).map(|(_, ttl)| ttl).min() else {
                continue;
            };
            let set = set_of(&record, record.rtype);
            if !signed.contains(&set) {
                changed.entry(set).and_modify(|least| *least = ttl.min(*least)).or_insert(ttl);
            }
        }
        if changed.is_empty() {
            return None;
        }
        let mut said = HashSet::new();
        let edited = message.edited(|record| {
            let ttl = self.ttl(record.ttl);
            let set = set_of(record, record.rtype);
            let Some(max_ttl) = changed.get(&set).copied() else { return Some((ttl, None)) };
            let rdata = with_addresses(record, new);
            said.insert((set, rdata.clone())).then_some((ttl.min(max_ttl), Some(rdata)))
        });
        // No longer than before but for names that are written out anew; should
        // it not fit, the public address is better than none.
        let stored = Arc::new(Stored::uncached(edited.ok()?));
        Some(Self { stored, age: self.age, counted: true })
    }
}

/// The type that a signature covers (RFC 4034 section 3.1.1).
fn covers(record: &Record<'_>) -> Option<u16> {
    let signs = record.rtype == RRSIG && record.class == IN;
    u16_at(record.rdata(), 0).filter(|_| signs)
}

/// The IPv4 addresses in a record.
fn addresses<'m>(record: &Record<'m>) -> impl Iterator<Item = Ipv4Addr> + use<'m> {
    let (octets, _) = record.rdata().get(addresses_at(record)).unwrap_or_default().as_chunks();
    octets.iter().map(|octets: &[u8; ADDRESS]| Ipv4Addr::from(*octets))
}

/// The RDATA with other addresses.
fn with_addresses(
    record: &Record<'_>,
    new: impl Fn(Ipv4Addr) -> Option<(Ipv4Addr, u32)>,
) -> Vec<u8> {
    let mut rdata = record.rdata().to_vec();
    let at = addresses_at(record).step_by(ADDRESS);
    for (at, (new, _)) in at.zip(addresses(record)).filter_map(|(at, old)| Some((at, new(old)?))) {
        overlay(&mut rdata, at, &new.octets());
    }
    rdata
}
