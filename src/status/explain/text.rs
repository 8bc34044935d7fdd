//! An explanation as lines for people.

use std::fmt;

use super::Explanation;
use crate::host::text::{lines, one_line};

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
