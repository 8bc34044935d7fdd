//! A plain query as it is read, and the reply to it as it is written.

use hickory_proto::op::ResponseCode;

use crate::dns::name::{MAX_NAME, wire_len_within};
use crate::dns::opt::{self, ECS, Fixed, NSID, OPT, OPT_LEN, Options};
use crate::dns::wire::{CD, HEADER, IN, RA, RD, TYPE_AND_CLASS};
use crate::forward;
use crate::snapshot::ViewTable;
use crate::snapshot::tail::{MAX_ASKED_LABELS, Tail};

/// QR and OPCODE in the third octet of the header: a query has neither.
const NOT_A_QUERY: u8 = 0xf8;
/// QR and AA in the same octet.
const RESPONSE_AA: u8 = 0x84;
/// Room for a name, in whole chunks.
const NAME: usize = MAX_NAME.next_multiple_of(16);

/// Is it a type that the ordinary path treats in a way of its own: none, DS,
/// OPT, TSIG, IXFR, AXFR, ANY?
const fn is_special(rtype: u16) -> bool {
    matches!(rtype, 0 | 43 | OPT | 250 | 251 | 252 | 255)
}

/// A plain query: one question of class IN, an OPT at most, nothing else. The memory
/// of one is used for the next. Laid out so that most take one cache line.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Query {
    /// Length of the name; 0 as long as nothing is read.
    len: u8,
    /// The third and fourth octet of the header.
    flags: [u8; 2],
    pub(super) rtype: u16,
    pub(super) opt: Option<Opt>,
    /// The name, folded wire octets, and what was there before.
    name: [u8; NAME],
}

/// What an OPT asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opt {
    pub(super) payload: u16,
    pub(super) dnssec_ok: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self { len: 0, flags: [0; 2], rtype: 0, opt: None, name: [0; NAME] }
    }
}

impl Query {
    /// Reads a request; none when it is anything but a plain query.
    pub(super) fn read(&mut self, request: &[u8]) -> Option<()> {
        self.take(request)?;
        self.fold();
        Some(())
    }

    /// Likewise, but leaves the name as it came: see [`fold`](Self::fold).
    pub(super) fn take(&mut self, request: &[u8]) -> Option<()> {
        self.len = 0;
        let (header, body) = request.split_first_chunk::<HEADER>()?;
        let [_, _, flags, more, counts @ ..] = *header;
        let [0, 1, 0, 0, 0, 0, 0, additional @ (0 | 1)] = counts else { return None };
        if flags & NOT_A_QUERY != 0 {
            return None;
        }
        // Prebuilt answers are for names of so many labels.
        let len = wire_len_within(body, MAX_ASKED_LABELS)?;
        let (name, behind) = body.split_at_checked(len)?;
        let ([t0, t1, c0, c1], behind) = behind.split_first_chunk()?;
        self.rtype = u16::from_be_bytes([*t0, *t1]);
        if u16::from_be_bytes([*c0, *c1]) != IN || is_special(self.rtype) {
            return None;
        }
        self.opt = match (additional, behind) {
            (0, []) => None,
            (1, opt) => Some(Opt::read(opt)?),
            _ => return None,
        };
        self.flags = [flags, more];
        self.name.get_mut(..name.len())?.copy_from_slice(name);
        self.len = u8::try_from(name.len()).ok()?;
        Some(())
    }

    /// Puts the letters of the name in lower case.
    pub(super) fn fold(&mut self) {
        // By whole chunks: each is one of the processor's vectors.
        let count = usize::from(self.len).div_ceil(16);
        for chunk in self.name.as_chunks_mut::<16>().0.iter_mut().take(count) {
            chunk.make_ascii_lowercase();
        }
    }

    /// Is its name the one in `request`?
    pub(super) fn is_of(&self, request: &[u8]) -> bool {
        let asked = request.get(HEADER..HEADER + usize::from(self.len));
        asked.is_some_and(|asked| asked.eq_ignore_ascii_case(self.name()))
    }

    pub(super) fn is_read(&self) -> bool {
        self.len > 0
    }

    /// The name, folded wire octets.
    pub(super) fn name(&self) -> &[u8] {
        self.name.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Octets of the header and the question, in the request and in the reply.
    pub(super) fn asked_len(&self) -> usize {
        HEADER + usize::from(self.len) + TYPE_AND_CLASS
    }

    /// Octets of the OPT in the reply.
    pub(super) fn opt_len(&self) -> usize {
        self.opt.map_or(0, |_| OPT_LEN)
    }

    /// Is what we do not know to be asked elsewhere?
    pub(super) fn may_ask(&self, view: &ViewTable) -> bool {
        view.forward && self.flags[0] & RD != 0
    }

    /// What it asks, as it would be asked elsewhere.
    pub(super) fn elsewhere(&self) -> forward::Question<'_> {
        forward::Question {
            name: self.name(),
            rtype: self.rtype,
            class: IN,
            dnssec_ok: self.opt.is_some_and(|opt| opt.dnssec_ok),
            checking_disabled: self.flags[1] & CD != 0,
        }
    }

    /// Writes the answer to the request that was read.
    pub(super) fn write(
        &self,
        request: &[u8],
        tail: Tail<&[u8]>,
        rcode: ResponseCode,
        recursion_available: bool,
        reply: &mut Vec<u8>,
    ) -> Option<()> {
        let asked = request.get(..self.asked_len())?;
        let [id0, id1, flags, more] = *asked.first_chunk()?;
        let [an0, an1, ns0, ns1, ar0, ar1] = tail.counts();
        let additional = u16::from_be_bytes([ar0, ar1]) + u16::from(self.opt.is_some());
        let [ar0, ar1] = additional.to_be_bytes();
        let ra = if recursion_available { RA } else { 0 };
        let (flags, more) = (RESPONSE_AA | (flags & RD), ra | (more & CD) | rcode.low());
        reply.clear();
        reply.extend_from_slice(asked);
        if let Some(header) = reply.first_chunk_mut() {
            *header = [id0, id1, flags, more, 0, 1, an0, an1, ns0, ns1, ar0, ar1];
        }
        tail.append(usize::from(self.len), reply);
        if let Some(opt) = self.opt {
            // Counted above, so that what was just written is not read again.
            reply.extend_from_slice(&opt::ours(opt.dnssec_ok));
        }
        Some(())
    }
}

impl Opt {
    /// Reads an OPT that ends the message: version 0, any options but those
    /// that need an answer.
    fn read(octets: &[u8]) -> Option<Self> {
        let (fixed, data) = octets.split_first_chunk()?;
        let Fixed { payload, version: 0, dnssec_ok, len } = Fixed::read(fixed)? else {
            return None;
        };
        if usize::from(len) != data.len() {
            return None;
        }
        let mut options = Options::of(data);
        // Those that the ordinary path does more with than skip them.
        if options.any(|(code, _)| matches!(code, NSID | ECS)) {
            return None;
        }
        options.is_at_end().then_some(Self { payload, dnssec_ok })
    }
}
