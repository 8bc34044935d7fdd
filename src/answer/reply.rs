//! A reply put together, within a size.
//!
//! hickory encodes the sections; sizes and truncation are ours, and so is the
//! question: it goes back in the case it came in, laid over the one in lower case
//! that names are compressed against. (The server crate's
//! `MessageResponseBuilder` compresses nothing against the question, so the
//! parts of a reply go to the encoder directly.)
//!
//! What stands behind the sections has its room reserved before they are written,
//! so that truncation never costs it: the OPT, and whatever a caller takes off the
//! size it gives.

use std::borrow::Cow;

use hickory_proto::ProtoError;
use hickory_proto::op::{EmitAndCount, Metadata, ResponseCode, emit_message_parts};
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinEncoder;

use super::Path;
use super::lookup::Found;
use super::request::{Head, Request, find_opt};
use crate::dns::ede::{self, Remark};
use crate::dns::opt::{self, ECS, NSID, OPT_LEN};
use crate::dns::wire::{HEADER, overlay};
use crate::snapshot::ready::Stale;

/// Writes a reply of a header alone, to what could not be read.
pub(crate) fn write_header(request: Head, rcode: ResponseCode, reply: &mut Vec<u8>) {
    let [id0, id1, flags, ..] = request.0;
    // QR, the opcode and RD as they came.
    reply.extend_from_slice(&[id0, id1, 0x80 | (flags & 0x79), rcode.low()]);
    reply.extend_from_slice(&[0; 8]);
}

/// The same with an OPT for whoever sent one that can be found, though it be in
/// an option that the request cannot be read (RFC 6891 section 7). Options of
/// another version are not ours to judge: BADVERS instead of FORMERR (section
/// 6.1.3). Returns the response code.
pub(super) fn write_error(
    head: Head,
    request: &[u8],
    rcode: ResponseCode,
    reply: &mut Vec<u8>,
) -> ResponseCode {
    let opt = find_opt(request);
    let rcode = match opt {
        Some(opt) if opt.version > 0 && rcode == ResponseCode::FormErr => ResponseCode::BADVERS,
        _ => rcode,
    };
    write_header(head, rcode, reply);
    if let Some(opt) = opt {
        opt::append(reply, opt.dnssec_ok, rcode.high(), |_| ());
    }
    rcode
}

/// A reply being put together.
pub(super) struct ReplyBuilder<'r, 's> {
    request: &'r Request<'r>,
    size: usize,
    /// What was found in the zones.
    pub(super) found: Found<'s>,
    /// The response code.
    pub(super) rcode: ResponseCode,
    /// RA: exactly when the view forwards.
    pub(super) recursion_available: bool,
    /// Extended DNS Errors.
    pub(super) remarks: Vec<Cow<'s, Remark>>,
    /// Does it rest on something stale?
    pub(super) stale: Stale,
    /// Our name, when it was asked for.
    pub(super) nsid: Option<&'s str>,
    /// The option that answers a trusted forwarder's EDNS Client Subnet.
    pub(super) subnet: Option<Vec<u8>>,
}

/// How much of a reply is sent, from all to the least. Additional records that
/// only save a question are sent as far as they fit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    WithoutRemarks,
    /// With the glue that fits; TC from here on.
    WithoutGlue,
    Truncated,
}

impl<'r, 's> ReplyBuilder<'r, 's> {
    /// An empty reply to `request`, of `size` octets at most: what the transport
    /// allows, less what the caller puts behind the reply.
    pub(super) fn new(request: &'r Request<'r>, size: usize) -> Self {
        Self {
            request,
            size,
            found: Found::default(),
            rcode: ResponseCode::NoError,
            recursion_available: false,
            remarks: Vec::new(),
            stale: Stale(false),
            nsid: None,
            subnet: None,
        }
    }

    /// Becomes REFUSED with a reason.
    pub(super) fn refuse(&mut self, code: u16, why: String) -> Path {
        self.rcode = ResponseCode::Refused;
        self.remarks.push(Cow::Owned(Remark { code, text: why.into() }));
        Path::Refused
    }

    /// Becomes SERVFAIL, perhaps with a reason; what was found is dropped.
    pub(super) fn fail(&mut self, remark: Option<Cow<'s, Remark>>) {
        self.found = Found::default();
        self.rcode = ResponseCode::ServFail;
        self.stale = Stale(false);
        self.remarks = remark.into_iter().collect();
    }

    /// Takes over what was found.
    pub(super) fn take(&mut self, found: Found<'s>) {
        self.found = found;
        self.taken();
    }

    /// More was found: its response code and what is to be said about it.
    pub(super) fn taken(&mut self) {
        self.rcode = self.found.rcode;
        self.remarks.extend(self.found.remarks.drain(..).map(Cow::Borrowed));
    }

    /// Writes the reply and says with which response code.
    pub(super) fn write(&self, reply: &mut Vec<u8>) -> ResponseCode {
        let answers = self.found.answers.len();
        let whole = [Extent::Whole, Extent::WithoutRemarks, Extent::WithoutGlue];
        // Looked for only when it comes to that.
        let ends = std::iter::once_with(|| self.set_ends()).flatten().rev();
        let truncated = ends.map(|end| (Extent::Truncated, end));
        for (extent, keep) in whole.map(|extent| (extent, answers)).into_iter().chain(truncated) {
            reply.clear();
            if self.encode(extent, keep, reply).is_ok_and(|fits| fits) {
                overlay(reply, HEADER, self.request.question_octets());
                return self.rcode;
            }
        }
        // A record that cannot be encoded: the readers refuse such, so this is
        // the last line of defence.
        reply.clear();
        if let Some(head) = Head::read(self.request.octets()) {
            write_header(head, ResponseCode::ServFail, reply);
        }
        ResponseCode::ServFail
    }

    /// How many answers there are up to the end of each RRset, and none: a
    /// truncated reply holds whole RRsets only (RFC 2181 section 9).
    fn set_ends(&self) -> Vec<usize> {
        let sets = self.found.answers.chunk_by(is_same_set);
        let ends = sets.scan(0, |end, set| {
            *end += set.len();
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// Encodes with the first `keep` answers; false when what this extent
    /// promises does not fit.
    fn encode(&self, extent: Extent, keep: usize, reply: &mut Vec<u8>) -> Result<bool, ProtoError> {
        let found = &self.found;
        let mut metadata = Metadata::response_from_request(self.request.metadata());
        // Its upper bits stand in the OPT.
        metadata.response_code = ResponseCode::from(0, self.rcode.low());
        metadata.authoritative = found.authoritative;
        metadata.recursion_available = self.recursion_available;
        metadata.truncation = matches!(extent, Extent::WithoutGlue | Extent::Truncated);
        let opt = self.request.edns().map(|edns| (edns, self.all_options(extent)));
        let reserved = opt.as_ref().map_or(0, |(_, options)| OPT_LEN + options.len());
        let room = self.size.saturating_sub(reserved);
        let answers = found.answers.get(..keep).unwrap_or_default();
        let mut additional =
            Additional { glue: &found.glue, extra: &found.extra, end: room, lacks_glue: false };
        let mut authority = &found.authority[..];
        match extent {
            Extent::Whole | Extent::WithoutRemarks => {}
            Extent::WithoutGlue => additional.extra = &[],
            Extent::Truncated => (authority, additional.glue, additional.extra) = (&[], &[], &[]),
        }
        let mut encoder = BinEncoder::new(reply);
        // Not `room`: names are written out before they are compressed.
        encoder.set_max_size(u16::MAX);
        let header = emit_message_parts(
            &metadata,
            &mut std::iter::once(self.request.query().original()),
            &mut answers.iter(),
            &mut authority.iter().map(|r| -> &Record { r }),
            &mut additional,
            None,
            None,
            &mut encoder,
        )?;
        let is_cut = header.metadata.truncation != metadata.truncation;
        let fits = !is_cut && reply.len() <= room;
        if let Some((edns, options)) = opt {
            let dnssec_ok = edns.flags().dnssec_ok;
            opt::append(reply, dnssec_ok, self.rcode.high(), |reply| reply.extend(options));
        }
        Ok(fits && (metadata.truncation || !additional.lacks_glue))
    }

    /// Options of every answer to this request: code and data.
    fn own_options(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let id = self.nsid.map(|id| (NSID, id.as_bytes()));
        id.into_iter().chain(self.subnet.as_deref().map(|data| (ECS, data)))
    }

    /// The same, encoded.
    pub(super) fn options(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        for (code, data) in self.own_options() {
            opt::push_option(&mut octets, code, data);
        }
        octets
    }

    /// All options of this reply, encoded. None is echoed (RFC 6891 section 6).
    fn all_options(&self, extent: Extent) -> Vec<u8> {
        let mut octets = self.options();
        let said = if extent == Extent::Whole { &self.remarks[..] } else { &[] };
        for (nth, remark) in said.iter().enumerate() {
            if !said[..nth].contains(remark) {
                opt::push_option(&mut octets, ede::OPTION, &remark.data());
            }
        }
        octets
    }
}

/// Are two neighbours of one RRset?
fn is_same_set(one: &Record, other: &Record) -> bool {
    (one.record_type(), &one.name) == (other.record_type(), &other.name)
}

/// An additional section, as NSD, Knot and BIND fill it: RRsets that do not fit
/// are left out (RFC 2181 section 9) with the rest of that host's addresses;
/// the hosts behind are still tried.
struct Additional<'a> {
    glue: &'a [Record],
    extra: &'a [Record],
    /// How long the message may be after it.
    end: usize,
    /// Set when glue had to be left out.
    lacks_glue: bool,
}

impl Additional<'_> {
    /// Writes what fits of some hosts' addresses: how many, and was that all?
    fn emit_hosts(
        &self,
        addresses: &[Record],
        encoder: &mut BinEncoder<'_>,
    ) -> Result<(usize, bool), ProtoError> {
        let mut count = 0;
        let mut whole = true;
        for host in addresses.chunk_by(|a, b| a.name == b.name) {
            for set in host.chunk_by(is_same_set) {
                let start = encoder.offset();
                match encoder.emit_iter(&mut set.iter()) {
                    Ok(more) if encoder.offset() <= self.end => count += more,
                    Ok(_) | Err(ProtoError::NotAllRecordsWritten { .. }) => {
                        encoder.set_offset(start);
                        encoder.trim();
                        whole = false;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok((count, whole))
    }
}

impl EmitAndCount for Additional<'_> {
    fn emit(&mut self, encoder: &mut BinEncoder<'_>) -> Result<usize, ProtoError> {
        let (glue, whole) = self.emit_hosts(self.glue, encoder)?;
        self.lacks_glue = !whole;
        let (extra, _) = self.emit_hosts(self.extra, encoder)?;
        Ok(glue + extra)
    }
}
