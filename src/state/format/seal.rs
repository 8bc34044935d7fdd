//! The last line of a file, which proves the rest whole.

use std::hash::Hasher;

use serde::Serialize;
use siphasher::sip128::{Hasher128, SipHasher24};

use super::FormatError;
use crate::host::background::{self, PIECE};

const CHECKSUM_START: &str = "{\"checksum\":\"siphash128:";

/// Octets of a checksum line: 32 hex digits, `"}` and the end of the line.
pub(in crate::state) const SEAL: usize = CHECKSUM_START.len() + 32 + 3;

/// A file's contents with the line that proves them whole.
pub(in crate::state) fn seal(file: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut octets = serde_json::to_vec_pretty(file)?;
    octets.push(b'\n');
    let last = checksum_line(&octets);
    octets.extend_from_slice(last.as_bytes());
    Ok(octets)
}

/// The last line of a sealed file, which tells its contents from all others.
pub(in crate::state) fn seal_of(octets: &[u8]) -> Option<&str> {
    let at = octets.len().checked_sub(SEAL)?;
    str::from_utf8(octets.get(at..)?).ok().map(str::trim_ascii_end)
}

/// What stands before the seal, if that is right.
pub(in crate::state) fn unseal(octets: &[u8]) -> Result<&[u8], FormatError> {
    let at = octets.len().checked_sub(SEAL);
    let (body, last) =
        at.and_then(|at| octets.split_at_checked(at)).ok_or(FormatError::NoChecksum)?;
    if last != checksum_line(body).as_bytes() {
        let looks_right = last.starts_with(CHECKSUM_START.as_bytes()) && last.ends_with(b"\"}\n");
        return Err(if looks_right { FormatError::Damaged } else { FormatError::NoChecksum });
    }
    Ok(body)
}

/// SipHash 2-4 with 128 bits and a key of zeros: against bad disks and
/// editors, not against people.
pub(in crate::state) fn checksum_line(body: &[u8]) -> String {
    let mut hasher = SipHasher24::new();
    for piece in body.chunks(PIECE) {
        background::breathe();
        hasher.write(piece);
    }
    format!("{CHECKSUM_START}{:032x}\"}}\n", hasher.finish128().as_u128())
}
