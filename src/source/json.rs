//! What `aws ec2 describe-addresses` prints (JSON), as addresses.
//!
//! The file is written by people and scripts, so the reader is strict about
//! what it would have to guess (an address that is none) and lenient about what
//! it does not use: unknown keys are skipped, every key but `PublicIp` may be
//! absent, `null` or `""`. [`usable`](super::usable) says what of it can be
//! used. Items are UTF-8 as a whole, as JSON is (RFC 8259
//! section 8.1).

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::known::Known;
use super::usable::{Gather, ItemFault, Said, Unusable};
use crate::host::background;
use crate::source::inventory::Address;

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

/// A text that was read, and the addresses in it.
#[derive(Debug, Default)]
pub struct Listing {
    text: Vec<u8>,
    /// Where in the text each address stands.
    places: Vec<Range<usize>>,
    said: Said,
}

impl Listing {
    /// Reads the output of `aws ec2 describe-addresses`
    /// (EC2 API reference, `DescribeAddresses`, in the CLI's JSON form).
    ///
    /// Items with the same text as in `before`, in the same order, are not read
    /// once more, and addresses that are as in `before` are the very same.
    ///
    /// # Errors
    /// Any text that leaves a doubt about which addresses it has; nothing is
    /// returned for a part of it.
    pub fn read(text: Vec<u8>, before: &Listing) -> Result<Self, ParseError> {
        let json = text.strip_prefix(BOM).unwrap_or(&text);
        if json.trim_ascii().is_empty() {
            return Err(ParseError::Empty);
        }
        let mut reader = Reader::new(&text, before);
        let mut json = serde_json::Deserializer::from_slice(json);
        let found = Reply(&mut reader).deserialize(&mut json);
        match (found.and_then(|found| json.end().map(|()| found)), reader.fault.take()) {
            (Ok(true), _) => {}
            (Ok(false), _) => return Err(ParseError::NoAddresses),
            (Err(_), Some(fault)) => return Err(fault),
            (Err(error), None) => return Err(from_json(&error, error.line(), error.column())),
        }
        let (all, left_out) = reader.gather.finish();
        let (places, addresses): (_, Vec<_>) = all.map(|item| (item.place, item.address)).unzip();
        let said = Said { addresses: addresses.into(), left_out: left_out.into() };
        Ok(Self { places, said, text })
    }

    /// What was read.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// What it says: the addresses, in their order.
    pub fn said(&self) -> &Said {
        &self.said
    }
}

/// An address and where it stands.
struct Placed {
    place: Range<usize>,
    address: Arc<Address>,
}

impl Borrow<Address> for Placed {
    fn borrow(&self) -> &Address {
        &self.address
    }
}

/// Takes one item after the other.
struct Reader<'r> {
    text: &'r [u8],
    before: &'r Listing,
    known: Known<'r>,
    gather: Gather<Placed>,
    /// What is wrong with the last item: an error of serde carries only text.
    fault: Option<ParseError>,
}

impl<'r> Reader<'r> {
    fn new(text: &'r [u8], before: &'r Listing) -> Self {
        let known = Known::new(&before.said.addresses);
        Self { text, before, known, gather: Gather::new(), fault: None }
    }

    /// Takes the text of an item. It is JSON, and nothing else is known of it.
    fn take(&mut self, item: &str) -> Result<(), ParseError> {
        let place = place_of(item, self.text);
        let as_before = self.before.places.get(self.known.next());
        let as_before = as_before.and_then(|place| self.before.text.get(place.clone()));
        let again = as_before.filter(|as_before| *as_before == item.as_bytes());
        let address = match again.and_then(|_| self.known.again()) {
            Some(address) => address,
            None => match address(item, &place, self.text)? {
                Ok(address) => self.known.share(address),
                Err(why) => {
                    self.gather.leave_out(why);
                    return Ok(());
                }
            },
        };
        self.gather.take(Placed { place, address });
        Ok(())
    }
}

/// Where in `text` a part of it stands.
fn place_of(part: &str, text: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// The address that an item at a place in the text is, or why it is none.
fn address(
    item: &str,
    place: &Range<usize>,
    text: &[u8],
) -> Result<Result<Address, Unusable>, ParseError> {
    let Object(item) = serde_json::from_str::<Object<Item>>(item).map_err(|error| {
        let lines = item.split_inclusive('\n').take(error.line().saturating_sub(1));
        let behind = lines.map(str::len).sum::<usize>() + error.column();
        let (line, column) = line_and_column(text, place.start + behind);
        from_json(&error, line, column)
    })?;
    super::usable::Item::from(item).judge().map_err(|fault| {
        let (line, column) = line_and_column(text, place.end);
        ParseError::Item { line, column, fault }
    })
}

/// Line and column of the last of the first `count` octets.
fn line_and_column(text: &[u8], count: usize) -> (usize, usize) {
    let text = text.get(..count).unwrap_or(text);
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let lines = text.iter().filter(|octet| **octet == b'\n').count();
    (lines + 1, text.rsplit(|octet| *octet == b'\n').next().map_or(0, <[u8]>::len))
}

fn from_json(error: &serde_json::Error, line: usize, column: usize) -> ParseError {
    // serde_json says the place at the end of its text; ours comes first.
    let what = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = what.strip_suffix(&place).unwrap_or(&what).to_owned();
    match error.classify() {
        Category::Eof => ParseError::Truncated { line, column },
        Category::Data => ParseError::Shape { line, column, what },
        Category::Syntax | Category::Io => ParseError::Syntax { line, column, what },
    }
}

/// The whole reply: did it have a list of items?
struct Reply<'a, 'r>(&'a mut Reader<'r>);

impl<'de> DeserializeSeed<'de> for Reply<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reply<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"Addresses\"")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<bool, M::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key != "Addresses" {
                map.next_value::<IgnoredAny>()?;
            } else if found {
                return Err(M::Error::custom("\"Addresses\" stands twice"));
            } else {
                map.next_value_seed(Items(self.0))?;
                found = true;
            }
        }
        Ok(found)
    }
}

/// The list of items.
struct Items<'a, 'r>(&'a mut Reader<'r>);

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of addresses")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while let Some(item) = seq.next_element::<&RawValue>()? {
            background::breathe();
            if let Err(fault) = self.0.take(item.get()) {
                let error = S::Error::custom(&fault);
                self.0.fault = Some(fault);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// An item as it is printed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
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

impl From<Item> for super::usable::Item {
    fn from(item: Item) -> Self {
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
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::source::inventory::Addresses;
    use crate::source::testing::{address, addresses};

    fn parse(text: &[u8]) -> Result<Addresses, ParseError> {
        said(text).map(|said| said.addresses)
    }

    fn said(text: &[u8]) -> Result<Said, ParseError> {
        Listing::read(text.to_vec(), &Listing::default()).map(|listing| listing.said)
    }

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
            *addresses[0],
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
            *addresses[1],
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
                "the address that ends at line 2, column 2: it has no \"PublicIp\"",
            ),
            (
                "{\"Addresses\": [\n{\"PublicIp\": \"75.101.137.2433\"}]}",
                "the address that ends at line 2, column 31: \
                 \"PublicIp\": \"75.101.137.2433\" is not an IPv4 address",
            ),
            (
                "{\"Addresses\": [{\"PublicIp\": \"1.2.3.4\", \"PrivateIpAddress\": \"::1\"}]}",
                "the address that ends at line 1, column 65: \
                 \"PrivateIpAddress\": \"::1\" is not an IPv4 address",
            ),
        ];
        for (text, said) in cases {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), *said, "{text}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_fault() {
        assert_eq!(parse(b"\xef\xbb\xbf{\"Addresses\": []}"), Ok([].into()));
        let error = parse(b"\xef\xbb\xbf{\"Addresses\": [1]}").unwrap_err().to_string();
        assert!(error.starts_with("line 1, column 16: invalid type: integer `1`"), "{error}");
        let error = parse(b"\xef\xbb\xbf{\"Addresses\": [\n{}]}").unwrap_err().to_string();
        assert!(error.starts_with("the address that ends at line 2, column 2: "), "{error}");
    }

    /// Wavelength and Outposts (EC2 API reference, `Address`), and doubles.
    #[test]
    fn what_cannot_be_used_is_left_out_and_the_rest_is_read() {
        let text = br#"{"Addresses": [
            {"PublicIp": "75.101.137.1", "PrivateIpAddress": "10.0.0.1"},
            {"AllocationId": "eipalloc-0c", "Domain": "vpc", "PublicIpv4Pool": "amazon",
             "NetworkBorderGroup": "us-east-1-wl1-bos-wlz-1", "CarrierIp": "155.146.10.111"},
            {"PublicIp": "", "AllocationId": "eipalloc-0d", "CustomerOwnedIp": "192.0.2.7",
             "CustomerOwnedIpv4Pool": "ipv4pool-coip-1"},
            {"PublicIp": "75.101.137.2", "PrivateIpAddress": "10.0.0.2"},
            {"PublicIp": "75.101.137.3", "PrivateIpAddress": "10.0.0.3"},
            {"PublicIp": "75.101.137.2", "PrivateIpAddress": "10.0.0.9"},
            {"PublicIp": "75.101.137.4", "PrivateIpAddress": "0.0.0.0"},
            {"PrivateIpAddress": "10.0.0.3", "PublicIp": "75.101.137.3"}
        ]}"#;
        let said = said(text).unwrap();
        let last = |ip: &Ipv4Addr| ip.octets()[3];
        let all: Vec<_> = said.addresses.iter().map(|a| last(&a.public_ip)).collect();
        assert_eq!(all, [1, 3]);
        assert_eq!(said.left_out.unknown.iter().map(last).collect::<Vec<_>>(), [2, 4]);
        assert_eq!((said.left_out.count, said.left_out.first.len()), (4, 4));
        // Read again as it was, and with the contradiction gone.
        let before = Listing::read(text.to_vec(), &Listing::default()).unwrap();
        let mended = String::from_utf8_lossy(text).replace("10.0.0.9", "10.0.0.2");
        let mended = Listing::read(mended.into_bytes(), &before).unwrap().said;
        let all: Vec<_> = mended.addresses.iter().map(|a| last(&a.public_ip)).collect();
        assert_eq!(all, [1, 2, 3]);
        assert!(Arc::ptr_eq(&mended.addresses[2], &before.said.addresses[1]), "the same memory");
    }

    #[test]
    fn an_item_is_utf_8_as_a_whole() {
        let error = parse(b"{\"Addresses\": [\n{\"PublicIp\": \"1.2.3.4\", \"New\": \"\xe4\"}]}");
        let said = error.unwrap_err().to_string();
        assert!(
            said.starts_with("line 2, column ") && said.contains("not JSON: invalid unicode"),
            "{said}"
        );
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

    /// A text in which some items were exchanged, left out, put in, changed.
    fn edited(all: &[Address], edits: &[(prop::sample::Index, u8)]) -> Vec<Address> {
        let mut all = all.to_vec();
        for (at, edit) in edits {
            if all.is_empty() {
                break;
            }
            let at = at.index(all.len());
            match edit % 4 {
                0 => drop(all.remove(at)),
                1 => all.swap(at, 0),
                2 => all[at].private_ip = Some(Ipv4Addr::new(10, 0, 0, *edit)),
                _ => {
                    let new = Ipv4Addr::new(192, 0, 2, *edit);
                    if all.iter().all(|known| known.public_ip != new) {
                        all.insert(at, address(new));
                    }
                }
            }
        }
        all
    }

    proptest! {
        /// Whatever was read before: the same as without it, and no second
        /// copy of what is as it was.
        #[test]
        fn read_anew_or_as_changed(
            all in addresses(),
            edits in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 0..5),
            pretty in any::<bool>(),
        ) {
            let before = Listing::read(print(&all).into(), &Listing::default()).unwrap();
            let now = edited(&all, &edits);
            let mut text = print(&now);
            if !pretty {
                text = serde_json::from_str::<serde_json::Value>(&text).unwrap().to_string();
            }
            let read = Listing::read(text.clone().into(), &before).unwrap();
            prop_assert!(read.said.addresses.iter().map(|address| &**address).eq(&now));
            prop_assert_eq!(&read.said.addresses, &parse(text.as_bytes()).unwrap());
            for address in &read.said.addresses[..] {
                let known = before.said.addresses.iter().find(|known| *known == address);
                prop_assert!(known.is_none_or(|known| Arc::ptr_eq(known, address)));
            }
            // What was read so is as good for the next time.
            let again = Listing::read(print(&all).into(), &read).unwrap();
            prop_assert_eq!(again.said.addresses, before.said.addresses);
        }

        /// A fault is told as without anything read before.
        #[test]
        fn faults_do_not_depend_on_what_was_read_before(
            all in addresses(),
            at in any::<prop::sample::Index>(),
            with in "[\\[\\]{}\",:0-9a-z]{0,4}",
        ) {
            let before = Listing::read(print(&all).into(), &Listing::default()).unwrap();
            let mut text = print(&all);
            let at = at.index(text.len() + 1);
            if text.is_char_boundary(at) {
                text.insert_str(at, &with);
            }
            let read = Listing::read(text.clone().into(), &before).map(|read| read.said.addresses);
            prop_assert_eq!(read, parse(text.as_bytes()));
        }

        #[test]
        fn round_trip(all in addresses()) {
            let read = parse(print(&all).as_bytes()).unwrap();
            prop_assert!(read.iter().map(|address| &**address).eq(&all));
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
                let ips: HashSet<_> = read.iter().map(|a| a.public_ip).collect();
                prop_assert_eq!(ips.len(), read.len());
            }
        }
    }
}
