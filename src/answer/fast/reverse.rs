//! The fast path of PTR records that stand in no zone: the question that nearly everybody asks
//! of the name of an address.

use hickory_proto::op::ResponseCode;

use super::Plain;
use crate::answer::{Outcome, Path};
use crate::snapshot::ready::Known;
use crate::snapshot::reverse::Pointer;

/// TYPE of PTR (RFC 1035 section 3.2.2).
const PTR: u16 = 12;

impl Plain<'_, '_> {
    /// Answers a question for the PTR records of an address; others are left to the ordinary
    /// path.
    pub(super) fn at_pointer(&self, pointer: &Pointer, reply: &mut Vec<u8>) -> Option<Outcome> {
        let query = self.query;
        let ready = pointer.ready()?;
        if query.rtype != PTR || ready.name() != query.name() {
            return None;
        }
        let stale = ready.plain(self.snapshot, query.opt.is_none())?;
        let Known::Tail(tail) = ready.get(PTR) else { return None };
        self.write((tail, ResponseCode::NoError, stale), Path::Zone, reply)
    }
}
