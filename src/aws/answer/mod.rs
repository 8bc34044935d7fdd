//! What DescribeAddresses answers, read whole or not at all.
//!
//! * `items`: an answer split into its items; `memory`: what of them is known; `form`: whether the
//!   SDK has read all of one that cannot be split.

mod form;
mod items;
mod memory;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_ec2::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_sdk_ec2::types;

use super::trouble::not_whole;
use eipdns::source::error::PollError;
use eipdns::source::inventory::Address;
use eipdns::source::poll::Described;
use eipdns::source::usable::{Gather, Item, Unusable};
pub(super) use form::Malformed;
use form::is_well_formed;
pub(super) use memory::{Answer, Memory};

/// An item of an answer: an address, or why it is none that can be used.
type Judged = Result<Arc<Address>, Box<Unusable>>;

/// What an item is.
///
/// # Errors
/// It may be any address.
fn judged(item: types::Address) -> Result<Judged, PollError> {
    let item = Item {
        public_ip: some(item.public_ip),
        carrier_ip: some(item.carrier_ip),
        customer_owned_ip: some(item.customer_owned_ip),
        allocation_id: some(item.allocation_id),
        association_id: some(item.association_id),
        instance_id: some(item.instance_id),
        network_interface_id: some(item.network_interface_id),
        network_interface_owner_id: some(item.network_interface_owner_id),
        private_ip: some(item.private_ip_address),
        service_managed: item.service_managed.map(|by| by.as_str().to_owned()),
        tags: tags(item.tags.unwrap_or_default()),
    };
    match item.judge() {
        Ok(judged) => Ok(judged.map(Arc::new).map_err(Box::new)),
        Err(fault) => Err(not_whole(&format!("an address in it: {fault}"))),
    }
}

/// What an answer with these items says.
fn described(items: Vec<Judged>) -> Described {
    let mut gather = Gather::<Arc<Address>>::default();
    for item in items {
        match item {
            Ok(address) => gather.take(address),
            Err(why) => gather.leave_out(*why),
        }
    }
    let (all, left_out) = gather.finish();
    Described::New { addresses: all.collect(), left_out }
}

fn tags(tags: Vec<types::Tag>) -> BTreeMap<String, String> {
    let pair = |tag: types::Tag| Some((some(tag.key)?, tag.value.unwrap_or_default()));
    tags.into_iter().filter_map(pair).collect()
}

/// An empty string is none.
pub(super) fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Refuses XML that stops before its end: the SDK's reader takes what it has
/// by then for the whole.
#[derive(Debug)]
pub(super) struct WholeXml {
    /// What an answer ends with.
    end: &'static [u8],
    /// The SDK's reader alone reads it: is all of it well-formed?
    is_read_by_the_sdk: bool,
}

impl WholeXml {
    /// DescribeAddresses, which [`Memory`] reads.
    pub(super) const ADDRESSES: Self = Self { end: items::ROOT_END, is_read_by_the_sdk: false };

    /// DescribeNetworkInterfaces.
    pub(super) const INTERFACES: Self =
        Self { end: b"</DescribeNetworkInterfacesResponse>", is_read_by_the_sdk: true };

    fn judge(&self, body: &[u8]) -> Result<(), BoxError> {
        if !body.trim_ascii_end().ends_with(self.end) {
            return Err(CutShort.into());
        }
        if self.is_read_by_the_sdk && !is_well_formed(body) {
            return Err(Malformed.into());
        }
        Ok(())
    }
}

/// What [`WholeXml`] has found.
#[derive(Debug, thiserror::Error)]
#[error("the XML ends too early")]
pub(super) struct CutShort;

impl Intercept for WholeXml {
    fn name(&self) -> &'static str {
        "whole-xml"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        // None: it could not be read, which is an error already.
        let Some(body) = response.body().bytes() else { return Ok(()) };
        // The body of an error is read for its code only.
        if response.status().is_success() { self.judge(body) } else { Ok(()) }
    }
}
