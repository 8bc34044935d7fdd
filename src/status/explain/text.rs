//! An explanation as lines for people.

use std::fmt;

use super::{AddressOf, BindingOf, Explanation, ZoneOf};
use crate::host::text::{lines, one_line};
use crate::source::allocation::Allocation;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Rows(f);
        if self.offline {
            let why = "from the configuration and the sources as they are now; the running server \
                       was not asked, and what it holds is not in here";
            out.row("--offline", why)?;
        }
        out.row("question", format!("{} {}", self.name, self.rtype))?;
        if let Some(client) = self.client {
            out.row("client", client)?;
        }
        out.row("view", self.view.as_deref().unwrap_or("none: refused"))?;
        match &self.zone {
            Some(zone) => {
                let ZoneOf { origin, serial, file } = zone;
                out.row("zone", format!("{origin} serial {serial} ({file})"))?;
            }
            None if self.view.is_some() => out.row("zone", "none of ours in this view")?,
            None => {}
        }
        self.binding.iter().try_for_each(|binding| out.binding(binding))?;
        self.addresses.iter().try_for_each(|address| out.address(address))?;
        match &self.resolved {
            Some(resolved) if self.nodata => {
                let nothing = format!("nothing of type {} (NODATA)", self.rtype);
                out.row("answered", format!("{nothing}: the name stands for {resolved}"))?;
            }
            Some(resolved) => out.row("answered", resolved)?,
            None => {}
        }
        self.reverse.iter().try_for_each(|line| out.row("reverse", line))?;
        self.tag_problems.iter().try_for_each(|problem| out.row("tag problem", problem))?;
        if !self.near.is_empty() {
            out.row("did you mean", self.near.join(" "))?;
        }
        writeln!(f)?;
        f.write_str(&lines(&self.answer))
    }
}

/// A label and a value on each line; no value makes another line.
struct Rows<'r, 'f>(&'r mut fmt::Formatter<'f>);

impl Rows<'_, '_> {
    fn row(&mut self, label: &str, value: impl fmt::Display) -> fmt::Result {
        writeln!(self.0, "{label:<12} {}", one_line(&value.to_string()))
    }

    fn binding(&mut self, binding: &BindingOf) -> fmt::Result {
        let BindingOf { name, target, place, mode, ttl, pin } = binding;
        self.row("binding", format!("{name} = {target} ({place})"))?;
        self.row("mode", mode.as_deref().unwrap_or("none: absent in this view"))?;
        self.row("ttl", format!("{ttl} s"))?;
        match pin {
            Some(pin) => self.row("pin", format!("{pin}, whatever EC2 says")),
            None => Ok(()),
        }
    }

    fn address(&mut self, address: &AddressOf) -> fmt::Result {
        let none_as_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let beaten = if address.chosen { "" } else { " (another source's word counts)" };
        let which = match (&address.elastic_ip, address.edge_ip) {
            (Allocation::PublicIp(ip), _) => ip.to_string(),
            (Allocation::Id(_), None) => "none: no public address and no EC2 name".into(),
            (Allocation::Id(_), Some(edge_ip)) => {
                format!("none: {edge_ip}, no public address and no EC2 name")
            }
        };
        self.row("elastic ip", which + beaten)?;
        self.row("  allocation", none_as_dash(&address.allocation))?;
        self.row("  association", none_as_dash(&address.association))?;
        self.row("  interface", none_as_dash(&address.interface))?;
        self.row("  instance", none_as_dash(&address.instance))?;
        self.row("  private", none_as_dash(&address.private.map(|ip| ip.to_string())))?;
        if let Some(ipv6) = &address.ipv6 {
            self.row("  ipv6", ipv6)?;
        }
        self.row("  standing", &address.standing)?;
        let region = address.region.as_ref().map(|r| format!(" {r}")).unwrap_or_default();
        let age = address.age.map(|s| format!(", last good answer {s} s ago")).unwrap_or_default();
        self.row("  source", format!("{}{region}, {}{age}", address.source, address.health))
    }
}
