use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use proptest::prelude::*;

use super::*;
use crate::dns::name;
use crate::dns::name::tests::octets;
use crate::dns::wire::HEADER;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What both read of a name is the same, pointers followed. Hickory is
    /// stricter about where a pointer may lead.
    #[test]
    fn names_are_read_as_hickory_reads_them(before in octets(), octets in octets()) {
        let at = HEADER + before.len();
        let message = [&[0; HEADER], &before[..], &octets].concat();
        let mut decoder = BinDecoder::new(&message).clone(at as u16);
        let theirs = Name::read(&mut decoder);
        if let (Some((ours, end)), Ok(theirs)) = (WireName::read(&message, at), theirs) {
            prop_assert!(name::labels(ours.octets()).eq(theirs.iter()));
            prop_assert_eq!(end, decoder.index());
        }
    }
}

#[test]
fn names_follow_pointers_backwards_only() {
    let mut message = vec![0; HEADER];
    message.extend_from_slice(b"\x07Example\x03com\0"); // 12
    message.extend_from_slice(b"\x02db\xc0\x0c"); // 25
    let (name, end) = WireName::read(&message, 25).unwrap();
    assert_eq!((name.octets(), end), (&b"\x02db\x07Example\x03com\0"[..], 30));
    assert_eq!(name.folded().octets(), b"\x02db\x07example\x03com\0");

    for bad in [
        &b"\xc0\x0c"[..],    // to itself
        b"\xc0\x0e\xc0\x0c", // forwards
        b"\x01a\xc0\x0c",    // to its own beginning: a loop
        b"\xc0\x00",         // into the header
        b"\x40",             // an extended label
        b"\x05abc",          // beyond the end
        b"\xc0",             // half a pointer
        b"",                 // nothing
    ] {
        let message = [&[0; HEADER], bad].concat();
        assert!(WireName::read(&message, HEADER).is_none(), "{bad:?}");
    }
}

#[test]
fn a_name_ends_at_255_octets() {
    let label = [&[63][..], &[b'x'; 63]].concat();
    let long = [&[0; HEADER], &label[..], &label, &label, &[61], &[b'x'; 61], &[0]].concat();
    assert_eq!(WireName::read(&long, HEADER).unwrap().0.octets().len(), 255);
    let longer = [&[0; HEADER], &label[..], &label, &label, &[62], &[b'x'; 62], &[0]].concat();
    assert!(WireName::read(&longer, HEADER).is_none());
}
