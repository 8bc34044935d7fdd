//! What `aws ec2 describe-network-interfaces` prints (JSON), as interfaces and their IPv6
//! addresses.
//!
//! It is read as addresses are: only `NetworkInterfaceId` and `Ipv6Addresses` are used, unknown
//! keys are skipped, and an interface whose addresses are none that a host can have is left out.

use serde::Deserialize;

use super::item::{Object, text};
use super::reply::{Form, Place, printed, read};
use super::{Contents, ParseError, digest};
use crate::source::interfaces::Described;
use crate::source::interfaces::usable::{Gather, Item, ItemAddress};

/// The interfaces in a text that was read, and a digest of that.
#[derive(Debug, Default)]
pub struct Listing {
    digest: u128,
    described: Described,
}

impl Listing {
    /// Reads the output of `aws ec2 describe-network-interfaces`
    /// (EC2 API reference, `DescribeNetworkInterfaces`, in the CLI's JSON form).
    ///
    /// # Errors
    /// Any text that leaves a doubt about which interfaces it has; nothing is
    /// returned for a part of it.
    pub fn read(text: &[u8]) -> Result<Self, ParseError> {
        let mut gather = Gather::default();
        read(Form::Interfaces, text, |item: &str, place: Place<'_>| {
            let item: PrintedItem = printed(item, place)?;
            let judged = Item::from(item).judge().map_err(|fault| place.fault(fault))?;
            gather.take(judged);
            Ok(())
        })?;
        Ok(Self { digest: digest(text), described: gather.finish() })
    }

    /// What it says: the interfaces, in order of their ids, and what of it cannot be used.
    pub fn described(&self) -> &Described {
        &self.described
    }
}

impl Contents for Listing {
    fn read(text: &[u8], _: &Self) -> Result<Self, ParseError> {
        Self::read(text)
    }

    fn is_of(&self, text: &[u8]) -> bool {
        self.digest == digest(text)
    }
}

/// An item as it is printed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PrintedItem {
    #[serde(default, deserialize_with = "text")]
    network_interface_id: Option<String>,
    #[serde(default)]
    ipv6_addresses: Option<Vec<Object<PrintedAddress>>>,
}

/// One of its addresses.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PrintedAddress {
    #[serde(default, deserialize_with = "text")]
    ipv6_address: Option<String>,
    #[serde(default)]
    is_primary_ipv6: Option<bool>,
}

impl From<PrintedItem> for Item {
    fn from(item: PrintedItem) -> Self {
        let address = |Object(address): Object<PrintedAddress>| ItemAddress {
            ip: address.ipv6_address,
            is_primary: address.is_primary_ipv6.unwrap_or_default(),
        };
        let addresses = item.ipv6_addresses.unwrap_or_default();
        Self {
            id: item.network_interface_id,
            addresses: addresses.into_iter().map(address).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::interfaces::Interface;

    fn all(text: &str) -> Vec<(String, Vec<String>, Option<String>)> {
        let listing = Listing::read(text.as_bytes()).unwrap();
        let shown = |i: &Interface| {
            let addresses = i.addresses.iter().map(ToString::to_string).collect();
            (i.id.to_string(), addresses, i.primary.map(|ip| ip.to_string()))
        };
        listing.described().interfaces.iter().map(shown).collect()
    }

    #[test]
    fn what_the_cli_prints() {
        // AWS CLI command reference, "describe-network-interfaces", shortened.
        let text = r#"{
    "NetworkInterfaces": [
        {
            "Attachment": {"AttachmentId": "eni-attach-66c4350a", "DeviceIndex": 1},
            "InterfaceType": "interface",
            "Ipv6Addresses": [
                {"Ipv6Address": "2001:db8:1234:1a00:9691:9503:25ad:1761"},
                {"Ipv6Address": "2001:0DB8:1234:1A00:0:0:0:7", "IsPrimaryIpv6": true,
                 "PublicIpv6DnsName": "ec2-example"},
                {"Ipv6Address": "2001:db8:1234:1a00::7", "IsPrimaryIpv6": false}
            ],
            "NetworkInterfaceId": "eni-686ea200",
            "PrivateIpAddress": "10.0.1.17",
            "TagSet": []
        },
        {"NetworkInterfaceId": "eni-1", "Ipv6Addresses": []},
        {"NetworkInterfaceId": "eni-2", "Ipv6Addresses": null},
        {"NetworkInterfaceId": "eni-3"}
    ],
    "NextToken": null
}"#;
        let (first, second) = ("2001:db8:1234:1a00:9691:9503:25ad:1761", "2001:db8:1234:1a00::7");
        let none = |id: &str| (id.to_owned(), vec![], None);
        assert_eq!(
            all(text),
            [
                none("eni-1"),
                none("eni-2"),
                none("eni-3"),
                ("eni-686ea200".into(), vec![first.into(), second.into()], Some(second.into())),
            ]
        );
    }

    #[test]
    fn faults_name_their_place() {
        let cases: &[(&str, &str)] = &[
            ("", "it is empty; put the output of `aws ec2 describe-network-interfaces` there"),
            (
                "{\"NetworkInterfaces\": [",
                "line 1, column 23: the JSON ends too early; is it still being written?",
            ),
            (
                "{\"Addresses\": []}",
                "there is no \"NetworkInterfaces\" key; \
                 an account without network interfaces has \"NetworkInterfaces\": []",
            ),
            (
                "{\"NetworkInterfaces\": [{\"NetworkInterfaceId\": \"\"}]}",
                "the network interface that ends at line 1, column 49: \
                 it has no \"NetworkInterfaceId\"",
            ),
            (
                "{\"NetworkInterfaces\": [{\"NetworkInterfaceId\": \"eni-1\",\n\"Ipv6Addresses\": [\"::2\"]}]}",
                "line 2, column 23: invalid type: string \"::2\", expected an object; \
                 expected the form that `aws ec2 describe-network-interfaces` prints",
            ),
            (
                "{\"NetworkInterfaces\": {}}",
                "line 1, column 22: invalid type: map, expected a list of network interfaces; \
                 expected the form that `aws ec2 describe-network-interfaces` prints",
            ),
        ];
        for (text, said) in cases {
            let error = Listing::read(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), *said, "{text}");
        }
    }

    #[test]
    fn an_interface_that_cannot_be_used_is_left_out_and_the_rest_is_read() {
        let text = r#"{"NetworkInterfaces": [
            {"NetworkInterfaceId": "eni-1", "Ipv6Addresses": [{"Ipv6Address": "2001:db8::1"}]},
            {"NetworkInterfaceId": "eni-2", "Ipv6Addresses": [{"Ipv6Address": "10.0.0.1"}]},
            {"NetworkInterfaceId": "eni-3", "Ipv6Addresses": [{"Ipv6Address": "2001:db8::3"}]},
            {"NetworkInterfaceId": "eni-3", "Ipv6Addresses": []},
            {"NetworkInterfaceId": "eni-4", "Ipv6Addresses": [{"Ipv6Address": "fe80::4"}]},
            {"NetworkInterfaceId": "eni-5", "Ipv6Addresses": [{}]},
            {"NetworkInterfaceId": "eni-1", "Ipv6Addresses": [{"Ipv6Address": "2001:db8:0::1"}]}
        ]}"#;
        assert_eq!(all(text), [("eni-1".into(), vec!["2001:db8::1".into()], None)]);
        let listing = Listing::read(text.as_bytes()).unwrap();
        let why: Vec<_> =
            listing.described().left_out.first.iter().map(ToString::to_string).collect();
        let stands = |id: &str, what: &str| format!("{id} {what}; what was known of {id} stands");
        let bad = |text: &str| format!("has \"Ipv6Address\": \"{text}\", which no host can have");
        let twice = "stands in it more than once, with different contents";
        assert_eq!(
            why,
            [
                stands("eni-2", &bad("10.0.0.1")),
                stands("eni-3", twice),
                stands("eni-4", &bad("fe80::4")),
                stands("eni-5", &bad("")),
            ]
        );
        assert_eq!(listing.described().left_out.count, 4);
    }

    proptest! {
        #[test]
        fn any_octets(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Listing::read(&text);
        }

        #[test]
        fn no_part_of_a_text_is_taken_for_the_whole(
            all in proptest::collection::vec((0..9u8, proptest::collection::vec(any::<u128>(), 0..3)), 0..4),
            end in any::<prop::sample::Index>(),
        ) {
            let address = |ip: &u128| {
                serde_json::json!({ "Ipv6Address": std::net::Ipv6Addr::from(*ip), "IsPrimaryIpv6": false })
            };
            let items: Vec<_> = all.iter().map(|(n, ips)| serde_json::json!({
                "NetworkInterfaceId": format!("eni-{n}"),
                "Ipv6Addresses": ips.iter().map(address).collect::<Vec<_>>(),
            })).collect();
            let text = serde_json::json!({ "NetworkInterfaces": items }).to_string();
            Listing::read(text.as_bytes()).unwrap();
            let cut = &text.as_bytes()[..end.index(text.len())];
            Listing::read(cut).unwrap_err();
        }
    }
}
