//! What `aws ec2 describe-addresses` prints (JSON), as addresses.
//!
//! The file is written by people and scripts, so the reader is strict about
//! what it would have to guess (a second entry for one Elastic IP, an address
//! that is none) and lenient about what it does not use: unknown keys are
//! skipped, every key but `PublicIp` may be absent, `null` or `""`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::net::Ipv4Addr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use crate::inventory::Address;

/// UTF-8 byte order mark: some editors write one.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Why a text is not a list of addresses. Lines and columns count from 1;
/// column 0 is the start of the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No octet in it but white space.
    #[error("it is empty; put the output of `aws ec2 describe-addresses` there")]
    Empty,
    /// It stops in the middle.
    #[error("line {line}, column {column}: the JSON ends too early; is it still being written?")]
    Truncated {
        /// Last line.
        line: usize,
        /// Its last column.
        column: usize,
    },
    /// Not JSON.
    #[error("line {line}, column {column}: not JSON: {what}")]
    Syntax {
        /// Where reading stopped.
        line: usize,
        /// Where reading stopped.
        column: usize,
        /// What the JSON reader says.
        what: String,
    },
    /// JSON, but not that of `describe-addresses`.
    #[error(
        "line {line}, column {column}: {what}; \
         expected the form that `aws ec2 describe-addresses` prints"
    )]
    Shape {
        /// Where the value ends.
        line: usize,
        /// Where the value ends.
        column: usize,
        /// What the JSON reader says.
        what: String,
    },
    /// An object without `Addresses`.
    #[error("there is no \"Addresses\" key; an account without addresses has \"Addresses\": []")]
    NoAddresses,
    /// One of the addresses is unusable.
    #[error("the address that ends at line {line}, column {column}: {fault}")]
    Item {
        /// Where its object ends.
        line: usize,
        /// Where its object ends.
        column: usize,
        /// What is wrong with it.
        fault: ItemFault,
    },
}

/// Why one item is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemFault {
    /// No `PublicIp`, or an empty one.
    #[error("it has no \"PublicIp\"")]
    NoPublicIp,
    /// A key that holds an address does not.
    #[error("\"{key}\": \"{text}\" is not an IPv4 address")]
    BadIp {
        /// The key.
        key: &'static str,
        /// Its value.
        text: String,
    },
    /// The Elastic IP stands in an earlier item too.
    #[error("{0} stands twice; keep one of the two")]
    Twice(Ipv4Addr),
}

/// Reads the output of `aws ec2 describe-addresses`
/// (EC2 API reference, `DescribeAddresses`, in the CLI's JSON form).
///
/// # Errors
/// Any text that leaves a doubt about what it says; nothing is returned for
/// a part of it.
pub fn parse(text: &[u8]) -> Result<Vec<Address>, ParseError> {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    if text.trim_ascii().is_empty() {
        return Err(ParseError::Empty);
    }
    let mut fault = None;
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Reply { fault: &mut fault }
        .deserialize(&mut reader)
        .and_then(|found| reader.end().map(|()| found));
    match (read, fault) {
        (Ok(Some(addresses)), _) => Ok(addresses),
        (Ok(None), _) => Err(ParseError::NoAddresses),
        (Err(e), Some(fault)) => {
            Err(ParseError::Item { line: e.line(), column: e.column(), fault })
        }
        (Err(e), None) => Err(from_json(&e)),
    }
}

fn from_json(error: &serde_json::Error) -> ParseError {
    let (line, column) = (error.line(), error.column());
    // serde_json says the place at the end of its text; ours comes first.
    let what = error.to_string();
    let place = format!(" at line {line} column {column}");
    let what = what.strip_suffix(&place).unwrap_or(&what).to_owned();
    match error.classify() {
        Category::Eof => ParseError::Truncated { line, column },
        Category::Data => ParseError::Shape { line, column, what },
        Category::Syntax | Category::Io => ParseError::Syntax { line, column, what },
    }
}

/// The whole reply. An item's fault leaves through `fault`: a serde error
/// carries only text, but it brings the place.
struct Reply<'f> {
    fault: &'f mut Option<ItemFault>,
}

impl<'de> DeserializeSeed<'de> for Reply<'_> {
    type Value = Option<Vec<Address>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reply<'_> {
    type Value = Option<Vec<Address>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"Addresses\"")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "Addresses" {
                map.next_value::<IgnoredAny>()?;
            } else if found.is_some() {
                return Err(M::Error::custom("\"Addresses\" stands twice"));
            } else {
                found = Some(map.next_value_seed(Items { fault: &mut *self.fault })?);
            }
        }
        Ok(found)
    }
}

/// The list of items.
struct Items<'f> {
    fault: &'f mut Option<ItemFault>,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = Vec<Address>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Vec<Address>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of addresses")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
        let mut addresses = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(Object(item)) = seq.next_element::<Object<Item>>()? {
            let address = Address::try_from(item).and_then(|address| {
                let new = seen.insert(address.public_ip);
                if new { Ok(address) } else { Err(ItemFault::Twice(address.public_ip)) }
            });
            match address {
                Ok(address) => addresses.push(address),
                Err(fault) => {
                    let error = S::Error::custom(&fault);
                    *self.fault = Some(fault);
                    return Err(error);
                }
            }
        }
        Ok(addresses)
    }
}

/// An item as it is printed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    #[serde(default, deserialize_with = "text")]
    public_ip: Option<String>,
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
    tags: Option<Vec<Object<Tag>>>,
}

/// A tag as it is printed. An empty value is a value.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    #[serde(default)]
    value: Option<String>,
}

/// A string; `null` and `""` are none.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.filter(|text| !text.is_empty()))
}

impl TryFrom<Item> for Address {
    type Error = ItemFault;

    fn try_from(item: Item) -> Result<Self, ItemFault> {
        let public_ip = item.public_ip.ok_or(ItemFault::NoPublicIp)?;
        let private_ip = item.private_ip_address;
        Ok(Address {
            public_ip: ip("PublicIp", public_ip)?,
            allocation_id: item.allocation_id,
            association_id: item.association_id,
            instance_id: item.instance_id,
            network_interface_id: item.network_interface_id,
            network_interface_owner_id: item.network_interface_owner_id,
            private_ip: private_ip.map(|text| ip("PrivateIpAddress", text)).transpose()?,
            service_managed: item.service_managed,
            tags: tags(item.tags.unwrap_or_default()),
        })
    }
}

fn ip(key: &'static str, text: String) -> Result<Ipv4Addr, ItemFault> {
    text.parse().map_err(|_| ItemFault::BadIp { key, text })
}

fn tags(list: Vec<Object<Tag>>) -> BTreeMap<String, String> {
    list.into_iter().map(|Object(tag)| (tag.key, tag.value.unwrap_or_default())).collect()
}

/// A JSON object, and nothing else: serde's derive would read a struct from
/// a list of its fields too.
struct Object<T>(T);

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::source::testing::{address, addresses};

    /// `addresses` as the CLI prints them.
    fn print(addresses: &[Address]) -> String {
        let items: Vec<_> = addresses
            .iter()
            .map(|a| {
                json!({
                    "PublicIp": a.public_ip,
                    "AllocationId": a.allocation_id,
                    "AssociationId": a.association_id.clone().unwrap_or_default(),
                    "InstanceId": a.instance_id.clone().unwrap_or_default(),
                    "NetworkInterfaceId": a.network_interface_id.clone().unwrap_or_default(),
                    "NetworkInterfaceOwnerId": a.network_interface_owner_id,
                    "PrivateIpAddress": a.private_ip,
                    "ServiceManaged": a.service_managed,
                    "Domain": "vpc",
                    "Tags": a.tags.iter()
                        .map(|(key, value)| json!({ "Key": key, "Value": value }))
                        .collect::<Vec<_>>(),
                })
            })
            .collect();
        serde_json::to_string_pretty(&json!({ "Addresses": items })).unwrap()
    }

    #[test]
    fn what_the_cli_prints() {
        let text = br#"{
    "Addresses": [
        {
            "InstanceId": "i-0aa",
            "PublicIp": "75.101.137.243",
            "AllocationId": "eipalloc-01",
            "AssociationId": "eipassoc-01",
            "Domain": "vpc",
            "NetworkInterfaceId": "eni-01",
            "NetworkInterfaceOwnerId": "111122223333",
            "PrivateIpAddress": "10.0.1.5",
            "Tags": [{"Key": "Role", "Value": "db"}, {"Key": "Spare", "Value": ""}],
            "PublicIpv4Pool": "amazon",
            "NetworkBorderGroup": "us-east-1"
        },
        {
            "PublicIp": "75.101.137.244",
            "InstanceId": "",
            "NetworkInterfaceId": null,
            "PrivateIpAddress": "",
            "ServiceManaged": "nlb"
        }
    ]
}"#;
        let addresses = parse(text).unwrap();
        assert_eq!(addresses.len(), 2);
        assert_eq!(
            addresses[0],
            Address {
                public_ip: Ipv4Addr::new(75, 101, 137, 243),
                allocation_id: Some("eipalloc-01".into()),
                association_id: Some("eipassoc-01".into()),
                instance_id: Some("i-0aa".into()),
                network_interface_id: Some("eni-01".into()),
                network_interface_owner_id: Some("111122223333".into()),
                private_ip: Some(Ipv4Addr::new(10, 0, 1, 5)),
                service_managed: None,
                tags: [("Role", "db"), ("Spare", "")]
                    .map(|(k, v)| (k.to_owned(), v.to_owned()))
                    .into(),
            }
        );
        assert_eq!(
            addresses[1],
            Address {
                service_managed: Some("nlb".into()),
                ..address(Ipv4Addr::new(75, 101, 137, 244))
            }
        );
    }

    #[test]
    fn faults_name_their_place() {
        let cases: &[(&str, &str)] = &[
            ("", "it is empty; put the output of `aws ec2 describe-addresses` there"),
            (" \n\t ", "it is empty; put the output of `aws ec2 describe-addresses` there"),
            (
                "{\n \"Addresses\": [\n",
                "line 3, column 0: the JSON ends too early; is it still being written?",
            ),
            ("<html>", "line 1, column 1: not JSON: expected value"),
            ("{\"Addresses\": []} x", "line 1, column 19: not JSON: trailing characters"),
            (
                "[]",
                "line 1, column 0: invalid type: sequence, expected an object with \"Addresses\"; \
                 expected the form that `aws ec2 describe-addresses` prints",
            ),
            (
                "{\"Addresses\": [[\"1.2.3.4\"]]}",
                "line 1, column 15: invalid type: sequence, expected an object; \
                 expected the form that `aws ec2 describe-addresses` prints",
            ),
            (
                "{\"Addresses\": [], \"Addresses\": []}",
                "line 1, column 29: \"Addresses\" stands twice; \
                 expected the form that `aws ec2 describe-addresses` prints",
            ),
            (
                "{}",
                "there is no \"Addresses\" key; \
                 an account without addresses has \"Addresses\": []",
            ),
            (
                "{\"Addresses\": [\n{}]}",
                "the address that ends at line 2, column 3: it has no \"PublicIp\"",
            ),
            (
                "{\"Addresses\": [\n{\"PublicIp\": \"75.101.137.2433\"}]}",
                "the address that ends at line 2, column 32: \
                 \"PublicIp\": \"75.101.137.2433\" is not an IPv4 address",
            ),
            (
                "{\"Addresses\": [{\"PublicIp\": \"1.2.3.4\", \"PrivateIpAddress\": \"::1\"}]}",
                "the address that ends at line 1, column 66: \
                 \"PrivateIpAddress\": \"::1\" is not an IPv4 address",
            ),
            (
                "{\"Addresses\": [{\"PublicIp\": \"1.2.3.4\"},\n{\"PublicIp\": \"1.2.3.4\"}]}",
                "the address that ends at line 2, column 24: \
                 1.2.3.4 stands twice; keep one of the two",
            ),
        ];
        for (text, said) in cases {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), *said, "{text}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_fault() {
        assert_eq!(parse(b"\xef\xbb\xbf{\"Addresses\": []}"), Ok(vec![]));
    }

    #[test]
    fn no_part_of_a_text_is_taken_for_the_whole() {
        let mut all = vec![address(Ipv4Addr::new(1, 2, 3, 4)), address(Ipv4Addr::new(1, 2, 3, 5))];
        all[0].tags.insert("Role".into(), "d\"b }]}".into());
        let text = print(&all);
        for end in 0..text.len() {
            parse(&text.as_bytes()[..end]).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn round_trip(all in addresses()) {
            prop_assert_eq!(parse(print(&all).as_bytes()), Ok(all));
        }

        #[test]
        fn any_octets(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text);
        }

        #[test]
        fn any_octets_in_place_of_some(
            all in addresses(),
            at in any::<prop::sample::Index>(),
            with in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let mut text = print(&all).into_bytes();
            let at = at.index(text.len());
            let end = text.len().min(at + with.len());
            text.splice(at..end, with);
            // Whatever is read is at least without doubles.
            if let Ok(read) = parse(&text) {
                let ips: BTreeSet<_> = read.iter().map(|a| a.public_ip).collect();
                prop_assert_eq!(ips.len(), read.len());
            }
        }
    }
}
