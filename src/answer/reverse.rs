//! What the zone of an address has for a question: one name with PTR records, laid over a
//! reverse space that is not ours.

use std::borrow::Cow;

use hickory_proto::op::ResponseCode;
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
        self.ours = true;
        if self.answers.is_empty() {
            self.authoritative = true;
        }
        if name != pointer.owner.octets() {
            // As anywhere: DS of a zone of ours that its parent does not delegate
            // is not denied with the name (RFC 8020).
            if rtype != RecordType::DS || !view.zones.contains(name) {
                self.rcode = ResponseCode::NXDomain;
            }
            self.authority.push(Cow::Owned(pointer.soa()));
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
