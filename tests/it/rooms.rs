//! The house: every room looks down only, and every foreign crate stays in its
//! room, one place to read, test and replace it. The same goes for `unsafe` and
//! for what starts tasks and threads.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// The rooms of `src/`, from the roof to the ground: one uses what is below it,
/// and nothing above. So no circle ties any of them.
const FLOORS: &[&str] = &[
    "main", "aws", "cli", "server", "peers", "http", "status", "writer", "respond", "serve",
    "store", "compile", "answer", "forward", "snapshot", "state", "source", "config", "records",
    "dns", "diag", "host",
];

#[test]
fn every_room_looks_down_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut rooms = BTreeSet::new();
    walk(&src, &mut |file, source| {
        // The crate page names every room.
        if !matches!(file, "lib.rs" | "testing.rs") {
            rooms.insert(room_of(file).to_owned());
            found.extend(looks_up(file, source));
        }
    });
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    assert!(rooms.iter().eq(FLOORS.iter().copied().collect::<BTreeSet<_>>()), "{rooms:?}");
}

fn room_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or_default()
}

/// Every use of a room above that of `file`, or of one that is not on any floor.
fn looks_up(file: &str, source: &str) -> Vec<String> {
    let stream: TokenStream = source.parse().unwrap_or_else(|e| panic!("src/{file}: {e}"));
    let mut code = Vec::new();
    flatten(stream, false, &mut code);
    let floor = |room: &str| FLOORS.iter().position(|name| *name == room);
    let at = floor(room_of(file));
    let is_above =
        |room: &&Token| floor(&room.text).is_none_or(|floor| at.is_none_or(|at| floor < at));
    // Crates of their own.
    let root = if matches!(room_of(file), "main" | "aws") { "eipdns" } else { "crate" };
    let all = rooms_used(root, &code);
    let above = all.into_iter().filter(is_above);
    above.map(|t| format!("src/{file}:{}: `{root}::{}` is above it", t.line, t.text)).collect()
}

/// What follows `root::`, alone or in braces.
fn rooms_used<'t>(root: &str, code: &'t [Token]) -> Vec<&'t Token> {
    let text = |at: usize| code.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    for at in 0..code.len() {
        if text(at) != root || text(at + 1) != "::" {
            continue;
        }
        if text(at + 2) != "{" {
            found.extend(code.get(at + 2));
            continue;
        }
        let mut depth = 0;
        for (inner, token) in code.iter().enumerate().skip(at + 2) {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ if depth == 1 && matches!(text(inner - 1), "{" | ",") => found.push(token),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// Something that only some files may use.
struct Room {
    what: What,
    /// Paths below `src/`; one that ends in `*` stands for all it begins.
    files: &'static [&'static str],
    why: &'static str,
}

enum What {
    /// A crate, by the name it has in code.
    Crate(&'static str),
    /// All crates whose names begin so.
    Crates(&'static str),
    /// A word of the language, or a function by whatever path it is called.
    Word(&'static str),
}
use What::{Crate, Crates, Word};

const ROOMS: &[Room] = &[
    Room {
        what: Crates("aws_"),
        files: &["aws/*"],
        why: "the SDK is large, optional and replaceable; the rest knows `Address` only",
    },
    Room {
        what: Crate("hickory_server"),
        files: &["answer/request.rs"],
        why: "it parses requests and does nothing else here",
    },
    Room {
        what: Crate("arc_swap"),
        files: &["store.rs"],
        why: "a snapshot is swapped in one place, by one writer",
    },
    Room {
        what: Crate("toml"),
        files: &["config/toml.rs", "config/syntax.rs"],
        why: "the typed configuration does not know how files are written",
    },
    Room {
        what: Crate("axum"),
        files: &["http/*"],
        why: "HTTP is a face of the status, not a part of it",
    },
    Room {
        what: Crate("http_body_util"),
        files: &["aws/*"],
        why: "what is read of an answer has its bound where it is read",
    },
    Room {
        what: Crates("hyper"),
        files: &["http/connection.rs", "http/server.rs", "peers/client.rs"],
        why: "connections are served by its loop, and peers asked, within limits of ours",
    },
    Room {
        what: Crate("imbl"),
        files: &[
            "source/inventory.rs",
            "source/discover*",
            "source/interfaces/mod.rs",
            "compile/touched.rs",
            "snapshot/mod.rs",
            "writer/interfaces.rs",
        ],
        why: "what is looked up by address shares with the one before, and what differs is found by that",
    },
    Room {
        what: Crate("rustix"),
        files: &["host/background.rs", "host/descriptors.rs", "state/trust.rs"],
        why: "what may be slow has a lower priority than answers, the limit of descriptors is \
              raised, and who we are is asked: in one place each",
    },
    Room {
        what: Word("spawn_blocking"),
        files: &["host/background.rs"],
        why: "as above: whatever blocks goes through it",
    },
    Room {
        what: Word("unsafe"),
        files: &["serve/sys.rs"],
        why: "what the compiler cannot check is read as a whole",
    },
    Room {
        what: Word("spawn"),
        files: &[
            "server*",
            "serve/endpoint.rs",
            "serve/tcp.rs",
            "http/refresh.rs",
            "http/server.rs",
            "source/once.rs",
            "aws/account.rs",
            "aws/credentials.rs",
            "host/aside/attempt.rs",
            "host/log/mod.rs",
        ],
        why: "no orphans: who starts a task or thread also notices its end; `server` starts the \
              long-lived ones, `serve` and `http` their workers and connections, `http` and `once` join their \
              calls, `account` and `credentials` take what their one question brings, and end it, `host/aside` counts those of its threads that hang, `host/log` shows what its one \
              writer has not written",
    },
    Room {
        what: Crate("tracing_subscriber"),
        files: &["cli/logging.rs"],
        why: "how lines look and which are shown is one place; all else only says something",
    },
    Room { what: Word("set_hook"), files: &["host/panics.rs"], why: "a process has one hook" },
    Room {
        what: Word("stderr"),
        files: &["host/log/mod.rs", "cli/print.rs", "cli/logging.rs"],
        why: "who writes there waits for whoever reads: a server logs, and commands print",
    },
];

#[test]
fn foreign_crates_stay_in_their_rooms() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let files = walk(&src, &mut |file, source| found.extend(trespasses(file, source)));
    assert!(files > 1, "no sources below {}", src.display());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Calls `visit` with the path below `src` and the text of every Rust file;
/// returns how many there were. Test modules in files of their own are free.
pub(crate) fn walk(src: &Path, visit: &mut impl FnMut(&str, &str)) -> usize {
    fn descend(src: &Path, dir: &Path, visit: &mut impl FnMut(&str, &str)) -> usize {
        let mut files = 0;
        for entry in fs::read_dir(dir).expect("a readable directory") {
            let path = entry.expect("a directory entry").path();
            if path.file_stem().is_some_and(|stem| stem == "tests") {
                continue;
            }
            if path.is_dir() {
                files += descend(src, &path, visit);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let below = path.strip_prefix(src).expect("below src").to_str().expect("UTF-8");
                visit(below, &fs::read_to_string(&path).expect("a readable file"));
                files += 1;
            }
        }
        files
    }
    descend(src, src, visit)
}

/// Every use of something in a file that is not its room, with place and reason.
fn trespasses(file: &str, source: &str) -> Vec<String> {
    let stream: TokenStream = source.parse().unwrap_or_else(|e| panic!("src/{file}: {e}"));
    let mut code = Vec::new();
    flatten(stream, false, &mut code);

    let mut found = Vec::new();
    for Room { what, files, why } in ROOMS {
        if files.iter().any(|pattern| covers(pattern, file)) {
            continue;
        }
        for Token { text, line, .. } in uses(what, &code) {
            let files = files.join(", ");
            found.push(format!("src/{file}:{line}: `{text}` belongs in src/ {files}: {why}"));
        }
    }
    found
}

fn covers(pattern: &str, file: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == file, |start| file.starts_with(start))
}

/// A piece of code without comments, strings and test modules.
struct Token {
    text: String,
    line: usize,
    /// Nothing of a path stands before it, so it can name a crate.
    root: bool,
}

/// The tokens that use `what`.
fn uses<'t>(what: &What, code: &'t [Token]) -> Vec<&'t Token> {
    let text = |at: usize| code.get(at).map_or("", |token| token.text.as_str());
    let previous = |at: usize| at.checked_sub(1).map_or("", text);
    // `mod name;` and `use path::name;` hide a crate of that name, but for `::name`.
    let hidden = |name: &str| {
        code.iter().enumerate().any(|(at, token)| {
            token.text == name
                && (previous(at) == "mod" || !token.root && matches!(text(at + 1), ";" | "," | "}"))
        })
    };
    let names_a_crate = |at: usize| {
        code[at].root
            && (text(at + 1) == "::" || matches!(previous(at), "use" | "crate"))
            && (previous(at) == "::" || !hidden(text(at)))
    };
    let used = |at: usize| match *what {
        Crate(name) => text(at) == name && names_a_crate(at),
        Crates(start) => text(at).starts_with(start) && names_a_crate(at),
        Word(word) => text(at) == word,
    };
    (0..code.len()).filter(|&at| used(at)).map(|at| &code[at]).collect()
}

/// Appends the tokens of `stream`, groups opened up. `inside` says that these
/// are the braces of `use path::{…}`, where no path begins.
fn flatten(stream: TokenStream, inside: bool, code: &mut Vec<Token>) {
    let begin = code.len();
    let mut in_test = false;
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        // An item under #[cfg(test)] ends with its braces or a semicolon.
        if in_test {
            in_test = match &tree {
                TokenTree::Group(group) => group.delimiter() != Delimiter::Brace,
                other => other.to_string() != ";",
            };
            continue;
        }
        if tree.to_string() == "#" && trees.peek().is_some_and(is_cfg_test) {
            in_test = true;
            continue;
        }
        let line = tree.span().start().line;
        let back = |n: usize| code[begin..].iter().rev().nth(n).map(|token| token.text.as_str());
        let root = match (back(1), back(0)) {
            (Some(before), Some("::")) => !is_segment(before),
            (_, None | Some(",")) => !inside,
            _ => true,
        };
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                code.push(Token { text: open.into(), line, root: false });
                flatten(group.stream(), !root, code);
                code.push(Token { text: close.into(), line, root: false });
            }
            TokenTree::Punct(punct) => {
                let mut text = punct.as_char().to_string();
                if punct.spacing() == Spacing::Joint
                    && let Some(TokenTree::Punct(next)) = trees.peek()
                    && matches!((punct.as_char(), next.as_char()), (':', ':') | ('-' | '=', '>'))
                {
                    text.push(next.as_char());
                    trees.next();
                }
                code.push(Token { text, line, root: false });
            }
            TokenTree::Ident(ident) => code.push(Token { text: ident.to_string(), line, root }),
            TokenTree::Literal(_) => code.push(Token { text: "literal".into(), line, root: false }),
        }
    }
}

/// Does `::` after it go on with a path? After a name and the end of `<T>`;
/// after these words a new path begins.
fn is_segment(text: &str) -> bool {
    const BEFORE_A_PATH: [&str; 12] =
        ["as", "dyn", "else", "for", "if", "impl", "in", "match", "mut", "return", "use", "where"];
    let is_name = text.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    text == ">" || is_name && !BEFORE_A_PATH.contains(&text)
}

fn is_cfg_test(tree: &TokenTree) -> bool {
    let text = tree.to_string().replace(' ', "");
    text == "[cfg(test)]" || text.starts_with("[cfg(all(test,")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of `source` that are reported when it stands in `file`.
    fn lines(file: &str, source: &str) -> Vec<usize> {
        let line_of = |report: &String| report.split(':').nth(1).unwrap().parse().unwrap();
        let mut lines: Vec<usize> = trespasses(file, source).iter().map(line_of).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn every_way_to_use_a_crate_is_seen() {
        for source in [
            "use aws_config::Region;",
            "use aws_config;",
            "use aws_sdk_ec2 as ec2;",
            "use {std::fmt, aws_types::Region};",
            "use ::aws_config::Region;",
            "extern crate aws_config;",
            "fn f() -> aws_config::Region { loop {} }",
            "fn f() -> ::aws_config::Region { loop {} }",
            "fn f() { tokio::select! { r = aws_config::load() => r } }",
            "type R = Vec<aws_config::Region>;",
            "impl From<aws_config::Region> for X {}",
            "#[derive(aws_macro::Derive)] struct X;",
            "pub(crate) mod m { pub use aws_config::Region; }",
        ] {
            assert_eq!(lines("server/mod.rs", source), [1], "{source}");
            assert_eq!(lines("aws/lib.rs", source), [0; 0], "{source}");
        }
    }

    #[test]
    fn what_only_looks_like_a_crate_is_not() {
        for source in [
            "struct S { aws_resolvers: Vec<IpAddr> } fn f(s: S) { s.aws_resolvers.len(); }",
            "// aws_config::load\n/// [`aws_config::load`]\nfn f() {}",
            "const S: &str = \"aws_config::load\"; const R: &str = r#\"arc_swap::ArcSwap\"#;",
            "use crate::source::aws_like::Thing;",
            "use crate::{config, source::{self, toml::Table}, toml};",
            "use super::toml; fn f() { toml::read(); }",
            "mod toml; fn f() { toml::read(); crate::config::toml::read(); }",
            "fn f() { <T as X>::toml::<u8>::spawned(); }",
            "#[cfg(test)]\nmod tests { use aws_config::Region; fn f() { std::thread::spawn(g); } }",
            "#[cfg(test)] use arc_swap::ArcSwap;",
        ] {
            assert_eq!(lines("server/mod.rs", source), [0; 0], "{source}");
        }
    }

    #[test]
    fn a_hidden_crate_is_seen_by_its_global_path() {
        let source = "use super::toml;\nuse ::toml::de::DeTable;\nfn f() { toml::read(); }";
        assert_eq!(lines("config/zone.rs", source), [2]);
    }

    #[test]
    fn code_after_a_test_module_is_seen() {
        let source = "#[cfg(test)]\nmod tests { fn f() {} }\nuse arc_swap::ArcSwap;";
        assert_eq!(lines("server/mod.rs", source), [3]);
    }

    /// One violation of each row, and the same text in its room.
    #[test]
    fn every_room_is_closed_and_open() {
        for (source, room) in [
            ("use aws_config::Region;", "aws/lib.rs"),
            ("use hickory_server::server::Request;", "answer/request.rs"),
            ("static S: arc_swap::ArcSwap<u8> = x;", "store.rs"),
            ("fn f() { toml::from_str(x) }", "config/toml.rs"),
            ("use axum::Router;", "http/mod.rs"),
            ("use hyper::Request;", "http/connection.rs"),
            ("fn f() { hyper_util::rt::TokioIo::new(x); }", "http/server.rs"),
            ("fn f() { unsafe { libc::recvmmsg(x) } }", "serve/sys.rs"),
            ("fn f() { tokio::spawn(g()); }", "server/mod.rs"),
            ("fn f() { tracing_subscriber::fmt().init() }", "cli/logging.rs"),
            ("fn f() { std::panic::set_hook(g) }", "host/panics.rs"),
            ("fn f() { std::io::stderr().lock(); }", "cli/print.rs"),
            ("fn f() { std::thread::Builder::new().spawn(g)?; }", "serve/endpoint.rs"),
            ("fn f(s: &mut JoinSet<()>) { s.spawn(g()); }", "serve/tcp.rs"),
        ] {
            assert_eq!(lines("config/mod.rs", source), [1], "{source}");
            assert_eq!(lines(room, source), [0; 0], "{room}: {source}");
        }
        assert_eq!(lines("source/aws.rs", "use aws_config::Region;"), [1]);
    }

    #[test]
    fn every_look_upwards_is_seen() {
        let up = |file: &str, source: &str| looks_up(file, source).len();
        for source in [
            "use crate::server::Process;",
            "use crate::{dns::name, server::{Process, Options}};",
            "fn f() { crate::server::start() }",
            "pub(crate) mod m { use crate::server; }",
            "use crate::elsewhere::X;",
        ] {
            assert_eq!(up("http/api.rs", source), 1, "{source}");
        }
        for source in [
            "use crate::http::Site; use crate::host::files;",
            "use crate::{dns::name::{server, Key}, store::{self, Store}};",
            "#[cfg(test)]\nmod tests { use crate::server::Process; }",
            "/// [`Process`](crate::server::Process)\nfn f() {}",
        ] {
            assert_eq!(up("http/api.rs", source), 0, "{source}");
        }
        assert_eq!(up("server/mod.rs", "use crate::server::Process;"), 0, "itself");
        assert_eq!(
            looks_up("host/files.rs", "\nuse crate::config::Config;"),
            ["src/host/files.rs:2: `crate::config` is above it"]
        );
    }

    #[test]
    fn a_report_says_where_what_and_why() {
        let reports = trespasses("server/mod.rs", "\nuse arc_swap::ArcSwap;");
        assert_eq!(
            reports,
            ["src/server/mod.rs:2: `arc_swap` belongs in src/ store.rs: \
              a snapshot is swapped in one place, by one writer"]
        );
    }
}
