//! A name read from a message.

use super::POINTER_REACH;
use crate::dns::name::{self, MAX_NAME};
use crate::dns::wire::{HEADER, u16_at};

/// A name in wire form, uncompressed, in a buffer of its own.
#[derive(Clone, Copy)]
pub struct WireName {
    octets: [u8; MAX_NAME],
    len: u8,
}

impl WireName {
    /// Reads the name at `at`, following pointers, and says where it ends.
    ///
    /// A pointer must lead to before the piece of name it ends (RFC 1035
    /// section 4.1.4: "a prior occurrence"), so reading ends.
    pub(crate) fn read(message: &[u8], mut at: usize) -> Option<(Self, usize)> {
        let mut name = Self { octets: [0; MAX_NAME], len: 0 };
        let mut piece = at;
        let mut end = None;
        loop {
            let len = match name::Piece::at(message, at)? {
                name::Piece::Label(len) => len,
                name::Piece::Root => 0,
                name::Piece::Pointer => {
                    let target = usize::from(u16_at(message, at)?) & POINTER_REACH;
                    if target >= piece || target < HEADER {
                        return None;
                    }
                    end.get_or_insert(at + 2);
                    (at, piece) = (target, target);
                    continue;
                }
            };
            let next = at + 1 + len;
            let label = message.get(at..next)?;
            let place = usize::from(name.len)..usize::from(name.len) + label.len();
            name.octets.get_mut(place)?.copy_from_slice(label);
            // No more than the octets that it has just been copied into.
            name.len += label.len() as u8;
            if len == 0 {
                return Some((name, end.unwrap_or(next)));
            }
            at = next;
        }
    }

    /// The wire octets, root label included.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The same name in lower case (RFC 4343).
    pub fn folded(mut self) -> Self {
        self.octets.make_ascii_lowercase();
        self
    }
}

impl std::fmt::Debug for WireName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", name::Key::from_folded(self.octets()))
    }
}
