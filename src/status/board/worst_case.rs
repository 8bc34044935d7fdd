//! From a change to the answer: how long that takes at most.

use std::time::Duration;

use super::Facts;
use crate::config::{Config, SourceKind, View};
use crate::source::health::MAX_CALL;
use crate::status::report::WorstCase;

impl Facts {
    /// Worst case from associate-address to answer, now: a source that is asked less often
    /// than its `poll` says counts with that.
    pub(crate) fn worst_case(&self) -> WorstCase {
        let handles = self.handles.iter().flatten();
        let slowed = handles.filter_map(|handle| handle.stats().read().slowed);
        WorstCase::of(&self.config).slowed_to(slowed.map(|slowed| slowed.every).max())
    }
}

impl WorstCase {
    /// Some source is asked this often only.
    fn slowed_to(self, every: Option<Duration>) -> Self {
        let every = every.map(|every| every.as_secs_f64());
        Self { poll: self.poll.map(|poll| every.map_or(poll, |every| poll.max(every))), ..self }
    }

    /// Worst case from associate-address to answer: poll + 3 s + TTL. A file
    /// has neither poll nor call, and what no association changes does not
    /// count.
    fn of(config: &Config) -> Self {
        let server = &config.server;
        let poll = server.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::Ec2(ec2) => Some(ec2.poll),
            SourceKind::File { .. } => None,
        });
        let poll = poll.max().map(|poll| poll.as_secs_f64());
        let mut worst =
            Self { poll, call: poll.map(|_| MAX_CALL.as_secs_f64()), ..Default::default() };
        let bound = config.zones.iter().flat_map(|zone| {
            let moving = zone.names.iter().filter(|binding| binding.moves(&server.views));
            moving.map(|binding| (binding, binding.ttl.unwrap_or(zone.ttl)))
        });
        // The first of several, so that it does not change by itself.
        let longest = bound.rev().max_by_key(|(_, ttl)| *ttl);
        if let Some((binding, ttl)) = longest {
            (worst.ttl, worst.ttl_of) = (ttl, Some(binding.name.to_string()));
        }
        for zone in &config.zones {
            let Some(discover) = &zone.discover else { continue };
            let ttl = discover.ttl.unwrap_or(zone.ttl);
            if worst.ttl_of.is_none() || ttl > worst.ttl {
                let of = format!("names from tags in {}", zone.origin);
                (worst.ttl, worst.ttl_of) = (ttl, Some(of));
            }
        }
        // Of EC2 names and of rewritten answers.
        let at_home = server.views.iter().any(View::moves_elsewhere);
        for source in server.sources.iter().filter(|_| at_home) {
            if worst.ttl_of.is_none() || source.ttl > worst.ttl {
                let of = format!("EC2 names of source {}", source.name);
                (worst.ttl, worst.ttl_of) = (source.ttl, Some(of));
            }
        }
        // Of PTR records, which follow names.
        for block in &server.reverse {
            if worst.ttl_of.is_some() && block.ttl > worst.ttl {
                (worst.ttl, worst.ttl_of) = (block.ttl, Some("[[reverse]]".into()));
            }
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_worst_case_says_what_it_is_made_of() {
        let zone = "ttl = 5\n[names]\ndb = \"198.51.100.1\"\n\
                    fixed = { address = \"10.0.0.9\", ttl = 900 }\n\
                    slow = { elastic_ip = \"198.51.100.2\", ttl = 60 }\n\
                    web = { elastic_ip = \"198.51.100.3\", ttl = 60 }\n\
                    pinned = { elastic_ip = \"198.51.100.3\", pin = \"10.0.0.7\", ttl = 900 }\n\
                    public = { elastic_ip = \"198.51.100.3\", answer = \"public\", ttl = 900 }\n";
        let of = |server: &str| {
            let config = testing::config(&[("server.toml", server), ("example.com.toml", zone)]);
            WorstCase::of(&config)
        };
        let name = Some("web.example.com.".to_owned());
        let file = of(testing::SERVER);
        assert_eq!(file, WorstCase { poll: None, call: None, ttl: 60, ttl_of: name.clone() });
        assert_eq!(file.total(), Duration::from_secs(60));
        let ec2 = "type = \"ec2\"\npoll = \"2s\"";
        let server = testing::SERVER.replace("type = \"file\"\npath = \"addresses.json\"", ec2);
        let ec2 = of(&server);
        assert_eq!(ec2, WorstCase { poll: Some(2.0), call: Some(3.0), ttl: 60, ttl_of: name });
        assert_eq!(ec2.total(), Duration::from_secs(65));
        let slowed = ec2.clone().slowed_to(Some(Duration::from_secs(8)));
        assert_eq!((slowed.poll, slowed.total()), (Some(8.0), Duration::from_secs(71)));
        assert_eq!(ec2.clone().slowed_to(Some(Duration::from_secs(1))), ec2);
        assert_eq!(ec2.clone().slowed_to(None), ec2);
        assert_eq!(file.clone().slowed_to(Some(Duration::from_secs(8))), file);
        let reverse = "[[reverse]]\nnetworks = [\"10.0.0.0/8\"]\nttl = ";
        let ptr = of(&format!("{}{reverse}61\n", testing::SERVER));
        assert_eq!((ptr.ttl, ptr.ttl_of.as_deref()), (61, Some("[[reverse]]")));
        assert_eq!(of(&format!("{}{reverse}5\n", testing::SERVER)), file);
    }
}
