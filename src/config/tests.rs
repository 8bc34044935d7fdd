//! Broken configurations and their exact messages; the shipped one; anything
//! at all.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::diag::Problem;

fn here(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// Loads with every feature, whatever this build has.
fn load_all(dir: &Path) -> Result<Loaded, Invalid> {
    load(dir, &Overrides { ec2: true, ..Overrides::default() })
}

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// The problems as they are printed, with paths relative to `dir`.
fn lines(dir: &Path, problems: &[Problem]) -> String {
    let prefix = format!("{}/", dir.display());
    let whole = dir.display().to_string();
    problems
        .iter()
        .map(|p| p.to_string().replace(&prefix, "").replace(&whole, "."))
        .map(|line| line + "\n")
        .collect()
}

/// Every directory below `tests/bad` gives exactly the lines of its
/// `expected.txt`; `EIPDNS_BLESS=1` writes them anew, to be read before they
/// are committed.
#[test]
fn bad_directories_are_explained() {
    let bless = std::env::var_os("EIPDNS_BLESS").is_some();
    let mut cases: Vec<_> =
        fs::read_dir(here("tests/bad")).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 45, "only {} cases", cases.len());
    let mut wrong = String::new();
    for case in cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let found = match load_all(&case) {
            Ok(loaded) => {
                assert!(!loaded.warnings.is_empty(), "{name} is not bad at all");
                lines(&case, &loaded.warnings)
            }
            Err(invalid) => lines(&case, &invalid.problems),
        };
        let file = case.join("expected.txt");
        if bless {
            fs::write(&file, &found).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if expected != found {
            wrong += &difference(&name, &expected, &found);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn difference(name: &str, expected: &str, found: &str) -> String {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let mut text = format!("\n{name}\n");
    for line in expected.iter().filter(|line| !found.contains(line)) {
        text += &format!("  - {line}\n");
    }
    for line in found.iter().filter(|line| !expected.contains(line)) {
        text += &format!("  + {line}\n");
    }
    if text.lines().count() == 2 {
        text += "  the same lines in another order or number\n";
    }
    text
}

/// What no message can hold is told before somebody asks for it.
#[test]
fn rrsets_larger_than_a_message_are_refused() {
    let addresses = |count: u32, block: u32| {
        let all = (0..count).map(|n| format!("\"{}\"", Ipv4Addr::from(block + n)));
        all.collect::<Vec<_>>().join(", ")
    };
    let six = |count: u32| {
        let all = (0..count).map(|n| format!("\"fd00::{n:x}\""));
        all.collect::<Vec<_>>().join(", ")
    };
    let block = u32::from(Ipv4Addr::new(10, 0, 0, 1));
    // 65535 less 12 of header, 18 and 4 of question, 11 of OPT: 65490 octets.
    let names = format!(
        "records = \"records\"\n[names]\nfits = {{ address = [{}] }}\nmany = {{ address = [{}] }}\n\
         both = {{ address = [{}, {}] }}\nmore = {{ address = [{}] }}\n",
        addresses(4093, block),
        addresses(4094, block),
        addresses(4093, block),
        six(2338),
        six(2339),
    );
    // 254 octets each with the length of its string, and one that fills up.
    let text = |owner: &str, count: usize, last: usize| -> String {
        let line =
            |n: usize, length| format!("{owner} 60 TXT \"{n:03}{}\"\n", "x".repeat(length - 3));
        (0..count).map(|n| line(n, 253)).chain([line(999, last)]).collect()
    };
    let records = text("just", 246, 41) + &text("over", 246, 42);
    let dir = directory(&[
        ("server.toml", crate::testing::SERVER),
        ("example.com.toml", &names),
        ("records", &records),
    ]);
    let invalid = load_all(dir.path()).unwrap_err();
    let remedy = "so nobody would get them; remove some, or spread them over several names";
    assert_eq!(
        lines(dir.path(), &invalid.problems),
        format!(
            "example.com.toml:4:1: error: many.example.com. has more addresses than a message of 65535 octets holds, {remedy}\n\
             example.com.toml:6:1: error: more.example.com. has more addresses than a message of 65535 octets holds, {remedy}\n\
             records:248:1: error: over.example.com. has more records of type TXT than a message of 65535 octets holds, {remedy}\n"
        )
    );
}

#[test]
fn the_shipped_directory_is_sound() {
    let loaded = load(&here("zones"), &Overrides::default()).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.directory, here("zones"));
    assert_eq!(loaded.config.server.state_directory, here(".eipdns"));
    let [source] = loaded.config.server.sources.as_slice() else { panic!("one source") };
    assert_eq!(
        source.kind,
        SourceKind::File { path: here("zones/addresses.json"), interfaces: None }
    );
    assert_eq!(source.region.as_deref(), Some("us-east-1"));
    let [zone] = loaded.config.zones.as_slice() else { panic!("one zone") };
    assert_eq!(zone.origin.to_string(), "example.com.");
    assert_eq!(zone.contact.to_string(), "hostmaster.example.com.");
    let names: BTreeMap<_, _> =
        zone.names.iter().map(|b| (b.name.relative_to(&zone.origin), &b.target)).collect();
    let tags = BTreeMap::from([("Role".to_owned(), "db".to_owned())]);
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
    assert_eq!(
        names,
        BTreeMap::from([
            ("db".into(), &Target::ElasticIp(Ipv4Addr::new(75, 101, 137, 243))),
            ("mail".into(), &Target::Allocation("eipalloc-0a1b2c3d".into())),
            ("pool".into(), &Target::Tags(tags)),
            ("ns1".into(), &Target::Fixed(vec![address])),
            ("*.shard".into(), &Target::ElasticIp(Ipv4Addr::new(75, 101, 137, 244))),
        ])
    );
}

#[test]
fn ec2_is_polled_each_second_unless_it_says_otherwise() {
    let poll = |line: &str| {
        let source = format!("[[source]]\nname = \"main\"\ntype = \"ec2\"\n{line}\n");
        let view = "[[view]]\nname = \"all\"\nclients = [\"10.0.0.0/8\"]\nanswer = \"private\"";
        let server = format!("[listen]\ndns = [\"127.0.0.1:5300\"]\n{source}{view}\n");
        let dir = directory(&[("server.toml", &server), ("example.com.toml", "")]);
        load_all(dir.path()).map(|loaded| match &loaded.config.server.sources[0].kind {
            SourceKind::Ec2(ec2) => ec2.poll,
            SourceKind::File { .. } => panic!("a file"),
        })
    };
    assert_eq!(poll("").unwrap(), Duration::from_secs(1));
    assert_eq!(poll("poll = \"500ms\"").unwrap(), Duration::from_millis(500));
    assert!(poll("poll = \"499ms\"").is_err());
}

/// Every key of the contract that this version has, and what becomes of it.
#[test]
fn every_key_is_read() {
    let dir = directory(&[("server.toml", FULL_SERVER), ("corp.toml", FULL_ZONE)]);
    let loaded = load_all(dir.path()).unwrap();
    let [bare] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
    assert!(bare.what.contains("view \"outside\" answers a.sub.example.com."), "{bare}");
    let server = &loaded.config.server;
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let secs = Duration::from_secs;
    assert_eq!(
        server.listen,
        Listen {
            trust_ecs_from: vec![],
            dns: vec![at("10.0.0.53:53"), at("[fd00::53]:53")],
            http: Some(at("127.0.0.1:8053")),
            workers: 3,
            tcp_clients: 100,
            tcp_per_client: 7,
            tcp_idle: secs(4),
            version: Some("eipdns".into()),
            id: Some("ns1".into()),
            http_token_file: Some(dir.path().join("token")),
        }
    );
    assert_eq!(server.aws_resolvers, ["169.254.169.253".parse::<IpAddr>().unwrap()]);
    let [file, main] = server.sources.as_slice() else { panic!("two sources") };
    assert_eq!(
        file.kind,
        SourceKind::File {
            path: "/dev/null".into(),
            interfaces: Some(dir.path().join("interfaces.json")),
        }
    );
    assert_eq!(file.public_suffix.as_ref().unwrap().to_string(), "ec2.test.");
    assert_eq!((&file.region, file.ttl), (&None, 5));
    assert_eq!((main.region.as_deref(), main.ttl), (Some("eu-west-1"), 9));
    assert_eq!(
        main.kind,
        SourceKind::Ec2(Ec2Source {
            poll: Duration::from_millis(1500),
            endpoint_url: Some("http://127.0.0.1:5555".into()),
            profile: Some("prod".into()),
            role_arn: Some("arn:aws:iam::111122223333:role/dns".into()),
            external_id: Some("x".into()),
            account: Some("011122223333".into()),
            filters: BTreeMap::from([
                ("domain".into(), vec!["vpc".into()]),
                ("tag:Role".into(), vec!["db".into(), "mail".into()]),
            ]),
        })
    );
    let [vpc, outside] = server.views.as_slice() else { panic!("two views") };
    assert_eq!((vpc.answer, outside.answer), (Mode::Private, Mode::Cname));
    assert_eq!(vpc.listen, [at("10.0.0.53:53"), at("[fd00::53]:0")]);
    assert_eq!(vpc.clients, ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    assert_eq!(vpc.reaches, Some(vec!["10.0.0.0/9".parse().unwrap()]));
    assert_eq!(outside.reaches, None);
    assert_eq!(
        server.guard,
        Guard { hold: secs(0), missing_hold: secs(60), release_after: secs(120) }
    );
    assert_eq!(server.state_directory, Path::new("/var/lib/dns"));
    let [reverse] = server.reverse.as_slice() else { panic!("one block") };
    assert_eq!(reverse.networks, ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()));
    assert_eq!((reverse.views.as_slice(), reverse.ttl), (&[0, 1][..], 60));
    assert_eq!(loaded.config.zones[0].names.iter().filter(|name| !name.ptr).count(), 1);
    assert_eq!(server.serve, Serve { max_stale: Some(secs(3600)), ready_grace: secs(10) });

    let [zone] = loaded.config.zones.as_slice() else { panic!("one zone") };
    assert_eq!((zone.ttl, zone.negative_ttl), (0, 2_147_483_647));
    assert_eq!(zone.views, [0, 1]);
    assert_eq!(zone.contact.to_string(), r"dns\.admin.example.org.");
    let nameservers: Vec<_> = zone.nameservers.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(nameservers, ["ns1.sub.example.com.", "ns.example.net."]);
    let shown: Vec<_> = zone
        .names
        .iter()
        .map(|b| {
            let name = b.name.relative_to(&zone.origin);
            format!(
                "{name}: {} {:?} {:?} {:?} {:?} {:?}",
                b.target, b.modes, b.ttl, b.hold, b.source, b.pin
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "a: 75.101.137.243 [Some(Private), Some(Cname)] None None None None",
            "b: eipalloc-0a1b2c3d4e5f67890 [Some(Private), Some(Cname)] None None None None",
            "c: eipalloc-0a1b2c3d [None, Some(Cname)] Some(60) Some(60s) Some(1) Some(10.0.1.9)",
            "d: tag Env=prod, Role=db [Some(Public), Some(Public)] None None None None",
            "ns1: 10.0.0.53, fd00::53 [Some(Private), Some(Cname)] Some(300) None None None",
            "@: 75.101.137.243 [Some(Public), Some(Public)] None None None None",
        ]
        .map(String::from)
        .as_slice()
    );
}

const FULL_SERVER: &str = r#"
[listen]
dns = ["10.0.0.53:53", "[fd00::53]:53"]
http = "127.0.0.1:8053"
workers = 3
tcp_clients = 100
tcp_per_client = 7
tcp_idle = "4s"
version = "eipdns"
id = "ns1"
http_token_file = "token"

[aws]
resolvers = ["169.254.169.253"]

[[source]]
name = "file"
type = "file"
path = "/dev/null"
interfaces = "interfaces.json"
public_suffix = "EC2.test"

[[source]]
name = "main"
type = "ec2"
region = "eu-west-1"
ttl = 9
poll = "1500ms"
endpoint_url = "http://127.0.0.1:5555"
profile = "prod"
role_arn = "arn:aws:iam::111122223333:role/dns"
external_id = "x"
account = "011122223333"
filters = { "tag:Role" = ["db", "mail"], domain = "vpc" }

[[view]]
name = "vpc"
clients = ["10.0.0.0/8", "fd00::/8"]
listen = ["10.0.0.53:53", "fd00::53"]
answer = "private"
reaches = ["10.0.0.0/9"]
forward = false
rewrite = false
ec2_names = false

[[view]]
name = "outside"
clients = ["10.0.0.0/8"]
answer = "cname"

[[reverse]]
networks = ["10.0.0.0/8", "fd00::/8"]
views = ["outside", "vpc"]
ttl = 60

[guard]
hold = "0s"
missing_hold = "1m"
release_after = "2m"

[state]
directory = "/var/lib/dns"

[serve]
max_stale = "1h"
ready_grace = "10s"
"#;

const FULL_ZONE: &str = r#"
origin = "sub.example.com."
ttl = 0
negative_ttl = 0x7fff_ffff
nameservers = ["NS1", "ns.example.net."]
contact = "dns.admin@example.org"
views = ["outside", "vpc"]

[names]
A = "75.101.137.243"
b = "eipalloc-0a1b2c3d4e5f67890"
"@" = { elastic_ip = "75.101.137.243", answer = "public" }
c = { allocation_id = "eipalloc-0a1b2c3d", answer = { vpc = "none" }, ttl = 60, hold = "1m", source = "main", pin = "10.0.1.9", ipv6 = false }
"d.sub.example.com." = { tag = { Role = "db", Env = "prod" }, answer = "public" }
ns1 = { address = ["10.0.0.53", "fd00::53"], ttl = 300, ptr = false }
"#;

const SERVER: &str = r#"
[listen]
dns = ["127.0.0.1:5300"]
[[view]]
name = "all"
clients = ["0.0.0.0/0"]
answer = "private"
"#;

const ZONE: &str = "[names]\nns = { address = \"10.0.0.53\" }\n";

#[test]
fn flags_win_over_the_file() {
    let dir = directory(&[("server.toml", SERVER), ("example.com.toml", ZONE)]);
    let overrides = Overrides {
        listen_dns: Some(vec!["127.0.0.1:0".parse().unwrap()]),
        listen_http: Some("127.0.0.1:0".parse().unwrap()),
        state: Some("elsewhere".into()),
        ec2: false,
    };
    let server = load(dir.path(), &overrides).unwrap().config.server;
    assert_eq!(Some(server.listen.dns), overrides.listen_dns);
    assert_eq!(server.listen.http, overrides.listen_http);
    assert_eq!(Some(server.state_directory), overrides.state);

    let silent = SERVER.replace("dns =", "#");
    let dir = directory(&[("server.toml", silent.as_str()), ("example.com.toml", ZONE)]);
    assert!(load(dir.path(), &overrides).is_ok());
    let none = Overrides { listen_dns: Some(vec![]), ..Overrides::default() };
    let invalid = load(dir.path(), &none).unwrap_err();
    assert!(invalid.to_string().contains("`dns` is missing"), "{invalid}");
}

#[test]
fn defaults_are_those_of_the_contract() {
    let dir = directory(&[("server.toml", SERVER), ("example.com.toml", ZONE)]);
    let config = load(dir.path(), &Overrides::default()).unwrap().config;
    let Server { listen, guard, serve, .. } = &config.server;
    assert_eq!((listen.tcp_clients, listen.tcp_per_client), (4096, 256));
    assert_eq!((listen.http, listen.tcp_idle), (None, Duration::from_secs(10)));
    assert!((1..=256).contains(&listen.workers));
    assert_eq!(*guard, Guard::default());
    assert_eq!(*serve, Serve { max_stale: None, ready_grace: Duration::from_secs(30) });
    let [zone] = config.zones.as_slice() else { panic!("one zone") };
    assert_eq!((zone.ttl, zone.negative_ttl, &zone.nameservers), (5, 5, &None));
}

#[test]
fn ec2_needs_its_feature() {
    let source = "[[source]]\nname = \"main\"\ntype = \"ec2\"\n";
    let server = format!("{SERVER}{source}");
    let dir = directory(&[("server.toml", server.as_str()), ("example.com.toml", ZONE)]);
    assert!(load_all(dir.path()).is_ok());
    let invalid = load(dir.path(), &Overrides::default()).unwrap_err();
    assert_eq!(
        lines(dir.path(), &invalid.problems),
        "server.toml:10:8: error: `type = \"ec2\"` is not in this version of eipdns: it was \
         built without the cargo feature `ec2`; build it with default features, or use \
         `type = \"file\"`\n"
    );
}

#[test]
fn a_directory_that_is_not_there() {
    let dir = directory(&[]);
    let absent = dir.path().join("zones");
    let invalid = load(&absent, &Overrides::default()).unwrap_err();
    assert_eq!(
        lines(dir.path(), &invalid.problems),
        "zones: error: the configuration directory cannot be read: it does not exist; name the \
         directory that holds server.toml with `--config` or EIPDNS_CONFIG\n"
    );
}

#[test]
fn an_empty_directory() {
    let dir = directory(&[]);
    let invalid = load(dir.path(), &Overrides::default()).unwrap_err();
    assert_eq!(
        lines(dir.path(), &invalid.problems),
        ".: warning: there is no zone, so every question is refused; add one as <its \
         name>.toml, for example example.com.toml\n\
         server.toml: error: there is no such file, so nothing says where to listen; create it \
         with `[listen]`, `[[source]]` and `[[view]]`, or name another directory with \
         `--config` or EIPDNS_CONFIG\n"
    );
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_dotfiles_ignored() {
    use std::os::unix::fs::symlink;

    // As a Kubernetes ConfigMap looks.
    let dir = directory(&[(".hidden.toml", "nonsense"), ("notes.toml.bak", "nonsense")]);
    fs::create_dir(dir.path().join("..2026")).unwrap();
    fs::write(dir.path().join("..2026/server.toml"), SERVER).unwrap();
    fs::write(dir.path().join("..2026/example.com.toml"), ZONE).unwrap();
    symlink("..2026", dir.path().join("..data")).unwrap();
    for name in ["server.toml", "example.com.toml"] {
        symlink(format!("..data/{name}"), dir.path().join(name)).unwrap();
    }
    let loaded = load(dir.path(), &Overrides::default()).unwrap();
    assert_eq!(lines(dir.path(), &loaded.warnings), "");
    assert_eq!(loaded.config.zones.len(), 1);

    symlink("nowhere", dir.path().join("gone.toml")).unwrap();
    fs::create_dir(dir.path().join("sub.toml")).unwrap();
    let invalid = load(dir.path(), &Overrides::default()).unwrap_err();
    assert_eq!(
        lines(dir.path(), &invalid.problems),
        "gone.toml: error: the file cannot be read: it does not exist; make it readable for the \
         user eipdns runs as, or rename it so that it does not end in .toml\n\
         sub.toml: error: the file cannot be read: it is not a regular file; make it readable \
         for the user eipdns runs as, or rename it so that it does not end in .toml\n"
    );
}

/// Whatever comes out, nothing panics and refusals have a reason.
fn survives(server: &str, zone: &str) {
    let dir = directory(&[("server.toml", server), ("example.com.toml", zone)]);
    match load_all(dir.path()) {
        Ok(loaded) => {
            assert!(loaded.warnings.iter().all(|p| p.severity == crate::diag::Severity::Warning));
            for name in loaded.config.zones.iter().flat_map(|zone| &zone.names) {
                assert_eq!(name.modes.len(), loaded.config.server.views.len());
            }
        }
        Err(invalid) => {
            assert!(invalid.problems.iter().any(|p| p.severity == crate::diag::Severity::Error));
        }
    }
    // What is printed is text, one line each.
    let shown = match load_all(dir.path()) {
        Ok(loaded) => loaded.warnings,
        Err(invalid) => invalid.problems,
    };
    for problem in shown {
        assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
    }
}

/// Pieces of configuration that get past the lexer more often than noise.
fn fragments() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ",",
        ".",
        "\n",
        " ",
        "\"",
        "'",
        "#",
        "*",
        "@",
        "-",
        "listen",
        "dns",
        "view",
        "source",
        "names",
        "answer",
        "clients",
        "name",
        "type",
        "tag",
        "address",
        "records",
        "forward",
        "reverse",
        "networks",
        "views",
        "ptr",
        "hold",
        "poll",
        "true",
        "false",
        "1",
        "0x",
        "1e9",
        "\"10.0.0.0/8\"",
        "\"127.0.0.1:53\"",
        "\"private\"",
        "\"\\u0000\"",
        "\r",
        "é",
        "\u{feff}",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// A valid text with a few octets cut out, doubled or replaced.
fn mutated(text: &'static str) -> impl Strategy<Value = String> {
    let edit = (0..text.len(), 0usize..12, prop_oneof![Just(String::new()), ".{0,4}", fragments()]);
    prop::collection::vec(edit, 1..4).prop_map(move |edits| {
        let mut octets = text.as_bytes().to_vec();
        for (at, len, with) in edits {
            let at = at.min(octets.len());
            let end = (at + len).min(octets.len());
            octets.splice(at..end, with.bytes());
        }
        String::from_utf8_lossy(&octets).into_owned()
    })
}

proptest! {
    #[test]
    fn survives_any_text(server in ".{0,200}", zone in ".{0,200}") {
        survives(&server, &zone);
    }

    #[test]
    fn survives_fragments(server in fragments(), zone in fragments()) {
        survives(&server, &zone);
    }

    #[test]
    fn survives_mutation(server in mutated(FULL_SERVER), zone in mutated(FULL_ZONE)) {
        survives(&server, FULL_ZONE);
        survives(FULL_SERVER, &zone);
        survives(&server, &zone);
    }
}
