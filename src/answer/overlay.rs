//! What an overlay zone has for a question: a zone of one name, without CNAME,
//! delegation or wildcard.

use std::borrow::Cow;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Record, RecordType};

use super::lookup::Found;
use crate::dns::name::Key;
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
        if !self.is_at(overlay.name, view, (name, rtype), || overlay.soa()) {
            return;
        }
        self.sources.push(overlay.said.source);
        self.remarks.extend(overlay.said.remark.as_deref());
        match overlay.record(rtype) {
            Some(record) => self.answers.push(record),
            None => self.authority.push(Cow::Owned(overlay.soa())),
        }
    }

    /// Takes a question into the zone of one name. Is it about that name? What is below is
    /// denied.
    pub(super) fn is_at(
        &mut self,
        owner: &Key,
        view: &ViewTable,
        (name, rtype): (&[u8], RecordType),
        soa: impl FnOnce() -> Record,
    ) -> bool {
        self.ours = true;
        if self.answers.is_empty() {
            self.authoritative = true;
        }
        if name == owner.octets() {
            return true;
        }
        // As anywhere: DS of a zone of ours that its parent does not delegate
        // is not denied with the name (RFC 8020).
        if rtype != RecordType::DS || !view.zones.contains(name) {
            self.rcode = ResponseCode::NXDomain;
        }
        self.authority.push(Cow::Owned(soa()));
        false
    }
}
