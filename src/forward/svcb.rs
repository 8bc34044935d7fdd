//! Where IPv4 addresses stand in a record: A, and the hints of SVCB and HTTPS
//! (RFC 9460 section 7.3).

use std::ops::Range;

use super::wire::{A, HTTPS, Record, SVCB};
use crate::dns::name;
use crate::dns::wire::{IN, u16_at};

/// Number of the SvcParam `ipv4hint` (RFC 9460 section 14.3.2).
const IPV4_HINT: u16 = 4;

/// Octets of an IPv4 address.
pub(super) const ADDRESS: usize = 4;

/// Where in the RDATA addresses stand, one behind the other.
pub(super) fn addresses_at(record: &Record<'_>) -> Range<usize> {
    match record.rtype {
        _ if record.class != IN => 0..0,
        A => 0..record.rdata().len(),
        SVCB | HTTPS => hints(record.rdata()).unwrap_or(0..0),
        _ => 0..0,
    }
}

/// Where the value of `ipv4hint` is; none where there is none, or it is no list
/// of addresses, or the RDATA is not that of an SVCB record.
fn hints(rdata: &[u8]) -> Option<Range<usize>> {
    // SvcPriority, and TargetName, which is never compressed.
    let mut at = 2 + name::wire_len(rdata.get(2..)?)?;
    loop {
        let (key, len) = (u16_at(rdata, at)?, usize::from(u16_at(rdata, at + 2)?));
        let value = at + 4..at + 4 + len;
        if rdata.len() < value.end {
            return None;
        }
        if key == IPV4_HINT {
            return len.is_multiple_of(ADDRESS).then_some(value);
        }
        at = value.end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_found_and_nothing_else() {
        // 1 . alpn=h2 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=::1
        let head = b"\0\x01\0\0\x01\0\x03\x02h2";
        let hint = b"\0\x04\0\x08\xc0\0\x02\x01\xc0\0\x02\x02";
        let more = [&[0, 6, 0, 16][..], &[0; 15], &[1]].concat();
        let whole = [&head[..], hint, &more].concat();
        assert_eq!(hints(&whole), Some(14..22));
        for end in 0..22 {
            assert_eq!(hints(&whole[..end]), None, "{end}");
        }
        assert_eq!(hints(&[&head[..], &more].concat()), None);
        assert_eq!(hints(b"\0\x01\0\0\x04\0\x03\xc0\0\x02"), None, "no address");
        assert_eq!(hints(b"\0\x01\xc0\x0c\0\x04\0\x04\xc0\0\x02\x01"), None, "no name");
    }
}
