//! Why a client is answered what it is answered: view, zone, binding, Elastic
//! IP, allocation, association, age, and the answer as dig prints it.

mod reply;
mod reverse;
#[cfg(test)]
mod tests;
mod text;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use hickory_proto::rr::RecordType;
use serde::{Deserialize, Serialize};

use crate::answer::lookup;
use crate::compile::{Index, Input, Sighting, names};
use crate::config::{Binding, SourceId, Target, ViewId};
use crate::dns::ec2_name;
use crate::dns::name::Key;
use crate::dns::reverse::address_of;
use crate::host::background::breathing;
use crate::snapshot::overlay::{Authority, Overlay};
use crate::snapshot::reverse::{Pointer, SERIAL};
use crate::snapshot::{Data, Snapshot, ViewTable, ZoneTable};
use crate::source::allocation::Allocation;
use crate::source::discover::{Claim, Problem};
use crate::source::identity::EdgeIp;
use crate::source::inventory::{Address, Inventory, SourceInventory};
use crate::status::near::near;
use crate::store::Current;

/// In place of a response code: upstreams are asked, and theirs counts.
pub(crate) const ELSEWHERE: &str = "none yet: upstreams are asked";

/// The standing of an address that is as EC2 says, and held by nobody.
const NOT_ASSOCIATED: &str = "live: allocated, not associated with anything";

/// Of names that may have been meant, so many are named.
const MAX_NEAR: usize = 3;

/// There is no such name.
const NXDOMAIN: &str = "NXDOMAIN";

/// Everything there is to say about one question in one view. As of a status, a
/// missing key is an error (see [`report`](super::report)).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// Is it what a server would answer that starts now, and not the running
    /// one's word?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offline: bool,
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    pub rtype: String,
    /// The client, when one was given.
    #[serde(deserialize_with = "Option::deserialize")]
    pub client: Option<IpAddr>,
    /// Its view; none: refused.
    #[serde(deserialize_with = "Option::deserialize")]
    pub view: Option<String>,
    /// The zone the name lies in, with the file that describes it.
    #[serde(deserialize_with = "Option::deserialize")]
    pub zone: Option<ZoneOf>,
    /// The binding that decides, if one does.
    #[serde(deserialize_with = "Option::deserialize")]
    pub binding: Option<BindingOf>,
    /// Addresses the binding found; the chosen ones are answered.
    pub addresses: Vec<AddressOf>,
    /// What was made of it: what the name stands for, whatever type is asked for.
    #[serde(deserialize_with = "Option::deserialize")]
    pub resolved: Option<String>,
    /// The name exists, and has nothing of the type that is asked for.
    pub nodata: bool,
    /// Why tags that have the name do not give it, or not in every view.
    pub tag_problems: Vec<String>,
    /// Of the name of an address: which names have it, and which PTR records there are.
    pub reverse: Vec<String>,
    /// Names that may have been meant, where there is no such name.
    pub near: Vec<String>,
    /// The response code, or [`ELSEWHERE`].
    pub status: String,
    /// The answer as dig prints it.
    pub answer: String,
}

/// A zone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ZoneOf {
    /// Its origin.
    pub origin: String,
    /// Its file.
    pub file: String,
    /// Its serial.
    pub serial: u32,
}

/// A binding.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BindingOf {
    /// The bound name; a wildcard's may differ from the one asked for.
    pub name: String,
    /// `file:line`.
    pub place: String,
    /// What it is bound to.
    pub target: String,
    /// The mode in this view; none: absent here.
    #[serde(deserialize_with = "Option::deserialize")]
    pub mode: Option<String>,
    /// In seconds.
    pub ttl: u32,
    /// The address it is pinned to.
    #[serde(deserialize_with = "Option::deserialize")]
    pub pin: Option<IpAddr>,
}

/// An address as one source has it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AddressOf {
    /// Is this the sighting that is believed?
    pub chosen: bool,
    /// The source's name.
    pub source: String,
    /// Its region.
    #[serde(deserialize_with = "Option::deserialize")]
    pub region: Option<String>,
    /// How the source does.
    pub health: String,
    /// Seconds since its last good answer.
    #[serde(deserialize_with = "Option::deserialize")]
    pub age: Option<u64>,
    /// The Elastic IP, or the allocation of an address that has none.
    pub elastic_ip: Allocation,
    /// `eipalloc-…`
    #[serde(deserialize_with = "Option::deserialize")]
    pub allocation: Option<String>,
    /// What it has in place of a public address.
    #[serde(flatten)]
    pub edge_ip: Option<EdgeIp>,
    /// `eipassoc-…`
    #[serde(deserialize_with = "Option::deserialize")]
    pub association: Option<String>,
    /// `eni-…`
    #[serde(deserialize_with = "Option::deserialize")]
    pub interface: Option<String>,
    /// `i-…`
    #[serde(deserialize_with = "Option::deserialize")]
    pub instance: Option<String>,
    /// The associated private address.
    #[serde(deserialize_with = "Option::deserialize")]
    pub private: Option<Ipv4Addr>,
    /// The IPv6 address of the interface, if the name wants it: or why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
    /// Live, or kept since when.
    pub standing: String,
}

/// Explains a question asked by `client` (at `local`), or by anyone in `view`.
pub(crate) fn explain(
    input: &Input<'_>,
    current: &Current,
    who: Who,
    name: &Key,
    rtype: RecordType,
) -> Explanation {
    let snapshot = &current.snapshot;
    let (view, client) = match who {
        Who::Client { client, local } => (snapshot.selector.select(client, local), Some(client)),
        Who::View(view) => (Some(view), None),
    };
    let mut all = Explanation {
        offline: false,
        name: name.to_string(),
        rtype: rtype.to_string(),
        client,
        view: view.and_then(|v| Some(snapshot.views.get(v)?.name.to_string())),
        zone: None,
        binding: None,
        addresses: Vec::new(),
        resolved: None,
        nodata: false,
        tag_problems: tag_problems(&snapshot.inventory, name),
        reverse: Vec::new(),
        near: Vec::new(),
        status: String::new(),
        answer: String::new(),
    };
    if let Some(view) = view {
        all.describe(input, snapshot, view, name);
    }
    all.ask(current, who, name, rtype);
    if let Some(view) = view.and_then(|view| snapshot.views.get(view))
        && (all.zone.is_none() || all.status == NXDOMAIN)
    {
        let known = view.zones.values().flat_map(|table| table.nodes.values());
        let known = breathing(known).map(|node| &node.key);
        all.near = near(name, known, MAX_NEAR).iter().map(ToString::to_string).collect();
    }
    all
}

fn tag_problems(inventory: &Inventory, name: &Key) -> Vec<String> {
    let shown = name.to_string();
    let of_name = inventory.discovered.problems().filter(|problem| *problem.name == *shown);
    let line = |problem: &Problem| {
        let Claim { source, allocation } = &problem.claim;
        let source = inventory.sources.get(*source).map_or("", |source| &source.name);
        format!("{allocation} of source {source}: {}", problem.why)
    };
    of_name.map(line).collect()
}

/// On whose behalf a question is explained.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Who {
    /// A client, asking at one of our addresses.
    Client {
        /// Its address.
        client: IpAddr,
        /// Ours.
        local: SocketAddr,
    },
    /// Anyone in this view.
    View(ViewId),
}

impl Explanation {
    fn describe(&mut self, input: &Input<'_>, snapshot: &Snapshot, view: ViewId, name: &Key) {
        let Some(all) = snapshot.views.get(view) else { return };
        self.reverse = reverse::lines(all, name);
        let Some(authority) = all.authority_of(name.octets()) else { return };
        let table = match authority {
            Authority::Zone(table) => table,
            Authority::Overlay(overlay) => return self.describe_overlay(input, overlay),
            Authority::Pointer(pointer) => {
                return self.describe_pointer(input, snapshot, (view, all), pointer);
            }
        };
        let zone = &table.zone;
        self.zone = Some(ZoneOf {
            origin: zone.origin.to_string(),
            file: zone.file.display().to_string(),
            serial: table.serial,
        });
        let Some(node) = lookup::node_for(table, name.octets()) else { return };
        let Some(resolved) = table.resolved.get(node.key.octets()) else { return };
        self.resolved = Some(resolved.data.to_string());
        match resolved.data {
            Data::Pointers(_) => self.point(input, snapshot, (view, all), &node.key),
            _ => self.bind(input, snapshot, (view, table), &node.key),
        }
    }

    /// The binding of a name, and what the sources say of its target.
    fn bind(
        &mut self,
        input: &Input<'_>,
        snapshot: &Snapshot,
        (view, table): (ViewId, &ZoneTable),
        name: &Key,
    ) {
        let (zone, discovered) = (&table.zone, &snapshot.inventory.discovered);
        let Some(binding) = names::binding(zone, discovered, name) else { return };
        self.binding = Some(BindingOf {
            name: binding.name.to_string(),
            place: binding.place.to_string(),
            target: binding.target.to_string(),
            mode: binding.modes.get(view).copied().flatten().map(|m| m.as_str().to_string()),
            ttl: binding.ttl.unwrap_or(zone.ttl),
            pin: binding.pin,
        });
        if !matches!(binding.target, Target::Fixed(_)) {
            self.see(input, Sought::of(&binding));
        }
    }

    /// The binding of the first name that the address has which `owner` is the name of.
    fn point(
        &mut self,
        input: &Input<'_>,
        snapshot: &Snapshot,
        (view, all): (ViewId, &ViewTable),
        owner: &Key,
    ) {
        let Some(name) = reverse::first(all, address_of(owner.octets())) else { return };
        if let Some(table) = all.zone_of(name.octets()) {
            self.bind(input, snapshot, (view, table), name);
        }
    }

    /// The zone of an address.
    fn describe_pointer(
        &mut self,
        input: &Input<'_>,
        snapshot: &Snapshot,
        view: (ViewId, &ViewTable),
        pointer: &Pointer,
    ) {
        self.zone = Some(ZoneOf {
            origin: pointer.owner.to_string(),
            file: "server.toml, [[reverse]]".into(),
            serial: SERIAL,
        });
        let names = pointer.answered().iter().map(|one| one.name.clone()).collect();
        self.resolved = Some(Data::Pointers(names).to_string());
        self.point(input, snapshot, view, &pointer.owner);
    }

    /// From memory, with no binding but the address itself.
    fn describe_overlay(&mut self, input: &Input<'_>, overlay: Overlay<'_>) {
        let said = overlay.said;
        let source = input.inventory.sources.get(said.source).map_or("", |s| s.name.as_str());
        self.zone = Some(ZoneOf {
            origin: overlay.name.to_string(),
            file: format!("source {source}"),
            serial: said.serial,
        });
        self.resolved = Some(said.address.to_string());
        if let Some((ip, _)) = ec2_name::parse_ec2_name(overlay.name.octets()) {
            let target = Target::ElasticIp(ip);
            self.see(input, Sought { target: &target, only: None, ipv6: false });
        }
    }

    /// What the sources say of a target.
    fn see(&mut self, input: &Input<'_>, sought: Sought<'_>) {
        self.addresses.extend(addresses(input, &Index::new(input), sought));
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sought<'t> {
    /// What a name is bound to.
    target: &'t Target,
    /// In this source alone.
    only: Option<SourceId>,
    /// Does the name want the IPv6 address of the interface?
    ipv6: bool,
}

impl<'t> Sought<'t> {
    /// What a name stands for.
    pub(crate) fn of(binding: &'t Binding) -> Self {
        Self { target: &binding.target, only: binding.source, ipv6: binding.ipv6 }
    }
}

/// The addresses that are looked for, as each source has them.
pub(crate) fn addresses(
    input: &Input<'_>,
    index: &Index<'_>,
    Sought { target, only, ipv6 }: Sought<'_>,
) -> Vec<AddressOf> {
    let best = index.best(target, only);
    let seconds = |since: SystemTime| input.now.duration_since(since).unwrap_or_default().as_secs();
    let address_of = |sighting: Sighting<'_>| {
        let source = input.inventory.sources.get(sighting.source)?;
        let address = &sighting.entry.address;
        Some(AddressOf {
            chosen: best.iter().any(|b| std::ptr::eq(b.entry, sighting.entry)),
            source: source.name.clone(),
            region: source.region.clone(),
            health: source.health.as_str().to_string(),
            age: source.delivered_at.map(seconds),
            elastic_ip: address.allocation(),
            allocation: address.allocation_id().map(str::to_owned),
            edge_ip: address.identity.edge_ip(),
            association: address.association_id.clone(),
            interface: address.network_interface_id.clone(),
            instance: address.instance_id.clone(),
            private: address.private_ip,
            ipv6: ipv6.then(|| ipv6_of(source, address)),
            standing: match sighting.entry.standing.kept() {
                None if address.associated().is_none() => NOT_ASSOCIATED.into(),
                None => "live".into(),
                Some((how, since)) => format!("{how} for {} s, last state kept", seconds(since)),
            },
        })
    };
    index.sightings(target, only).into_iter().filter_map(address_of).collect()
}

/// What is known of the interface that an address stands on.
fn ipv6_of(source: &SourceInventory, address: &Address) -> String {
    let Some(id) = address.network_interface_id.as_deref() else { return "no interface".into() };
    match source.interfaces.get(id) {
        Some(Some(ip)) => ip.to_string(),
        Some(None) => "none: the interface has no IPv6 address".into(),
        None => "not known yet: `eipdns status` says how the source does".into(),
    }
}
