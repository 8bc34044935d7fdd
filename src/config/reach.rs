//! Where the running server is to be asked: of all the configuration, two keys
//! of server.toml. What is wrong elsewhere keeps nobody from asking.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::addresses::socket;
use super::files::{Files, Progress};
use super::load::{Invalid, SERVER, text_of};
use super::scope::Scope;
use super::toml::File;
use super::{files, readers};
use crate::diag::Problems;
use crate::host::aside::{Place, within};

/// Where the server listens for HTTP and what lets us in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// `listen.http`; none: off.
    pub http: Option<SocketAddr>,
    /// `listen.http_token_file`
    pub token_file: Option<PathBuf>,
}

/// Reads `listen.http` and `listen.http_token_file` of the directory's
/// server.toml, and nothing else. `directory` is called where it may hang.
///
/// # Errors
/// The file cannot be read within `time`, is no TOML, or has one of the two keys
/// otherwise than as it should be.
pub fn reach(
    directory: impl FnOnce() -> PathBuf + Send + 'static,
    name: &Path,
    time: Duration,
) -> Result<Reach, Invalid> {
    let progress = Progress::at(name);
    let telling = progress.clone();
    within(&Place::read(name), time, move || read(&directory(), &telling))
        .unwrap_or_else(|cause| Err(Invalid::hangs(&progress, &cause)))
}

fn read(dir: &Path, progress: &Progress) -> Result<Reach, Invalid> {
    let mut problems = Problems::default();
    let path = dir.join(SERVER);
    let text = text_of(&path, &mut Files::new(progress), &mut problems);
    let reach = text.map(|text| {
        let file = File::parse(&path, &text);
        let mut listen = file.root(Scope::Server).section("listen", Scope::Listen);
        let http = listen.take("http", socket("127.0.0.1:8053"));
        let token_file = listen.take("http_token_file", readers::path(dir, "http.token"));
        problems.append(file.into_problems());
        Reach { http, token_file }
    });
    match reach {
        Some(reach) if !problems.fatal() => Ok(reach),
        _ => Err(Invalid { problems: problems.sorted(), seen: files::Seen::default() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(20);

    fn reached(text: &str) -> Result<Reach, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(SERVER), text).unwrap();
        // Nobody looks at it.
        std::fs::write(dir.path().join("example.com.toml"), "[names\n").unwrap();
        let at = dir.path().to_owned();
        let reach = reach(move || at, dir.path(), TIME).map_err(|invalid| invalid.to_string());
        reach.map(|mut reach| {
            reach.token_file = reach.token_file.map(|path| path.file_name().unwrap().into());
            reach
        })
    }

    #[test]
    fn what_is_wrong_elsewhere_is_no_matter() {
        let reach = reached(
            "[listen]\ndns = \"nowhere\"\nhttp = \"127.0.0.1:8053\"\nhttp_token_file = \"t\"\n\
             odd = 1\n[[view]]\nclients = 7\n[sources]\n",
        );
        let http = "127.0.0.1:8053".parse().ok();
        assert_eq!(reach, Ok(Reach { http, token_file: Some("t".into()) }));
        assert_eq!(reached(""), Ok(Reach::default()), "no HTTP side");
    }

    #[test]
    fn what_is_wrong_there_is_said() {
        let why = reached("[listen]\nhttp = \"8053\"\n[view\n").unwrap_err();
        assert!(why.contains("server.toml:2") && why.contains("server.toml:3"), "{why}");
        let why = reached("[listen\nhttp = \"127.0.0.1:8053\"\n").unwrap_err();
        assert!(why.contains("server.toml:1"), "{why}");
        let nowhere = PathBuf::from("/nonexistent");
        let why = reach(
            {
                let at = nowhere.clone();
                move || at
            },
            &nowhere,
            TIME,
        )
        .unwrap_err();
        assert!(why.to_string().contains("does not exist"), "{why}");
    }

    #[test]
    fn reading_that_hangs_is_given_up() {
        let name = Path::new("/reach/hangs");
        let (_open, closed) = std::sync::mpsc::channel::<()>();
        let hang = move || {
            let _ = closed.recv();
            PathBuf::new()
        };
        let why = reach(hang, name, Duration::from_millis(20)).unwrap_err();
        assert!(why.to_string().contains("does not end"), "{why}");
    }
}
