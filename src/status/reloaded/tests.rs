use std::net::Ipv4Addr;
use std::path::Path;

use super::*;
use crate::compile::Serials;
use crate::config::{self, Overrides, Rule, Source};
use crate::dns::name::Key;
use crate::testing::{self, HEAD, SERVER};

const DB: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const ZONE: &str = "[names]\ndb = \"198.51.100.1\"\nwww = { address = \"10.0.0.1\" }\n";

/// One configuration after the other, as they are taken.
#[derive(Default)]
struct World {
    serials: Serials,
    in_use: Option<InUse>,
}

impl World {
    /// Takes one that asks these upstreams.
    fn takes(&mut self, files: &[(&str, &str)], upstreams: &[&str]) -> TakenReport {
        let dir = Path::new("/etc/eipdns");
        let (config, _) = config::load_texts(dir, files, &Overrides::default()).unwrap();
        let inventory = testing::inventory(&[(DB, Some([10, 0, 0, 5].into()))]);
        let before = self.in_use.take();
        let previous = before.as_ref().map(|before| &before.current.snapshot);
        let snapshot = testing::after(&config, &inventory, &mut self.serials, previous);
        let upstreams: Vec<_> = upstreams.iter().map(|at| at.parse().unwrap()).collect();
        let rule =
            || Rule { names: vec![Key::root()], upstreams: upstreams.clone(), max_rate: None };
        let forward = (!upstreams.is_empty()).then(|| ForwardConfig { rules: vec![rule()] });
        let current = Arc::new(Current::from(snapshot));
        let after = InUse { config: config.into(), current, forward };
        self.in_use = Some(after.clone());
        let before = before.unwrap_or_else(|| after.clone());
        let of = |in_use: &InUse| in_use.config.server.sources.clone();
        let named =
            |source: &Source| of(&before).iter().position(|before| before.name == source.name);
        let predecessors = of(&after).iter().map(named).collect();
        let (lost, opened, closed, needs_restart) = Default::default();
        Taken { before, after, lost, predecessors, opened, closed, needs_restart }.report()
    }

    /// The same as it is shown, without the first line.
    fn shows(&mut self, files: &[(&str, &str)], upstreams: &[&str]) -> Vec<String> {
        let taken = Some(self.takes(files, upstreams));
        let problems = First::of([], 0);
        let (version, at) = (String::new(), String::new());
        let shown = Verdict { version, at, accepted: true, problems, taken }.to_string();
        shown.lines().skip(1).map(str::to_owned).collect()
    }
}

#[test]
fn what_says_the_same_in_other_lines_has_changed_nothing() {
    let mut world = World::default();
    world.takes(&[("server.toml", SERVER), ("example.com.toml", ZONE)], &[]);
    let (server, zone) = (format!("# A comment.\n{SERVER}"), format!("# One more.\n{ZONE}"));
    let files = [("server.toml", server.as_str()), ("example.com.toml", &zone)];
    assert_eq!(world.shows(&files, &[]), ["nothing has changed"]);
}

#[test]
fn each_key_of_server_toml_is_told() {
    let mut world = World::default();
    let with = |listen: &str, more: &str| {
        let server = SERVER.replace("[listen]\n", &format!("[listen]\n{listen}\n"));
        format!("{server}\n{more}")
    };
    let forward = |port: u16| format!("[[forward]]\nupstreams = [\"192.0.2.1:{port}\"]\n");
    for (listen, more, told) in [
        ("workers = 3", "", "listen.workers: was "),
        (
            "trust_ecs_from = [\"10.0.0.0/8\"]",
            "",
            "listen.trust_ecs_from: was not set, is 10.0.0.0/8",
        ),
        ("tcp_clients = 77", "", "listen.tcp_clients: was "),
        ("tcp_per_client = 7", "", "listen.tcp_per_client: was "),
        ("tcp_idle = \"7s\"", "", "listen.tcp_idle: was "),
        ("version = \"x\"", "", "listen.version: was not set, is x"),
        ("id = \"ns1\"", "", "listen.id: was not set, is ns1"),
        ("", "[aws]\nresolvers = [\"192.0.2.53\"]", "aws.resolvers: was not set, is 192.0.2.53"),
        ("", "[guard]\nhold = \"7s\"", "guard.hold: was 30s, is 7s"),
        ("", "[state]\nreplica = \"2/3\"", "state.replica: was 1/1, is 2/3"),
        ("", "[guard]\nmissing_hold = \"7s\"", "guard.missing_hold: was 5m, is 7s"),
        ("", "[guard]\nrelease_after = \"7s\"", "guard.release_after: was 15m, is 7s"),
        ("", "[serve]\nmax_stale = \"1h\"", "serve.max_stale: was not set, is 1h"),
        ("", "[serve]\nready_grace = \"7s\"", "serve.ready_grace: was "),
        ("", &forward(53), "[[forward]]: was not set, is . to 192.0.2.1:53"),
        (
            "",
            "[[reverse]]\nnetworks = [\"10.0.0.0/8\"]\nviews = [\"vpc\", \"peered\"]",
            "[[reverse]]: was not set, is 10.0.0.0/8 in view vpc, peered with ttl 5",
        ),
    ] {
        world.in_use = None;
        world.takes(&[("server.toml", SERVER), ("example.com.toml", ZONE)], &[]);
        let server = with(listen, more);
        let files = [("server.toml", server.as_str()), ("example.com.toml", ZONE)];
        let lines = world.shows(&files, &[]);
        assert!(lines[0].starts_with(&format!("key {told}")), "{told}: {lines:?}");
        assert_eq!(world.shows(&files, &[]), ["nothing has changed"], "{told}");
    }
}

#[test]
fn addresses_and_upstreams_are_told_and_the_order_where_it_counts() {
    let mut world = World::default();
    let one = [("server.toml", SERVER)];
    world.takes(&one, &["192.0.2.1:53"]);
    // The file is as it was, and this host asks somebody else.
    let told = world.shows(&one, &["192.0.2.2:53"]);
    let was = ". to 192.0.2.1:53, as this host asks";
    let is = ". to 192.0.2.2:53, as this host asks";
    let expected = [
        &*format!("key [[forward]]: was {was}, is {is}"),
        "the cache of forwarded answers begins empty",
    ];
    assert_eq!(told, expected);
    let dns = SERVER.replace("\"127.0.0.1:0\"", "\"127.0.0.1:0\", \"127.0.0.2:0\"");
    let told = world.shows(&[("server.toml", &dns)], &["192.0.2.2:53"]);
    assert_eq!(told, ["key listen.dns: was 127.0.0.1:0, is 127.0.0.1:0, 127.0.0.2:0"]);
    let (a, b) =
        (testing::view("a", "10.0.0.0/9", "private"), testing::view("b", "10.128.0.0/9", "cname"));
    world.takes(&[("server.toml", &format!("{HEAD}{a}{b}"))], &[]);
    let told = world.shows(&[("server.toml", &format!("{HEAD}{b}{a}"))], &[]);
    assert_eq!(told, ["key the order of [[view]]: was a, b, is b, a"]);
}

#[test]
fn views_and_sources_are_told_key_by_key() {
    let mut world = World::default();
    world.takes(&[("server.toml", SERVER)], &[]);
    for (from, to, told) in [
        (
            "\"192.0.2.0/24\"",
            "\"192.0.2.0/25\"",
            "outside: its `clients` was \"192.0.2.0/24\" and is \"192.0.2.0/25\"",
        ),
        (
            "answer = \"cname\"",
            "answer = \"public\"",
            "outside: its `answer` was \"cname\" and is \"public\"",
        ),
        (
            "reaches = [\"10.0.0.0/16\"]",
            "reaches = [\"10.1.0.0/16\"]",
            "peered: its `reaches` was \"10.0.0.0/16\" and is \"10.1.0.0/16\"",
        ),
        (
            "answer = \"cname\"",
            "answer = \"cname\"\nlisten = [\"127.0.0.1:0\"]",
            "outside: its `listen` was not set and is \"127.0.0.1:0\"",
        ),
        (
            "answer = \"cname\"",
            "answer = \"cname\"\nec2_names = true",
            "outside: its `ec2_names` was \"false\" and is \"true\"",
        ),
    ] {
        world.takes(&[("server.toml", SERVER)], &[]);
        let server = SERVER.replace(from, to);
        assert_eq!(world.shows(&[("server.toml", &server)], &[]), [format!("view {told}")]);
    }
    world.takes(&[("server.toml", SERVER)], &[]);
    let server = SERVER.replace("\"peered\"", "\"other\"");
    let told = world.shows(&[("server.toml", &server)], &[]);
    assert_eq!(told, ["view other: new", "view peered: gone"]);
    let server = server.replace("addresses.json", "more.json");
    let told = world.shows(&[("server.toml", &server)], &[]);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("source sample: its `path` was "), "{told:?}");
    let told = world.shows(&[("server.toml", &server.replace("\"sample\"", "\"east\""))], &[]);
    assert_eq!(told, ["source east: new", "source sample: gone"]);
}

#[test]
fn an_edit_of_a_zone_that_no_answer_shows_is_told() {
    let mut world = World::default();
    let server = ("server.toml", SERVER);
    for (zone, is_seen) in [
        ("[names]\ndb = { elastic_ip = \"198.51.100.1\", hold = \"7s\" }\n", false),
        ("[names]\ndb = { elastic_ip = \"198.51.100.1\", source = \"sample\" }\n", false),
        ("[names]\ndb = { allocation_id = \"eipalloc-c6336401\" }\n", false),
        ("[names]\ndb = { elastic_ip = \"198.51.100.1\", ttl = 7 }\n", true),
        ("contact = \"root.example.com\"\n[names]\ndb = \"198.51.100.1\"\n", true),
    ] {
        world.takes(&[server, ("example.com.toml", "[names]\ndb = \"198.51.100.1\"\n")], &[]);
        let told = world.takes(&[server, ("example.com.toml", zone)], &[]);
        assert_eq!(told.zones.edited.first, ["example.com."], "{zone}");
        assert!(told.changed && told.names.is_empty(), "{zone}: {told:?}");
        assert_eq!(!told.contents.is_empty(), is_seen, "{zone}: {told:?}");
        // A view that comes before shifts the numbers of all others.
        let first = testing::view("first", "10.7.0.0/16", "public");
        let shifted = SERVER.replacen("\n[[view]]", &format!("{first}\n[[view]]"), 1);
        let told = world.takes(&[("server.toml", &shifted), ("example.com.toml", zone)], &[]);
        assert!(told.zones.edited.is_empty(), "{zone}: {:?}", told.zones);
        assert_eq!(told.views.added.first, ["first"], "{zone}");
    }
    let told = world.takes(&[server, ("example.net.toml", ZONE)], &[]);
    assert_eq!(told.zones.added.first, ["example.net."]);
    assert_eq!(told.zones.removed.first, ["example.com."]);
}

#[test]
fn of_many_names_the_first_are_told_and_how_many_more() {
    let mut world = World::default();
    let names: String =
        (0..1_200).map(|n| format!("n{n:04} = {{ address = \"10.0.0.1\" }}\n")).collect();
    let zone = |names: &str| format!("[names]\n{names}");
    let server = ("server.toml", SERVER);
    world.takes(&[server, ("example.com.toml", "")], &[]);
    let told = world.takes(&[server, ("example.com.toml", &zone(&names))], &[]);
    assert_eq!((told.names.first.len(), told.names.more), (MAX_TOLD, 200));
    assert_eq!(told.names.first[0].name, "n0000.example.com.");
    assert_eq!(told.names.first[MAX_TOLD - 1].name, "n0999.example.com.");
}

/// Where not all can be told, no error makes room for a warning.
#[test]
fn of_many_problems_errors_come_first() {
    let problem = |line: usize| {
        let severity = if line == MAX_PROBLEMS + 1 { Severity::Error } else { Severity::Warning };
        let place = crate::diag::Place { line, ..crate::diag::Place::file(Path::new("a.toml")) };
        Problem { place, severity, what: "what".into(), remedy: "remedy".into() }
    };
    let told = |lines: usize| {
        let problems = (1..=lines).map(problem).collect();
        let (at, outcome, verdict) = (String::new(), Outcome::Wrong, OnceLock::new());
        let reloaded = Reloaded { at, problems, outcome, verdict };
        let Verdict { accepted, problems, .. } = reloaded.told();
        assert!(!accepted && problems.first.len() == MAX_PROBLEMS);
        (problems.first[0].line, problems.first[0].error, problems.more)
    };
    assert_eq!(told(MAX_PROBLEMS), (Some(1), false, 0));
    assert_eq!(told(MAX_PROBLEMS + 2), (Some(MAX_PROBLEMS + 1), true, 2));
}

#[test]
fn what_cannot_be_carried_out_is_an_error_without_a_file() {
    let (at, problems) = (String::new(), Vec::new());
    let outcome = Outcome::Failed("cannot listen on 127.0.0.1:53".into());
    let reloaded = Reloaded { at, problems, outcome, verdict: OnceLock::new() };
    let verdict = reloaded.verdict();
    assert!(!verdict.accepted && verdict.taken.is_none());
    let told: Vec<_> = verdict.problems.first.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["error: cannot listen on 127.0.0.1:53"]);
}

#[test]
fn more_than_can_wait_are_turned_away_and_counted() {
    let (asks, mut asked) = Asks::channel();
    let client = [127, 0, 0, 1].into();
    let mut waiting: Vec<_> = (0..MAX_ASKS).map(|_| asks.ask(client).unwrap()).collect();
    assert!(asks.ask(client).is_none() && asks.clone().turned_away() == 1);
    // One gives up; until the loop has heard of it, there is no room to ask.
    drop(waiting.pop());
    assert!(asks.ask(client).is_none());
    let first = asked.try_recv().unwrap();
    assert!(!first.is_given_up());
    waiting.push(asks.ask(client).unwrap());
    assert_eq!(asks.turned_away(), 2);
}
