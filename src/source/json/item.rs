//! An address as `aws ec2 describe-addresses` prints it, and what the reader needs
//! of JSON for that.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::source::usable;

/// An item as it is printed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PrintedItem {
    #[serde(default, deserialize_with = "text")]
    public_ip: Option<String>,
    #[serde(default, deserialize_with = "text")]
    carrier_ip: Option<String>,
    #[serde(default, deserialize_with = "text")]
    customer_owned_ip: Option<String>,
    #[serde(default, deserialize_with = "text")]
    allocation_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    association_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    instance_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    network_interface_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    network_interface_owner_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    private_ip_address: Option<String>,
    #[serde(default, deserialize_with = "text")]
    service_managed: Option<String>,
    #[serde(default)]
    tags: Option<Vec<Object<PrintedTag>>>,
}

/// A tag as it is printed. An empty value is a value.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PrintedTag {
    key: String,
    #[serde(default)]
    value: Option<String>,
}

/// A string; `null` and `""` are none.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.filter(|text| !text.is_empty()))
}

impl From<PrintedItem> for usable::Item {
    fn from(item: PrintedItem) -> Self {
        Self {
            public_ip: item.public_ip,
            carrier_ip: item.carrier_ip,
            customer_owned_ip: item.customer_owned_ip,
            allocation_id: item.allocation_id,
            association_id: item.association_id,
            instance_id: item.instance_id,
            network_interface_id: item.network_interface_id,
            network_interface_owner_id: item.network_interface_owner_id,
            private_ip: item.private_ip_address,
            service_managed: item.service_managed,
            tags: tags(item.tags.unwrap_or_default()),
        }
    }
}

fn tags(list: Vec<Object<PrintedTag>>) -> BTreeMap<String, String> {
    list.into_iter().map(|Object(tag)| (tag.key, tag.value.unwrap_or_default())).collect()
}

/// A JSON object, and nothing else: serde's derive would read a struct from
/// a list of its fields too.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        from.deserialize_map(OnlyMap(PhantomData)).map(Object)
    }
}
