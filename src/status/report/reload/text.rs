//! A verdict for a terminal.

use std::fmt::{self, Display, Formatter, Write};

use super::{
    ChangedReport, ContentReport, First, KeyReport, Listeners, NameReport, Named, ProblemReport,
    TakenReport, Verdict, Zones,
};
use crate::host::text::OneLine;

/// So many of each kind are shown; `--json` has more.
const SHOWN: usize = 50;

impl Display for ProblemReport {
    /// As [`Problem`](crate::diag::Problem) is shown.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut out = OneLine(f);
        if let Some(file) = &self.file {
            write!(out, "{file}")?;
            for number in [self.line, self.column].into_iter().flatten() {
                write!(out, ":{number}")?;
            }
            out.write_str(": ")?;
        }
        write!(out, "{}: {}", if self.error { "error" } else { "warning" }, self.what)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(out, "; {remedy}"))
    }
}

impl Display for Verdict {
    /// What became of it and what that means; its problems are for whoever asks for them.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut out = Lines(f);
        match &self.taken {
            Some(taken) => {
                let (at, generation) = (&self.at, taken.generation);
                out.line(format_args!("configuration taken at {at}, generation {generation}"))?;
                out.taken(taken)
            }
            None => {
                let at = &self.at;
                out.line(format_args!("configuration refused at {at}; the one in use stands"))
            }
        }
    }
}

/// What is written one line at a time: nothing that a server says makes another.
struct Lines<'l, 'f>(&'l mut Formatter<'f>);

impl Lines<'_, '_> {
    fn line(&mut self, line: fmt::Arguments<'_>) -> fmt::Result {
        OneLine(self.0).write_fmt(line)?;
        self.0.write_char('\n')
    }

    fn taken(&mut self, taken: &TakenReport) -> fmt::Result {
        if !taken.changed {
            self.line(format_args!("nothing has changed"))?;
        }
        self.all("lost", &taken.lost, |lost| {
            format!("{} ({}); watching alone would have refused that", lost.what, lost.file)
        })?;
        taken.keys.iter().try_for_each(|key| self.key(key))?;
        if taken.cache_emptied {
            self.line(format_args!("the cache of forwarded answers begins empty"))?;
        }
        self.named("view", &taken.views)?;
        self.named("source", &taken.sources)?;
        self.listeners(&taken.listeners)?;
        self.zones(&taken.zones)?;
        self.all("zone", &taken.contents, content)?;
        self.all("name", &taken.names, name)?;
        taken.needs_restart.iter().try_for_each(|KeyReport { key, old, new }| {
            self.line(format_args!(
                "RESTART NEEDED: {key} is {} until then, and is to be {}",
                or_unset(old.as_ref()),
                or_unset(new.as_ref())
            ))
        })
    }

    /// A line each.
    fn all<T>(&mut self, kind: &str, all: &First<T>, text: impl Fn(&T) -> String) -> fmt::Result {
        for one in all.first.iter().take(SHOWN) {
            self.line(format_args!("{kind} {}", text(one)))?;
        }
        match all.first.len().saturating_sub(SHOWN) + all.more {
            0 => Ok(()),
            more => self.line(format_args!("{kind}: {more} more{}", hint(all))),
        }
    }

    fn key(&mut self, KeyReport { key, old, new }: &KeyReport) -> fmt::Result {
        let (old, new) = (or_unset(old.as_ref()), or_unset(new.as_ref()));
        self.line(format_args!("key {key}: was {old}, is {new}"))
    }

    fn named(&mut self, kind: &str, all: &Named) -> fmt::Result {
        self.all(kind, &all.added, |name| format!("{name}: new"))?;
        self.all(kind, &all.removed, |name| format!("{name}: gone"))?;
        self.all(kind, &all.changed, |ChangedReport { name, what }| format!("{name}: {what}"))
    }

    fn listeners(&mut self, Listeners { opened, closed }: &Listeners) -> fmt::Result {
        for one in opened {
            let address = one.address;
            match one.on_host {
                true => self.line(format_args!("address {address}: opened"))?,
                false => self.line(format_args!(
                    "address {address}: opened, BUT THIS HOST DOES NOT HAVE IT: queries come once \
                     it has"
                ))?,
            }
        }
        closed.iter().try_for_each(|one| self.line(format_args!("address {one}: closed")))
    }

    fn zones(&mut self, all: &Zones) -> fmt::Result {
        self.all("zone", &all.added, |origin| format!("{origin}: new"))?;
        self.all("zone", &all.removed, |origin| format!("{origin}: gone"))?;
        self.all("zone", &all.edited, |origin| format!("{origin}: its file says otherwise"))
    }
}

/// Where the others are, if the server has said them.
fn hint<T>(all: &First<T>) -> &'static str {
    if all.first.len() > SHOWN { ", see --json" } else { "" }
}

fn content(one: &ContentReport) -> String {
    let ContentReport { zone, view, old, new, rrsets } = one;
    let serial = match (old, new) {
        (Some(old), Some(new)) if old == new => format!("serial {new}"),
        (Some(old), Some(new)) => format!("serial {old} -> {new}"),
        (None, Some(new)) => format!("new here, serial {new}"),
        (Some(old), None) => format!("gone here, serial was {old}"),
        (None, None) => "no serial".into(),
    };
    let sets = if *rrsets == 1 { "RRset" } else { "RRsets" };
    format!("{zone} in view {view}: {serial}, {rrsets} {sets}")
}

fn name(one: &NameReport) -> String {
    let NameReport { name, views, old, new } = one;
    let what = match (old, new) {
        (Some(old), Some(new)) => format!("{old} -> {new}"),
        (None, Some(new)) => format!("new, {new}"),
        (Some(old), None) => format!("gone, was {old}"),
        (None, None) => "nothing".into(),
    };
    format!("{name}: {what} ({})", views.join(", "))
}

fn or_unset(value: Option<&String>) -> &str {
    value.map_or("not set", String::as_str)
}
