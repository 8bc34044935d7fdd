//! What the zone of an address has for a question: one name with PTR records, laid over a
//! reverse space that is not ours.

use std::borrow::Cow;

use hickory_proto::rr::RecordType;

use super::lookup::Found;
use crate::snapshot::ViewTable;
use crate::snapshot::reverse::Pointer;

impl<'s> Found<'s> {
    /// Takes what the zone of the address that `name` lies in has for the type.
    pub(super) fn take_pointer(
        &mut self,
        pointer: &'s Pointer,
        view: &ViewTable,
        name: &[u8],
        rtype: RecordType,
    ) {
        if !self.is_at(&pointer.owner, view, (name, rtype), || pointer.soa()) {
            return;
        }
        self.sources.extend(pointer.sources());
        self.sources.sort_unstable();
        self.sources.dedup();
        self.remarks.extend(pointer.remark());
        match pointer.of_type(rtype) {
            none if none.is_empty() => self.authority.push(Cow::Owned(pointer.soa())),
            records => self.answers.extend(records),
        }
    }
}
