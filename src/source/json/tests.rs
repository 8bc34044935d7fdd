use std::collections::HashSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::source::identity::{EdgeIp, Identity};
use crate::source::inventory::Addresses;
use crate::source::testing::{address, addresses};

fn parse(text: &[u8]) -> Result<Addresses, ParseError> {
    said(text).map(|said| said.addresses)
}

fn said(text: &[u8]) -> Result<Said, ParseError> {
    Listing::read(text, &Listing::default()).map(|listing| listing.said)
}

fn carrier(address: &Address) -> Option<Ipv4Addr> {
    let Some(EdgeIp::Carrier(ip)) = address.identity.edge_ip() else { return None };
    Some(ip)
}

fn customer_owned(address: &Address) -> Option<Ipv4Addr> {
    let Some(EdgeIp::CustomerOwned(ip)) = address.identity.edge_ip() else { return None };
    Some(ip)
}

/// `addresses` as the CLI prints them.
fn print(addresses: &[Address]) -> String {
    let items: Vec<_> = addresses
        .iter()
        .map(|a| {
            json!({
                "PublicIp": a.public_ip(),
                "AllocationId": a.allocation_id(),
                "CarrierIp": carrier(a),
                "CustomerOwnedIp": customer_owned(a),
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
            identity: Identity::Public {
                public_ip: Ipv4Addr::new(75, 101, 137, 243),
                allocation_id: Some("eipalloc-01".into()),
            },
            association_id: Some("eipassoc-01".into()),
            instance_id: Some("i-0aa".into()),
            network_interface_id: Some("eni-01".into()),
            network_interface_owner_id: Some("111122223333".into()),
            private_ip: Some(Ipv4Addr::new(10, 0, 1, 5)),
            service_managed: None,
            tags: [("Role", "db"), ("Spare", "")].into(),
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
             "CustomerOwnedIpv4Pool": "ipv4pool-coip-1", "PrivateIpAddress": "10.0.0.7"},
            {"CarrierIp": "155.146.10.112"},
            {"AllocationId": "eipalloc-0e", "CarrierIp": "155.146.10.256"},
            {"PublicIp": "75.101.137.2", "PrivateIpAddress": "10.0.0.2"},
            {"PublicIp": "75.101.137.3", "PrivateIpAddress": "10.0.0.3"},
            {"PublicIp": "75.101.137.2", "PrivateIpAddress": "10.0.0.9"},
            {"PublicIp": "75.101.137.4", "PrivateIpAddress": "0.0.0.0"},
            {"PrivateIpAddress": "10.0.0.3", "PublicIp": "75.101.137.3"}
        ]}"#;
    let said = said(text).unwrap();
    let all = |said: &Said| -> Vec<_> {
        said.addresses.iter().map(|address| address.allocation().to_string()).collect()
    };
    let known = ["75.101.137.1", "eipalloc-0c", "eipalloc-0d", "75.101.137.3"];
    assert_eq!(all(&said), known);
    let edge_ips = [1, 2].map(|nth: usize| said.addresses[nth].identity.edge_ip().unwrap());
    assert_eq!(edge_ips[0], EdgeIp::Carrier(Ipv4Addr::new(155, 146, 10, 111)));
    assert_eq!(edge_ips[1], EdgeIp::CustomerOwned(Ipv4Addr::new(192, 0, 2, 7)));
    assert_eq!(said.addresses[2].private_ip, Some(Ipv4Addr::new(10, 0, 0, 7)));
    let unknown = ["75.101.137.2", "75.101.137.4", "eipalloc-0e"].map(|one| one.parse().unwrap());
    assert_eq!(said.left_out.unknown, unknown.into());
    assert_eq!((said.left_out.count, said.left_out.first.len()), (4, 4));
    // Read again as it was, and with the contradiction gone.
    let before = Listing::read(text, &Listing::default()).unwrap();
    let mended = String::from_utf8_lossy(text).replace("10.0.0.9", "10.0.0.2");
    let mended = Listing::read(mended.as_bytes(), &before).unwrap().said;
    assert_eq!(all(&mended), [&known[..3], &["75.101.137.2"], &known[3..]].concat());
    assert!(Arc::ptr_eq(&mended.addresses[4], &before.said.addresses[3]), "the same memory");
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
    all[0].tags.insert("Role", "d\"b }]}");
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
                if all.iter().all(|known| known.public_ip() != Some(new)) {
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
        let before = Listing::read(print(&all).as_bytes(), &Listing::default()).unwrap();
        let now = edited(&all, &edits);
        let mut text = print(&now);
        if !pretty {
            text = serde_json::from_str::<serde_json::Value>(&text).unwrap().to_string();
        }
        let read = Listing::read(text.as_bytes(), &before).unwrap();
        prop_assert!(read.said.addresses.iter().map(|address| &**address).eq(&now));
        prop_assert_eq!(&read.said.addresses, &parse(text.as_bytes()).unwrap());
        for address in &read.said.addresses[..] {
            let known = before.said.addresses.iter().find(|known| *known == address);
            prop_assert!(known.is_none_or(|known| Arc::ptr_eq(known, address)));
        }
        // What was read so is as good for the next time.
        let again = Listing::read(print(&all).as_bytes(), &read).unwrap();
        prop_assert_eq!(again.said.addresses, before.said.addresses);
    }

    /// A fault is told as without anything read before.
    #[test]
    fn faults_do_not_depend_on_what_was_read_before(
        all in addresses(),
        at in any::<prop::sample::Index>(),
        with in "[\\[\\]{}\",:0-9a-z]{0,4}",
    ) {
        let before = Listing::read(print(&all).as_bytes(), &Listing::default()).unwrap();
        let mut text = print(&all);
        let at = at.index(text.len() + 1);
        if text.is_char_boundary(at) {
            text.insert_str(at, &with);
        }
        let read = Listing::read(text.as_bytes(), &before).map(|read| read.said.addresses);
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
            let different: HashSet<_> = read.iter().map(|a| a.allocation()).collect();
            prop_assert_eq!(different.len(), read.len());
        }
    }
}
