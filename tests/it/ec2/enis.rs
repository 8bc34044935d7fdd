//! What the scripted EC2 says of network interfaces.

use std::collections::BTreeMap;

use super::scripted::{Fault, envelope, error, location, ok, service_model};
use super::web::Request;

/// What one has: its addresses in order, and the primary one.
type Addresses = (Vec<String>, Option<String>);

/// The interfaces of an account and region, by id.
pub(super) struct Interfaces {
    all: BTreeMap<String, Addresses>,
    fault: Fault,
    /// So many are on a page.
    on_a_page: usize,
    /// For which each call asked: one for each page.
    calls: Vec<Vec<String>>,
}

impl Default for Interfaces {
    fn default() -> Self {
        let (all, calls) = Default::default();
        Self { all, calls, fault: Fault::None, on_a_page: 1000 }
    }
}

impl Interfaces {
    /// From now on it has these addresses.
    pub(super) fn set(&mut self, id: &str, addresses: &[&str], primary: Option<&str>) {
        let addresses = addresses.iter().map(|ip| (*ip).to_owned()).collect();
        self.all.insert(id.into(), (addresses, primary.map(str::to_owned)));
    }

    /// From now on it is not shown.
    pub(super) fn forget(&mut self, id: &str) {
        self.all.remove(id);
    }

    /// From now on.
    pub(super) fn fault(&mut self, fault: Fault) {
        self.fault = fault;
    }

    /// From now on so many are on a page at most.
    pub(super) fn paged(&mut self, on_a_page: usize) {
        self.on_a_page = on_a_page;
    }

    /// For which each call asked.
    pub(super) fn calls(&self) -> &[Vec<String>] {
        &self.calls
    }

    pub(super) fn reply(&mut self, request: &Request) -> Vec<u8> {
        let values = (1..).map_while(|nth| request.parameter(&format!("Filter.1.Value.{nth}")));
        let asked: Vec<String> = values.map(str::to_owned).collect();
        self.calls.push(asked.clone());
        // EC2 API reference, "DescribeNetworkInterfaces": filters have up to 200 values, and
        // MaxResults is 5 to 1000.
        let most = request.parameter("MaxResults").and_then(|most| most.parse().ok());
        let is_valid = request.parameter("Filter.1.Name") == Some("network-interface-id")
            && (1..=200).contains(&asked.len())
            && most.is_some_and(|most: usize| (5..=1000).contains(&most))
            && request.parameter("NetworkInterfaceId.1").is_none();
        if !is_valid {
            return error("400 Bad Request", "InvalidParameterValue");
        }
        let from = request.parameter("NextToken").map_or(0, |token| token.parse().unwrap());
        let found: Vec<_> =
            self.all.iter().filter(|(id, _)| asked.contains(id)).skip(from).collect();
        let here = self.on_a_page.min(most.unwrap_or_default());
        let items: String = found.iter().take(here).map(|(id, has)| item(id, has)).collect();
        let next = (found.len() > here).then(|| format!("<nextToken>{}</nextToken>", from + here));
        let set = format!("<networkInterfaceSet>{items}</networkInterfaceSet>");
        let page = envelope("DescribeNetworkInterfaces", &(set + &next.unwrap_or_default()));
        match self.fault {
            Fault::None => ok("text/xml;charset=UTF-8", &page),
            Fault::Throttled => error("503 Service Unavailable", "RequestLimitExceeded"),
            Fault::Unauthorised => error("403 Forbidden", "UnauthorizedOperation"),
            Fault::CutInItem => {
                let within = page.rfind("<ipv6AddressesSet>").expect("an interface") + 3;
                ok("text/xml;charset=UTF-8", &page[..within])
            }
            other => panic!("interfaces know no {other:?}"),
        }
    }
}

fn item(id: &str, (addresses, primary): &Addresses) -> String {
    let address = |ip: &String| {
        format!(
            "<item><ipv6Address>{ip}</ipv6Address>\
             <isPrimaryIpv6>{}</isPrimaryIpv6></item>",
            primary.as_ref() == Some(ip)
        )
    };
    let addresses: String = addresses.iter().map(address).collect();
    format!(
        "<item><networkInterfaceId>{id}</networkInterfaceId><status>in-use</status>\
         <ipv6AddressesSet>{addresses}</ipv6AddressesSet><tagSet/></item>"
    )
}

#[test]
fn fields_are_those_of_the_service_model() {
    let Some(model) = service_model() else { return };
    let location = |shape: &str, member: &str| location(&model, shape, member);
    let item_of =
        |shape: &str| model["shapes"][shape]["member"]["locationName"].as_str().unwrap().to_owned();
    let result = "DescribeNetworkInterfacesResult";
    let [set, next] = ["NetworkInterfaces", "NextToken"].map(|member| location(result, member));
    let [id, status, addresses, tags] = ["NetworkInterfaceId", "Status", "Ipv6Addresses", "TagSet"]
        .map(|member| location("NetworkInterface", member));
    let [ip, primary] = ["Ipv6Address", "IsPrimaryIpv6"]
        .map(|member| location("NetworkInterfaceIpv6Address", member));
    let items = ["NetworkInterfaceList", "NetworkInterfaceIpv6AddressesList"].map(item_of);
    assert_eq!(items, ["item", "item"]);
    assert_eq!((set.as_str(), next.as_str()), ("networkInterfaceSet", "nextToken"));
    assert_eq!(
        item("eni-1", &(vec!["2001:db8::1".into()], None)),
        format!(
            "<item><{id}>eni-1</{id}><{status}>in-use</{status}><{addresses}><item>\
             <{ip}>2001:db8::1</{ip}><{primary}>false</{primary}></item></{addresses}><{tags}/></item>"
        )
    );
}
