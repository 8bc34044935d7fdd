//! What the last good answer said, so that what it says again is not read again.
//!
//! The SDK's reader is given only the items that were not in that answer. An answer with the
//! same items is equal to it, and nothing of it is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_ec2::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_sdk_ec2::operation::describe_addresses::{DescribeAddresses, DescribeAddressesOutput};
use aws_smithy_runtime_api::client::interceptors::context::{Output, OutputOrError};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_plugin::RuntimePlugin;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::FrozenLayer;

use super::form::{Malformed, is_well_formed};
use super::items::{Before, Digest, Digests, Sum, answer_of, is_whole, split};
use super::{Judged, described, judged};
use crate::trouble::not_whole;
use eipdns::source::error::PollError;
use eipdns::source::poll::Described;

/// The only status with which EC2 answers; the SDK's reader takes any below 300.
const OK: u16 = 200;

/// Of one caller: what its last good answer said. Nothing before the first one, and after one
/// that was not understood here.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    digests: Digests,
    last: Option<Arc<Known>>,
}

/// An answer.
#[derive(Debug)]
struct Known {
    sum: Sum,
    before: Before,
    items: HashMap<Digest, Judged>,
}

impl Memory {
    /// For one call.
    pub(crate) fn reading(&self) -> Reading {
        let Self { digests, last } = self;
        Reading { digests: *digests, last: last.clone(), found: Arc::default() }
    }

    /// Takes the answer of the call that counts.
    pub(crate) fn take(&mut self, answer: Answer) -> Described {
        self.last = answer.known;
        answer.said
    }
}

/// What a call brought.
#[derive(Debug)]
pub(crate) struct Answer {
    said: Described,
    /// For the next call.
    known: Option<Arc<Known>>,
}

/// Reads the answer of one call.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    digests: Digests,
    last: Option<Arc<Known>>,
    found: Arc<Mutex<Found>>,
}

/// What the SDK's reader was given.
#[derive(Debug, Default)]
enum Found {
    /// The answer as it came.
    #[default]
    All,
    /// Nothing: it is the last one again.
    Equal,
    /// The items that were not in the last one; the others stand here.
    Part(Sum, Before, Vec<(Digest, Option<Judged>)>),
}

impl Reading {
    /// What the answer says. `read` is what the SDK's reader made of what it was given.
    ///
    /// # Errors
    /// It is no answer.
    pub(crate) fn finish(self, read: DescribeAddressesOutput) -> Result<Answer, PollError> {
        let found = std::mem::take(&mut *self.found());
        let read = read.addresses.ok_or_else(|| not_whole("it has no addressesSet"))?;
        let mut read = read.into_iter().map(judged);
        let (sum, before, items) = match found {
            Found::All => {
                return Ok(Answer {
                    said: described(read.collect::<Result<_, _>>()?),
                    known: None,
                });
            }
            Found::Equal => return Ok(Answer { said: Described::Equal, known: self.last }),
            Found::Part(sum, before, items) => (sum, before, items),
        };
        let mut next = || read.next().ok_or_else(|| not_whole("an address in it is missing"))?;
        let whole = |(digest, item): (_, Option<_>)| Ok((digest, item.map_or_else(&mut next, Ok)?));
        let items = items.into_iter().map(whole).collect::<Result<Vec<_>, PollError>>()?;
        let said = described(items.iter().map(|(_, item)| item.clone()).collect());
        let known = Known { sum, before, items: items.into_iter().collect() };
        Ok(Answer { said, known: Some(known.into()) })
    }

    /// What of an answer is to be read, as an answer; none: all of it.
    fn part(&self, response: &HttpResponse) -> Option<(Found, usize, Vec<u8>)> {
        let body = response.body().bytes()?;
        if response.status().as_u16() != OK || !is_whole(body) {
            return None;
        }
        let last = self.last.as_deref();
        let nothing = Before::default();
        let items = split(body, self.digests, last.map_or(&nothing, |last| &last.before))?;
        let sum = Sum::of(&items);
        if last.is_some_and(|last| last.sum == sum) {
            return Some((Found::Equal, 0, answer_of(&[])));
        }
        let known = |digest| last.and_then(|last| last.items.get(digest)).cloned();
        let found: Vec<_> = items.iter().map(|item| (item.digest, known(&item.digest))).collect();
        let new = items.iter().zip(&found).filter(|(_, (_, known))| known.is_none());
        let new: Vec<_> = new.map(|(item, _)| item.octets).collect();
        Some((Found::Part(sum, Before::of(&items), found), new.len(), answer_of(&new)))
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Reading {
    fn name(&self) -> &'static str {
        "reading"
    }

    fn modify_before_deserialization(
        &self,
        _: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(reader) = Reader::before_the_sdk(self.clone()) {
            bag.interceptor_state().store_put(SharedResponseDeserializer::new(reader));
        }
        Ok(())
    }
}

/// Stands before the SDK's reader.
#[derive(Debug)]
pub(super) struct Reader {
    /// The SDK's settings for this call, its reader among them.
    sdk: FrozenLayer,
    reading: Reading,
}

impl DeserializeResponse for Reader {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        bag: &ConfigBag,
    ) -> OutputOrError {
        let sdk = self.sdk().ok_or_else(|| OrchestratorError::other("the SDK has no reader"))?;
        match self.part(response, sdk, bag) {
            Some(output) => Ok(output),
            None => whole(sdk, response, bag),
        }
    }
}

/// Has the SDK's reader read all of an answer.
fn whole(
    sdk: &SharedResponseDeserializer,
    response: &HttpResponse,
    bag: &ConfigBag,
) -> OutputOrError {
    let output = sdk.deserialize_nonstreaming_with_config(response, bag)?;
    match response.body().bytes() {
        Some(body) if !is_well_formed(body) => Err(OrchestratorError::response(Malformed.into())),
        _ => Ok(output),
    }
}

impl Reader {
    /// None if the SDK has no reader where it had one: it then reads as it likes.
    pub(super) fn before_the_sdk(reading: Reading) -> Option<Self> {
        let sdk = DescribeAddresses::new().config()?;
        sdk.load::<SharedResponseDeserializer>()?;
        Some(Self { sdk, reading })
    }

    fn sdk(&self) -> Option<&SharedResponseDeserializer> {
        self.sdk.load::<SharedResponseDeserializer>()
    }

    /// Has the SDK's reader read only what is new; none if not just that comes of it.
    fn part(
        &self,
        response: &HttpResponse,
        sdk: &SharedResponseDeserializer,
        bag: &ConfigBag,
    ) -> Option<Output> {
        let (found, new, answer) = self.reading.part(response)?;
        let answer = HttpResponse::new(response.status(), SdkBody::from(answer));
        let output = sdk.deserialize_nonstreaming_with_config(&answer, bag).ok()?;
        let read = &output.downcast_ref::<DescribeAddressesOutput>()?.addresses;
        if read.as_ref().map(Vec::len) != Some(new) {
            return None;
        }
        *self.reading.found() = found;
        Some(output)
    }
}
