//! Between wire octets and hickory's typed data.

use hickory_proto::ProtoError;
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{
    BinDecoder, BinEncodable, BinEncoder, NameEncoding, Restrict,
};

use super::layout;

/// The data of type `code` in `octets`: typed where hickory encodes it back
/// to the same octets, else as it is, so that nothing is normalised away.
///
/// Types without a layout stay as they are: hickory would compress or follow
/// pointers in some of them (RFC 3597 section 4).
pub(super) fn typed(code: u16, octets: &[u8]) -> RData {
    let code = RecordType::from(code);
    let known = layout::of(code.into()).and_then(|_| {
        let length = Restrict::new(u16::try_from(octets.len()).ok()?);
        let data = RData::read(&mut BinDecoder::new(octets), code, length).ok()?;
        (wire(&data).ok()? == octets).then_some(data)
    });
    known.unwrap_or_else(|| {
        // `with` panics on no octets.
        let rdata = if octets.is_empty() { NULL::new() } else { NULL::with(octets.to_vec()) };
        RData::Unknown { code, rdata }
    })
}

/// The wire octets of `data`, names not compressed and in their own case.
pub(super) fn wire(data: &RData) -> Result<Vec<u8>, ProtoError> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder)?;
    Ok(octets)
}
