//! What `aws ec2 describe-addresses` prints (JSON), as addresses; and what
//! `describe-network-interfaces` prints ([`interfaces`]).
//!
//! The file is written by people and scripts, so the reader is strict about
//! what it would have to guess (an address that is none) and lenient about what
//! it does not use: unknown keys are skipped, every key but `PublicIp` may be
//! absent, `null` or `""`. [`usable`] says what of it can be
//! used. Items are UTF-8 as a whole, as JSON is (RFC 8259
//! section 8.1).

mod error;
pub mod interfaces;
mod item;
mod reply;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::source::inventory::Address;
use crate::source::known::KnownAddresses;
use crate::source::usable::{self, Gather, Said, Unusable};
pub use error::ParseError;
use item::PrintedItem;
pub use reply::Form;
use reply::{Place, printed, read};

/// What the text of a file says.
pub(crate) trait Contents: Default + Send + Sync + 'static {
    /// Reads it, after `before`: what is as it was there may be the very same.
    ///
    /// # Errors
    /// Any text that leaves a doubt about what it has; nothing is returned for a part of it.
    fn read(text: &[u8], before: &Self) -> Result<Self, ParseError>;

    /// Is it what was read from this very text?
    fn is_of(&self, text: &[u8]) -> bool;
}

/// The addresses in a text that was read. Of the text digests are kept, which tell
/// whether another is the same: it is as long as all that is answered from it.
#[derive(Debug, Default)]
pub struct Listing {
    /// Of the whole text.
    digest: u128,
    /// Of the text of each address.
    items: Vec<u128>,
    said: Said,
}

impl Listing {
    /// Reads the output of `aws ec2 describe-addresses`
    /// (EC2 API reference, `DescribeAddresses`, in the CLI's JSON form).
    ///
    /// Items with the same text as in `before`, in the same order, are not read
    /// once more, and addresses that are as in `before` are the very same.
    ///
    /// # Errors
    /// Any text that leaves a doubt about which addresses it has; nothing is
    /// returned for a part of it.
    pub fn read(text: &[u8], before: &Listing) -> Result<Self, ParseError> {
        let mut reader = Reader::new(before);
        read(Form::Addresses, text, |item: &str, place: Place<'_>| reader.take(item, place))?;
        let (all, left_out) = reader.gather.finish();
        let (items, addresses): (_, Vec<_>) = all.map(|read| (read.digest, read.address)).unzip();
        let said = Said { addresses: addresses.into(), left_out: left_out.into() };
        Ok(Self { digest: digest(text), items, said })
    }

    /// What it says: the addresses, in their order.
    pub fn said(&self) -> &Said {
        &self.said
    }
}

impl Contents for Listing {
    fn read(text: &[u8], before: &Self) -> Result<Self, ParseError> {
        Self::read(text, before)
    }

    fn is_of(&self, text: &[u8]) -> bool {
        self.digest == digest(text)
    }
}

/// Equal for equal octets, and for others once in 2^128.
fn digest(octets: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(octets);
    hasher.finish128().as_u128()
}

/// An address, and the digest of its text.
struct Read {
    digest: u128,
    address: Arc<Address>,
}

impl Borrow<Address> for Read {
    fn borrow(&self) -> &Address {
        &self.address
    }
}

/// Takes one item after the other.
struct Reader<'r> {
    before: &'r Listing,
    known: KnownAddresses<'r>,
    gather: Gather<Read>,
}

impl<'r> Reader<'r> {
    fn new(before: &'r Listing) -> Self {
        let known = KnownAddresses::new(&before.said.addresses);
        Self { before, known, gather: Gather::default() }
    }

    /// Takes the text of an item. It is JSON, and nothing else is known of it.
    fn take(&mut self, item: &str, place: Place<'_>) -> Result<(), ParseError> {
        let digest = digest(item.as_bytes());
        let again = self.before.items.get(self.known.next()).filter(|before| **before == digest);
        let address = match again.and_then(|_| self.known.again()) {
            Some(address) => address,
            None => match address(item, place)? {
                Ok(address) => self.known.share(address.into()),
                Err(why) => {
                    self.gather.leave_out(why);
                    return Ok(());
                }
            },
        };
        self.gather.take(Read { digest, address });
        Ok(())
    }
}

/// The address that an item is, or why it is none.
fn address(item: &str, place: Place<'_>) -> Result<Result<Address, Unusable>, ParseError> {
    let item: PrintedItem = printed(item, place)?;
    usable::Item::from(item).judge().map_err(|fault| place.fault(fault))
}
