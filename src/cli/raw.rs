//! An answer of the server as it came, of whatever version it is, with what a command needs of it.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// All that the server says, for whoever reads it, and a part of it.
pub(super) struct Raw<T> {
    pub(super) json: Value,
    pub(super) part: T,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Raw<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(from)?;
        let part = T::deserialize(&json).map_err(D::Error::custom)?;
        Ok(Self { json, part })
    }
}
