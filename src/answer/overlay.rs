//! What an overlay zone has for a question: a zone of one name, without CNAME,
//! delegation or wildcard.

use std::borrow::Cow;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::lookup::Found;
use crate::snapshot::ViewTable;
use crate::snapshot::overlay::Overlay;

impl<'s> Found<'s> {
    /// Takes what the overlay zone that `name` lies in has for the type.
    pub(super) fn take_overlay(
        &mut self,
        overlay: Overlay<'s>,
        view: &ViewTable,
        name: &[u8],
        rtype: RecordType,
    ) {
        self.ours = true;
        if self.answers.is_empty() {
            self.authoritative = true;
        }
        if name != overlay.name.octets() {
            // As anywhere: DS of a zone of ours that its parent does not delegate
            // is not denied with the name (RFC 8020).
            if rtype != RecordType::DS || !view.zones.contains(name) {
                self.rcode = ResponseCode::NXDomain;
            }
            self.authority.push(Cow::Owned(overlay.soa()));
            return;
        }
        self.sources.push(overlay.said.source);
        self.remarks.extend(overlay.said.remark.as_deref());
        match overlay.record(rtype) {
            Some(record) => self.answers.push(record),
            None => self.authority.push(Cow::Owned(overlay.soa())),
        }
    }
}
