//! Where names stand in RDATA, by type.

use super::{RRSIG, SIG, SOA, WireName};

/// A piece of RDATA.
pub(super) enum Piece<'p> {
    Plain(&'p [u8]),
    Name(&'p WireName),
}

/// What RDATA is made of.
pub(super) enum Part {
    /// So many octets.
    Octets(usize),
    /// A character string.
    Text,
    /// A name.
    Name,
    /// All that is left.
    Rest,
}

/// The RDATA of types in which a sender may have compressed a name: those of
/// RFC 1035, and those RFC 3597 section 4 wants decompressed on receipt.
pub(super) fn layout(rtype: u16) -> &'static [Part] {
    use Part::{Name, Octets, Rest, Text};
    match rtype {
        // NS MD MF CNAME MB MG MR PTR DNAME
        2..=5 | 7..=9 | 12 | 39 => &[Name],
        SOA => &[Name, Name, Octets(20)],
        // MINFO RP
        14 | 17 => &[Name, Name],
        // MX AFSDB RT KX
        15 | 18 | 21 | 36 => &[Octets(2), Name],
        SIG | RRSIG => &[Octets(18), Name, Rest],
        // PX
        26 => &[Octets(2), Name, Name],
        // NXT NSEC
        30 | 47 => &[Name, Rest],
        // SRV
        33 => &[Octets(6), Name],
        // NAPTR
        35 => &[Octets(4), Text, Text, Text, Name],
        _ => &[Rest],
    }
}

/// May a name in this type's RDATA be compressed when sent: only in the types
/// of RFC 1035 (RFC 3597 section 4).
pub(super) fn is_compressible(rtype: u16) -> bool {
    matches!(rtype, 2..=9 | 12 | 14 | 15)
}
