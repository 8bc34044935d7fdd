//! Why a client is answered what it is answered: view, zone, binding, Elastic
//! IP, allocation, association, age, and the answer as dig prints it.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, RecordType};
use serde::{Deserialize, Serialize};

use crate::answer::{Asker, Outcome, Transport, answer, answer_in_view, lookup};
use crate::compile::{Index, Input};
use crate::config::{SourceId, Target, ViewId};
use crate::dns::ec2_name;
use crate::dns::ede::{self, Remark};
use crate::dns::name::Key;
use crate::host::text::{lines, one_line};
use crate::records::record_line;
use crate::snapshot::Snapshot;
use crate::snapshot::overlay::{Authority, Overlay};
use crate::store::Current;

/// In place of a response code: upstreams are asked, and theirs counts.
pub(crate) const ELSEWHERE: &str = "none yet: upstreams are asked";

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
    /// Elastic IPs the binding found; the chosen ones are answered.
    pub addresses: Vec<AddressOf>,
    /// What was made of it.
    #[serde(deserialize_with = "Option::deserialize")]
    pub resolved: Option<String>,
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

/// An Elastic IP as one source has it.
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
    /// The Elastic IP.
    pub elastic_ip: Ipv4Addr,
    /// `eipalloc-…`
    #[serde(deserialize_with = "Option::deserialize")]
    pub allocation: Option<String>,
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
        status: String::new(),
        answer: String::new(),
    };
    if let Some(view) = view {
        all.describe(input, snapshot, view, name);
    }
    all.ask(current, who, name, rtype);
    all
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
        let Some(authority) = snapshot.views.get(view).and_then(|v| v.authority_of(name.octets()))
        else {
            return;
        };
        let table = match authority {
            Authority::Zone(table) => table,
            Authority::Overlay(overlay) => return self.describe_overlay(input, overlay),
        };
        let zone = &table.zone;
        self.zone = Some(ZoneOf {
            origin: zone.origin.to_string(),
            file: zone.file.display().to_string(),
            serial: table.serial,
        });
        let Some(node) = lookup::node_for(table, name.octets()) else { return };
        let Some(binding) = zone.names.iter().find(|b| b.name == node.key) else { return };
        let Some(resolved) = table.resolved.get(node.key.octets()) else { return };
        self.resolved = Some(resolved.data.to_string());
        self.binding = Some(BindingOf {
            name: binding.name.to_string(),
            place: binding.place.to_string(),
            target: binding.target.to_string(),
            mode: binding.modes.get(view).copied().flatten().map(|m| m.as_str().to_string()),
            ttl: binding.ttl.unwrap_or(zone.ttl),
            pin: binding.pin,
        });
        if !matches!(binding.target, Target::Fixed(_)) {
            self.see(input, &binding.target, binding.source);
        }
    }

    /// From memory, with no binding but the address itself.
    fn describe_overlay(&mut self, input: &Input<'_>, overlay: &Overlay) {
        let said = overlay.said();
        let source = input.inventory.sources.get(said.source).map_or("", |s| s.name.as_str());
        self.zone = Some(ZoneOf {
            origin: Key::from_folded(overlay.name()).to_string(),
            file: format!("source {source}"),
            serial: said.serial,
        });
        self.resolved = Some(said.address.to_string());
        if let Some((ip, _)) = ec2_name::parse_ec2_name(overlay.name()) {
            self.see(input, &Target::ElasticIp(ip), None);
        }
    }

    /// What the sources say of a target.
    fn see(&mut self, input: &Input<'_>, target: &Target, only: Option<SourceId>) {
        let index = Index::new(input);
        let best = index.best(target, only);
        for sighting in index.sightings(target, only) {
            let Some(source) = input.inventory.sources.get(sighting.source) else { continue };
            let address = &sighting.entry.address;
            let seconds =
                |since: SystemTime| input.now.duration_since(since).unwrap_or_default().as_secs();
            self.addresses.push(AddressOf {
                chosen: best.iter().any(|b| std::ptr::eq(b.entry, sighting.entry)),
                source: source.name.clone(),
                region: source.region.clone(),
                health: source.health.as_str().to_string(),
                age: source.delivered_at.map(seconds),
                elastic_ip: address.public_ip,
                allocation: address.allocation_id.clone(),
                association: address.association_id.clone(),
                interface: address.network_interface_id.clone(),
                instance: address.instance_id.clone(),
                private: address.private_ip,
                standing: match sighting.entry.standing.kept() {
                    None => "live".into(),
                    Some((how, since)) => {
                        format!("{how} for {} s, last state kept", seconds(since))
                    }
                },
            });
        }
    }

    /// Asks the real question and prints the real answer.
    fn ask(&mut self, current: &Current, who: Who, name: &Key, rtype: RecordType) {
        let snapshot = &current.snapshot;
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.queries.push(Query::query(name.to_name(), rtype));
        message.edns = Some(Edns::new());
        let Ok(request) = message.to_vec() else { return };
        let mut reply = Vec::new();
        let outcome = match who {
            Who::Client { client, local } => {
                let asker = Asker { client: SocketAddr::new(client, 0), local };
                answer(snapshot, &asker, Transport::Tcp, &request, &mut (), &mut reply)
            }
            Who::View(view) => answer_in_view(snapshot, view, &request, &mut (), &mut reply),
        };
        if let Outcome::Ask(question) = outcome {
            self.status = ELSEWHERE.into();
            let asked = question.borrow();
            // Writing to a string does not fail.
            let _ = writeln!(
                self.answer,
                ";; not ours: upstreams are asked for {} {} {}, which explain does not do",
                Key::from_folded(asked.name),
                DNSClass::from(asked.class),
                RecordType::from(asked.rtype),
            );
            if let Some(forwarder) = &current.forwarder {
                let upstreams = forwarder.upstreams_for(asked.name);
                let all: Vec<_> = upstreams.iter().map(ToString::to_string).collect();
                let _ = writeln!(self.answer, ";; upstreams: {}", all.join(" "));
            }
            return;
        }
        let Ok(reply) = Message::from_vec(&reply) else { return };
        self.status = format!("{:?}", reply.metadata.response_code).to_uppercase();
        self.answer = as_dig(&reply, &self.status);
    }
}

/// A message the way dig prints it.
fn as_dig(message: &Message, status: &str) -> String {
    let mut out = String::new();
    let metadata = &message.metadata;
    let flags = [
        (true, "qr"),
        (metadata.authoritative, "aa"),
        (metadata.truncation, "tc"),
        (metadata.recursion_desired, "rd"),
        (metadata.recursion_available, "ra"),
    ];
    let flags: Vec<_> = flags.iter().filter(|(on, _)| *on).map(|(_, f)| *f).collect();
    // Writing to a string does not fail.
    let _ = writeln!(out, ";; status: {status}; flags: {}", flags.join(" "));
    for option in message.edns.iter().flat_map(|e| e.options().as_ref().iter().map(|(_, o)| o)) {
        if let EdnsOption::Unknown(ede::OPTION, data) = option
            && let Some((code, text)) = Remark::split(data)
        {
            let text = String::from_utf8_lossy(text);
            let text = one_line(&text);
            let _ = writeln!(out, "; EDE: {code}: ({text})");
        }
    }
    let sections = [
        ("ANSWER", &message.answers),
        ("AUTHORITY", &message.authorities),
        ("ADDITIONAL", &message.additionals),
    ];
    for (title, records) in sections {
        if !records.is_empty() {
            let _ = writeln!(out, ";; {title} SECTION:");
        }
        for record in records {
            let _ = writeln!(out, "{}", record_line(record));
        }
    }
    out
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |label: &str, value: String| writeln!(f, "{label:<12} {}", one_line(&value));
        if self.offline {
            let why = "from the configuration and the sources as they are now; the running server \
                       was not asked, and what it holds is not in here";
            row("--offline", why.into())?;
        }
        row("question", format!("{} {}", self.name, self.rtype))?;
        if let Some(client) = self.client {
            row("client", client.to_string())?;
        }
        row("view", self.view.clone().unwrap_or_else(|| "none: refused".into()))?;
        match &self.zone {
            Some(zone) => {
                row("zone", format!("{} serial {} ({})", zone.origin, zone.serial, zone.file))?;
            }
            None if self.view.is_some() => row("zone", "none of ours in this view".into())?,
            None => {}
        }
        if let Some(b) = &self.binding {
            row("binding", format!("{} = {} ({})", b.name, b.target, b.place))?;
            row("mode", b.mode.clone().unwrap_or_else(|| "none: absent in this view".into()))?;
            row("ttl", format!("{} s", b.ttl))?;
            if let Some(pin) = b.pin {
                row("pin", format!("{pin}, whatever EC2 says"))?;
            }
        }
        for a in &self.addresses {
            let none = || "-".to_string();
            let or = |text: &Option<String>| text.clone().unwrap_or_else(none);
            row("elastic ip", {
                let beaten = if a.chosen { "" } else { " (another source's word counts)" };
                format!("{}{beaten}", a.elastic_ip)
            })?;
            row("  allocation", or(&a.allocation))?;
            row("  association", or(&a.association))?;
            row("  interface", or(&a.interface))?;
            row("  instance", or(&a.instance))?;
            row("  private", a.private.map_or_else(none, |ip| ip.to_string()))?;
            row("  standing", a.standing.clone())?;
            let region = a.region.as_ref().map(|r| format!(" {r}")).unwrap_or_default();
            let age = a.age.map(|s| format!(", last good answer {s} s ago")).unwrap_or_default();
            row("  source", format!("{}{region}, {}{age}", a.source, a.health))?;
        }
        if let Some(resolved) = &self.resolved {
            row("answered", resolved.clone())?;
        }
        writeln!(f)?;
        f.write_str(&lines(&self.answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::source::clock::Drift;
    use crate::source::inventory::Inventory;
    use crate::testing;

    fn explained(config: &Config, inventory: &Inventory, name: &str) -> Explanation {
        let input = Input {
            config,
            epoch: 1,
            inventory,
            addresses: &[],
            now: testing::noon(),
            drift: Drift::NONE,
        };
        let snapshot = testing::snapshot(config, inventory);
        let name = Key::parse(name, None).unwrap();
        explain(&input, &snapshot.into(), Who::View(0), &name, RecordType::A)
    }

    fn config(server: &str, target: &str) -> Config {
        let zone = format!("[names]\ndb = {target}\n");
        testing::config(&[("server.toml", server), ("example.com.toml", &zone)])
    }

    #[test]
    fn what_a_file_says_moves_no_cursor_and_makes_no_line() {
        let evil = "i-\u{1b}[2J\nanswered     10.0.0.66";
        let ip = Ipv4Addr::new(198, 51, 100, 1);
        let mut inventory = testing::inventory(&[(ip, Some(Ipv4Addr::new(10, 0, 0, 1)))]);
        let entries = inventory.sources[0].entries.as_mut().unwrap();
        let entry = std::sync::Arc::make_mut(entries).get_mut(&ip).unwrap();
        let address = std::sync::Arc::make_mut(&mut entry.address);
        address.instance_id = Some(evil.into());
        address.network_interface_id = Some(evil.into());
        let config = config(testing::SERVER, "\"198.51.100.1\"");
        let mut all = explained(&config, &inventory, "db.example.com");
        // As from a server that is not to be trusted.
        all.answer += "\u{1b}]0;title\u{7}\n";
        let told = all.to_string();
        assert!(told.contains(r"i-\u001b[2J\nanswered"), "{told}");
        assert!(told.chars().all(|c| c == '\n' || !c.is_control()), "{told:?}");
        let answered = told.lines().filter(|line| line.starts_with("answered")).count();
        assert_eq!(answered, 1, "{told}");
    }

    /// A missing `view` is not "refused", and no missing address is "-".
    #[test]
    fn an_explanation_is_read_whole_or_not_at_all() {
        let ip = Ipv4Addr::new(198, 51, 100, 1);
        let inventory = testing::inventory(&[(ip, Some(Ipv4Addr::new(10, 0, 0, 1)))]);
        let config = config(testing::SERVER, "\"198.51.100.1\"");
        let all = serde_json::to_value(explained(&config, &inventory, "db.example.com")).unwrap();
        let read = serde_json::from_value::<Explanation>(all.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), all);
        for (path, less) in testing::without_each_key(&all) {
            assert!(serde_json::from_value::<Explanation>(less).is_err(), "{path}");
        }
    }

    #[test]
    fn a_question_for_others_is_told_in_the_words_of_dns() {
        let server = testing::SERVER.replacen(
            "answer = \"private\"",
            "answer = \"private\"\nforward = true",
            1,
        ) + "\n[[forward]]\nupstreams = [\"192.0.2.53\"]\n";
        let config = config(&server, "\"198.51.100.1\"");
        let all = explained(&config, &testing::inventory(&[]), "www.example.net");
        assert_eq!(all.status, ELSEWHERE);
        let told = all.to_string();
        assert!(told.contains("upstreams are asked for www.example.net. IN A"), "{told}");
    }
}
