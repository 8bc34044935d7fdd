//! The OPT record of EDNS(0): how it is laid out, read and written (RFC 6891
//! section 6.1).

use super::wire::{ARCOUNT, MAX_UDP, count_up, overlay};

/// TYPE of OPT.
pub(crate) const OPT: u16 = 41;
/// Octets of an OPT record without options (RFC 6891 section 6.1.2).
pub(crate) const OPT_LEN: usize = 11;
/// Octets of an option without its data (RFC 6891 section 6.1.2).
const OPTION_HEAD: usize = 4;
/// Where RDLENGTH stands in an OPT record.
const RDLENGTH: usize = 9;
/// DO, in the first octet of the flags (RFC 3225 section 3).
const DO: u8 = 0x80;

/// Option code of NSID (RFC 5001).
pub(crate) const NSID: u16 = 3;
/// Option code of EDNS Client Subnet (RFC 7871 section 6).
pub(crate) const ECS: u16 = 8;

/// What stands in front of the options of somebody's OPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fixed {
    /// Octets of the largest UDP answer it takes.
    pub payload: u16,
    /// The version of EDNS.
    pub version: u8,
    /// DO.
    pub dnssec_ok: bool,
    /// Octets of its options.
    pub len: u16,
}

impl Fixed {
    /// Reads the record that these octets begin; none unless it is an OPT at
    /// the root (RFC 6891 section 6.1.2).
    #[inline]
    pub(crate) fn read(octets: &[u8; OPT_LEN]) -> Option<Self> {
        let [0, t0, t1, payload0, payload1, _, version, flags, _, len0, len1] = *octets else {
            return None;
        };
        (u16::from_be_bytes([t0, t1]) == OPT).then_some(Self {
            payload: u16::from_be_bytes([payload0, payload1]),
            version,
            dnssec_ok: flags & DO != 0,
            len: u16::from_be_bytes([len0, len1]),
        })
    }
}

/// The upper bits of RCODE, which an OPT has in its TTL (RFC 6891 section
/// 6.1.3).
pub(crate) fn rcode_high(ttl: u32) -> u8 {
    ttl.to_be_bytes()[0]
}

/// The options in an OPT's data, in order; ends in front of a broken one.
#[derive(Debug, Clone)]
pub(crate) struct Options<'o>(&'o [u8]);

impl<'o> Options<'o> {
    /// Those in `data`.
    #[inline]
    pub(crate) fn of(data: &'o [u8]) -> Self {
        Self(data)
    }

    /// Are none left, not even a broken one?
    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'o> Iterator for Options<'o> {
    /// Code and data.
    type Item = (u16, &'o [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let ([c0, c1, len0, len1], rest) = self.0.split_first_chunk::<OPTION_HEAD>()?;
        let len = u16::from_be_bytes([*len0, *len1]);
        let (data, rest) = rest.split_at_checked(len.into())?;
        self.0 = rest;
        Some((u16::from_be_bytes([*c0, *c1]), data))
    }
}

/// Our OPT without options: version 0, [`MAX_UDP`] octets, of the flags DO
/// alone. In a reply DO is as it came (RFC 3225 section 3).
#[inline]
pub(crate) fn ours(dnssec_ok: bool) -> [u8; OPT_LEN] {
    let [t0, t1] = OPT.to_be_bytes();
    let [payload0, payload1] = (MAX_UDP as u16).to_be_bytes();
    let flags = if dnssec_ok { DO } else { 0 };
    [0, t0, t1, payload0, payload1, 0, 0, flags, 0, 0, 0]
}

/// Ends `message` with our OPT and counts it. `rcode_high` are the upper bits
/// of RCODE, and `write_options` appends whole options, 65,535 octets at most.
#[inline]
pub(crate) fn append(
    message: &mut Vec<u8>,
    dnssec_ok: bool,
    rcode_high: u8,
    write_options: impl FnOnce(&mut Vec<u8>),
) {
    let at = message.len();
    let mut fixed = ours(dnssec_ok);
    fixed[5] = rcode_high;
    message.extend_from_slice(&fixed);
    write_options(message);
    let len = (message.len() - at - OPT_LEN) as u16;
    overlay(message, at + RDLENGTH, &len.to_be_bytes());
    count_up(message, ARCOUNT);
}

/// Appends an option, of 65,535 octets of data at most.
pub(crate) fn push_option(octets: &mut Vec<u8>, code: u16, data: &[u8]) {
    octets.extend_from_slice(&code.to_be_bytes());
    octets.extend_from_slice(&(data.len() as u16).to_be_bytes());
    octets.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
    use hickory_proto::rr::rdata::opt::EdnsOption;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::dns::wire::HEADER;

    proptest! {
        /// What is written is what hickory writes, and is read back.
        #[test]
        fn it_is_hickorys_opt(
            dnssec_ok: bool,
            rcode in 0u16..4096,
            options in vec((any::<u16>(), vec(any::<u8>(), 0..20)), 0..4),
        ) {
            // Those that hickory knows it normalises.
            let plain = |(code, _): &(u16, _)| !matches!(code, 3 | 5 | 8);
            let options: Vec<_> = options.into_iter().filter(plain).collect();
            let (high, low) = ((rcode >> 4) as u8, (rcode & 0xf) as u8);

            let mut edns = Edns::new();
            edns.set_max_payload(MAX_UDP as u16).set_dnssec_ok(dnssec_ok);
            for (code, data) in &options {
                edns.options_mut().insert(EdnsOption::Unknown(*code, data.clone()));
            }
            let mut theirs = Message::new(7, MessageType::Response, OpCode::Query);
            theirs.metadata.response_code = ResponseCode::from(high, low);
            theirs.set_edns(edns);

            let mut ours = vec![0, 7, 0x80, low, 0, 0, 0, 0, 0, 0, 0, 0];
            append(&mut ours, dnssec_ok, high, |octets| {
                options.iter().for_each(|(code, data)| push_option(octets, *code, data));
            });
            prop_assert_eq!(&ours, &theirs.to_vec().unwrap());

            let (fixed, data) = ours[HEADER..].split_first_chunk().unwrap();
            let (len, payload) = (data.len() as u16, MAX_UDP as u16);
            let expected = Fixed { payload, version: 0, dnssec_ok, len };
            prop_assert_eq!(Fixed::read(fixed), Some(expected));
            let mut read = Options::of(data);
            prop_assert!(read.by_ref().eq(options.iter().map(|(code, data)| (*code, &data[..]))));
            prop_assert!(read.is_at_end());
        }

        /// Any options are read as hickory reads them, and where it cannot,
        /// there is something left.
        #[test]
        fn options_end_where_they_break(data in vec(prop_oneof![3 => 0u8..3, 1 => any::<u8>()], 0..30)) {
            let mut fixed = ours(false);
            fixed[RDLENGTH + 1] = data.len() as u8;
            let message = [&[0, 7, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1], &fixed[..], &data].concat();
            let mut options = Options::of(&data);
            let codes: Vec<u16> = options.by_ref().map(|(code, _)| code).collect();
            if options.is_at_end()
                && let Ok(theirs) = Message::from_vec(&message)
            {
                let theirs = theirs.edns.unwrap();
                let theirs: Vec<u16> =
                    theirs.options().as_ref().iter().map(|(code, _)| u16::from(*code)).collect();
                prop_assert_eq!(codes, theirs);
            }
        }
    }

    #[test]
    fn only_an_opt_at_the_root_is_one() {
        let opt = ours(true);
        assert!(Fixed::read(&opt).is_some_and(|fixed| fixed.dnssec_ok));
        for (at, octet) in [(0, 1), (1, 1), (2, 42)] {
            let mut other = opt;
            other[at] = octet;
            assert_eq!(Fixed::read(&other), None, "{at}");
        }
        assert_eq!(rcode_high(0x0100_8000), 1);
    }
}
