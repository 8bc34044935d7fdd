//! Keys of server.toml that the process takes once, when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Server;

/// What these keys said when the process started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AtStart {
    http: Option<SocketAddr>,
    http_token_file: Option<PathBuf>,
    state_directory: PathBuf,
}

/// A key that says otherwise than when the process started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NeedsRestart {
    /// The key.
    pub key: &'static str,
    /// What the process runs with; none: it was not set.
    pub runs: Option<String>,
    /// What the configuration says now.
    pub says: Option<String>,
}

impl AtStart {
    /// Of the first configuration.
    pub(crate) fn of(server: &Server) -> Self {
        Self {
            http: server.listen.http,
            http_token_file: server.listen.http_token_file.clone(),
            state_directory: server.state_directory.clone(),
        }
    }

    /// The keys that say otherwise in `server`.
    pub(crate) fn needs_restart(&self, server: &Server) -> Vec<NeedsRestart> {
        let path = |path: &PathBuf| path.display().to_string();
        let of = |at: &Self| {
            [
                ("listen.http", at.http.map(|address| address.to_string())),
                ("listen.http_token_file", at.http_token_file.as_ref().map(path)),
                ("state.directory", Some(path(&at.state_directory))),
            ]
        };
        let pairs = of(self).into_iter().zip(of(&Self::of(server)));
        let differ = pairs.filter(|((_, runs), (_, says))| runs != says);
        differ.map(|((key, runs), (_, says))| NeedsRestart { key, runs, says }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, SERVER};

    #[test]
    fn what_a_reload_does_not_change_is_named_until_it_is_as_it_was() {
        let with = |lines: &str, more: &str| {
            let server = SERVER.replace("[listen]\n", &format!("[listen]\n{lines}"));
            testing::config(&[("server.toml", &format!("{server}\n{more}"))]).server
        };
        let first = with("http = \"127.0.0.1:1\"\n", "[state]\ndirectory = \"/tmp/a\"\n");
        let at_start = AtStart::of(&first);
        assert_eq!(at_start.needs_restart(&first), []);
        let other = with("workers = 7\n", "[state]\ndirectory = \"/tmp/b\"\n");
        let needs = |key, runs: Option<&str>, says: Option<&str>| NeedsRestart {
            key,
            runs: runs.map(str::to_owned),
            says: says.map(str::to_owned),
        };
        let expected = [
            needs("listen.http", Some("127.0.0.1:1"), None),
            needs("state.directory", Some("/tmp/a"), Some("/tmp/b")),
        ];
        // However often it is read: the process is the same.
        for _ in 0..2 {
            assert_eq!(at_start.needs_restart(&other), expected);
        }
        assert_eq!(at_start.needs_restart(&first), []);
    }
}
