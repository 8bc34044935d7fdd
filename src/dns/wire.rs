//! Offsets and constants of a message (RFC 1035 section 4.1).

/// Octets of a message's header (RFC 1035 section 4.1.1).
pub const HEADER: usize = 12;
/// Octets of QTYPE and QCLASS, which stand behind the question's name.
pub(crate) const TYPE_AND_CLASS: usize = 4;
/// Where ARCOUNT stands in the header.
pub(crate) const ARCOUNT: usize = 10;

/// The largest UDP answer, and what our OPT advertises: fits into every path's
/// MTU unfragmented (DNS flag day 2020).
pub const MAX_UDP: usize = 1232;

/// RD and TC, in the third octet of the header.
pub(crate) const RD: u8 = 0x01;
pub(crate) const TC: u8 = 0x02;
/// RA, AD and CD, in the fourth octet of the header.
pub(crate) const RA: u8 = 0x80;
pub(crate) const AD: u8 = 0x20;
pub(crate) const CD: u8 = 0x10;

/// CLASS and QCLASS IN (RFC 1035 section 3.2.4).
pub(crate) const IN: u16 = 1;
/// QCLASS ANY (RFC 1035 section 3.2.5).
pub(crate) const CLASS_ANY: u16 = 255;

/// The 16-bit number at `at`.
#[inline]
pub(crate) fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*octets.get(at..)?.first_chunk()?))
}

/// The 32-bit number at `at`.
#[inline]
pub(crate) fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*octets.get(at..)?.first_chunk()?))
}

/// Lays `new` over the octets at `at`; nothing happens where they are not.
#[inline]
pub(crate) fn overlay(octets: &mut [u8], at: usize, new: &[u8]) {
    if let Some(place) = at.checked_add(new.len()).and_then(|end| octets.get_mut(at..end)) {
        place.copy_from_slice(new);
    }
}

/// Counts one more in the header, where a count stands at `at`.
#[inline]
pub(crate) fn count_up(message: &mut [u8], at: usize) {
    let count = u16_at(message, at).unwrap_or_default().wrapping_add(1);
    overlay(message, at, &count.to_be_bytes());
}
