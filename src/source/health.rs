//! How a source does: transitions, each logged once with its cause. And one that
//! says nothing at all: [`silent`].

use std::time::{Duration, Instant, SystemTime};

use super::clock::elapsed;
use super::error::{Class, SourceError};
use super::{file, watch};
use crate::config::SourceKind;
use crate::host::often::QUIET;
use crate::source::inventory::Health;

/// The longest a call of EC2 may take, and reading a file likewise.
pub(crate) const MAX_CALL: Duration = Duration::from_secs(3);

/// So much later than it should a source may be heard of: credentials before the
/// first call, and a machine that is busy.
const SLACK: Duration = Duration::from_secs(15);

/// The longest time between two words of a source that does well: good or not,
/// each call ends in one.
pub(crate) fn longest_silence(kind: &SourceKind) -> Duration {
    let between = match kind {
        SourceKind::Ec2(ec2) => ec2.poll + MAX_CALL,
        SourceKind::File { .. } => watch::LONGEST_REST + file::WITHIN,
    };
    between.saturating_add(SLACK)
}

/// What a source of this kind is that was `heard` of last then: its task hangs
/// if that is too long ago, whatever its own last word was. None: as it says
/// itself.
pub(crate) fn silent(
    kind: &SourceKind,
    health: &Health,
    heard: SystemTime,
    now: SystemTime,
) -> Option<Health> {
    let longest = longest_silence(kind);
    if matches!(health, Health::Stalled { .. }) || elapsed(heard, now) <= longest {
        return None;
    }
    let why = format!(
        "nothing was heard of it for more than {} s, neither an answer nor a failure: its task \
         hangs. Restart eipdns, and report this with the log",
        longest.as_secs()
    );
    Some(Health::Stalled { since: heard, class: Class::Timeout, why })
}

/// Follows one source from call to call.
#[derive(Debug)]
pub(crate) struct Tracker {
    source: String,
    health: Health,
    class: Option<Class>,
    /// Has it given a good answer, or does it carry on one that was well?
    has_delivered: bool,
    /// When it was stalled last.
    stalled_for: Duration,
    told: Told,
}

/// What a call changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// The first good answer of this process.
    First,
    /// Good again after having been stalled this long.
    Recovered(Duration),
    /// The first failure after a good answer, or at the very start.
    Stalled,
    /// Failing still, for another kind of reason.
    OtherCause,
}

impl Tracker {
    /// For a source that has not been asked yet, and carries on one that did so.
    pub(crate) fn new(source: &str, health: Health) -> Self {
        Self {
            source: source.to_owned(),
            has_delivered: health == Health::Healthy,
            health,
            class: None,
            stalled_for: Duration::ZERO,
            told: Told::default(),
        }
    }

    /// How it does now.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// A good answer.
    pub(crate) fn good(&mut self, now: SystemTime) -> Option<Transition> {
        let before = std::mem::replace(&mut self.health, Health::Healthy);
        self.class = None;
        self.has_delivered = true;
        let transition = match before {
            Health::Healthy => None,
            Health::Starting => Some(Transition::First),
            Health::Stalled { since, .. } => {
                self.stalled_for = elapsed(since, now);
                Some(Transition::Recovered(self.stalled_for))
            }
        };
        self.tell();
        transition
    }

    /// A failure. The cause in [`Health::Stalled`] is that of the last one:
    /// whoever mends what is said there mends what is broken now. The log tells
    /// of another class only.
    pub(crate) fn bad(&mut self, now: SystemTime, error: &SourceError) -> Option<Transition> {
        let class = error.class();
        let since = match &self.health {
            Health::Stalled { since, .. } => Some(*since),
            Health::Starting | Health::Healthy => None,
        };
        let transition = match since {
            Some(_) if self.class == Some(class) => None,
            Some(_) => Some(Transition::OtherCause),
            None => Some(Transition::Stalled),
        };
        let since = since.unwrap_or(now);
        self.health = Health::Stalled { since, class: error.class(), why: error.to_string() };
        self.class = Some(class);
        self.tell();
        transition
    }

    /// Logs how it does, unless the log says so already.
    fn tell(&mut self) {
        let doing = match (&self.health, self.class) {
            (Health::Starting, _) => Doing::Starting,
            (Health::Stalled { .. }, Some(class)) => Doing::Badly(class),
            (Health::Stalled { .. } | Health::Healthy, _) => Doing::Well,
        };
        let Some((line, left_out)) = self.told.line(doing, Instant::now()) else { return };
        let left_out = (left_out > 0).then_some(left_out);
        let source = self.source.as_str();
        let (class, why) = match (&self.health, self.class) {
            (Health::Stalled { why, .. }, Some(class)) => (class.as_str(), why.as_str()),
            _ => ("", ""),
        };
        match line {
            Line::Delivers => tracing::info!(source, "source delivers"),
            Line::Again => {
                let after = Duration::from_secs(self.stalled_for.as_secs());
                let after = humantime::format_duration(after);
                tracing::info!(source, %after, left_out, "source delivers again");
            }
            Line::Stalled if self.has_delivered => tracing::warn!(
                source, class, error = %why, left_out,
                "source stalled; its last good answer stands"
            ),
            Line::Stalled => tracing::warn!(
                source, class, error = %why, left_out,
                "source stalled; it has given no good answer since it was started or changed: \
                 what was known before is answered, if anything was"
            ),
            Line::OtherCause => tracing::warn!(
                source, class, error = %why, left_out,
                "source still stalled, for another reason"
            ),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Doing {
    #[default]
    Starting,
    Well,
    Badly(Class),
}

/// What the log can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Delivers,
    Again,
    Stalled,
    OtherCause,
}

/// What the log has said. A source that comes and goes has one line of each
/// kind a minute; what stands by then is said.
#[derive(Debug, Default)]
struct Told {
    /// How the source does, as far as the log tells.
    said: Doing,
    seen: Doing,
    /// Changes seen since.
    changes: u64,
    /// When there was a line of each kind.
    last: [Option<Instant>; 4],
}

impl Told {
    /// What to say of a source that is `doing` so, and how many changes nothing
    /// was said of.
    fn line(&mut self, doing: Doing, now: Instant) -> Option<(Line, u64)> {
        if std::mem::replace(&mut self.seen, doing) != doing {
            self.changes += 1;
        }
        let line = match (self.said, doing) {
            (said, doing) if said == doing => return None,
            (_, Doing::Starting) => return None,
            (Doing::Badly(_), Doing::Well) => Line::Again,
            (_, Doing::Well) => Line::Delivers,
            (Doing::Badly(_), Doing::Badly(_)) => Line::OtherCause,
            (_, Doing::Badly(_)) => Line::Stalled,
        };
        let last = &mut self.last[line as usize];
        if last.is_some_and(|last| now.saturating_duration_since(last) < QUIET) {
            return None;
        }
        (*last, self.said) = (Some(now), doing);
        Some((line, std::mem::take(&mut self.changes).saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::PollError;
    use super::*;
    use crate::testing;

    #[test]
    fn a_source_that_is_not_heard_of_is_stalled_whatever_it_said() {
        let kind = |lines: &str| {
            let file = "type = \"file\"\npath = \"addresses.json\"";
            let server = testing::SERVER.replace(file, lines);
            testing::config(&[("server.toml", &server)]).server.sources[0].kind.clone()
        };
        let at = |s: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + s);
        for (kind, longest) in [
            (kind("type = \"ec2\"\npoll = \"2s\""), 2 + 3 + 15),
            (kind("type = \"ec2\"\npoll = \"1h\""), 3600 + 3 + 15),
            (kind("type = \"file\"\npath = \"addresses.json\""), 60 + 3 + 15),
        ] {
            for health in [Health::Starting, Health::Healthy] {
                assert_eq!(silent(&kind, &health, at(0), at(longest)), None, "{kind:?}");
                let silent = silent(&kind, &health, at(0), at(longest + 1));
                let Some(Health::Stalled { since, why, .. }) = silent else { panic!("{kind:?}") };
                assert_eq!(since, at(0));
                assert!(why.contains(&format!("more than {longest} s")), "{why}");
            }
            let stalled =
                Health::Stalled { since: at(0), class: Class::Other, why: "refused".into() };
            assert_eq!(silent(&kind, &stalled, at(0), at(99_999)), None, "it is, for a reason");
        }
    }

    #[test]
    fn each_transition_is_told_once() {
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let throttled =
            |code: &str| SourceError::from(PollError::Throttled { code: code.to_owned() });
        let server =
            SourceError::from(PollError::Server { status: 503, code: "Unavailable".into() });
        let mut tracker = Tracker::new("east", Health::Starting);
        assert_eq!(tracker.health(), &Health::Starting);
        assert_eq!(tracker.good(at(1)), Some(Transition::First));
        assert_eq!(tracker.good(at(2)), None);
        assert_eq!(tracker.bad(at(3), &throttled("A")), Some(Transition::Stalled));
        assert_eq!(tracker.bad(at(4), &throttled("B")), None, "told once");
        let stalled = tracker.health().clone();
        let why = throttled("B").to_string();
        assert_eq!(
            stalled,
            Health::Stalled { since: at(3), class: Class::Throttled, why },
            "the trouble there is now"
        );
        assert_eq!(tracker.bad(at(5), &server), Some(Transition::OtherCause));
        assert_eq!(
            tracker.health(),
            &Health::Stalled { since: at(3), class: Class::Server, why: server.to_string() },
            "stalled since the first failure"
        );
        assert_eq!(tracker.good(at(9)), Some(Transition::Recovered(Duration::from_secs(6))));
        assert_eq!(tracker.health(), &Health::Healthy);
        // Whoever carries on a stalled source is stalled since then.
        let mut successor = Tracker::new("east", stalled);
        assert_eq!(successor.bad(at(20), &server), Some(Transition::OtherCause));
        assert_eq!(successor.good(at(23)), Some(Transition::Recovered(Duration::from_secs(20))));
        let mut successor = Tracker::new("east", Health::Healthy);
        assert_eq!(successor.good(at(24)), None);
    }

    #[test]
    fn a_source_that_comes_and_goes_fills_no_log() {
        use Doing::{Badly, Well};
        let mut told = Told::default();
        let start = Instant::now();
        let mut lines = |doing, seconds| told.line(doing, start + Duration::from_secs(seconds));
        assert_eq!(lines(Doing::Starting, 0), None);
        assert_eq!(lines(Badly(Class::Timeout), 0), Some((Line::Stalled, 0)));
        assert_eq!(lines(Badly(Class::Timeout), 1), None, "it is said");
        assert_eq!(lines(Well, 2), Some((Line::Again, 0)), "at once");
        for second in 3..60 {
            let doing = if second % 2 == 0 { Well } else { Badly(Class::Timeout) };
            assert_eq!(lines(doing, second), None, "{second}");
        }
        // As it was left, although nothing changes.
        assert_eq!(lines(Badly(Class::Timeout), 60), Some((Line::Stalled, 56)));
        assert_eq!(lines(Badly(Class::Dns), 61), Some((Line::OtherCause, 0)));
        assert_eq!(lines(Badly(Class::Tls), 62), None);
        assert_eq!(lines(Badly(Class::Dns), 63), None);
        assert_eq!(lines(Well, 64), Some((Line::Again, 2)));
        assert_eq!(lines(Well, 200), None);
    }

    #[test]
    fn why_is_not_long() {
        let what = "x".repeat(70_000);
        let mut tracker = Tracker::new("east", Health::Starting);
        tracker.bad(SystemTime::UNIX_EPOCH, &SourceError::from(PollError::Other { what }));
        let Health::Stalled { why, .. } = tracker.health() else { panic!() };
        assert!(why.ends_with("x…") && why.len() < 1000, "{}", why.len());
    }
}
