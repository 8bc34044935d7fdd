//! A configuration directory, from files to [`Config`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::files::{Files, Progress, Seen};
use super::server::{self, Context};
use super::toml::File;
use super::{Config, rules, zone};
use crate::diag::{Place, Problem, Problems};
use crate::host::aside::{self, AsideError};

/// The one file that is not a zone.
pub(super) const SERVER: &str = "server.toml";

/// How long reading a configuration may take: 100,000 names take a second, and
/// where files come over a network, or queries leave little time, some more.
pub const WITHIN: Duration = Duration::from_secs(30);

/// What flags and environment say, which wins over `server.toml`, and what the program
/// has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Instead of `listen.dns`; an empty list is none.
    pub listen_dns: Option<Vec<SocketAddr>>,
    /// Instead of `listen.http`.
    pub listen_http: Option<SocketAddr>,
    /// Instead of `state.directory`; relative to the working directory.
    pub state: Option<PathBuf>,
    /// Can this program call EC2? Else sources of `type = "ec2"` are refused.
    pub ec2: bool,
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The directory it was read from, and that is worth watching.
    pub directory: PathBuf,
    /// What it says.
    pub config: Config,
    /// What is odd about it, in order of file and line.
    pub warnings: Vec<Problem>,
    /// What was read for it.
    pub seen: Seen,
}

/// A configuration that is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Invalid {
    /// Every error and warning of every file, in order of file and line; at
    /// least one is an error.
    pub problems: Vec<Problem>,
    /// What was read: to mend it may be to change one of these.
    pub seen: Seen,
}

impl Invalid {
    /// What was being read takes too long.
    pub fn hangs(progress: &Progress, cause: &AsideError) -> Self {
        let mut problems = Problems::default();
        problems.error(
            Place::file(&progress.file()),
            format!("reading it {cause}"),
            "then read the configuration again",
        );
        Self { problems: problems.sorted(), seen: Seen::default() }
    }
}

impl fmt::Display for Invalid {
    /// One line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// Reads `server.toml` and every other `*.toml` of `directory`. Dotfiles are
/// ignored, symbolic links followed, subdirectories not entered.
///
/// Nothing but these files and the master files they name is opened, nothing is
/// looked up: what a source or a token file holds is the business of those who
/// use it.
///
/// # Errors
/// All problems of all files at once, when one of them is an error.
pub fn load(directory: &Path, overrides: &Overrides) -> Result<Loaded, Invalid> {
    load_telling(directory, overrides, &Progress::at(directory))
}

/// [`load`], within [`WITHIN`].
///
/// # Errors
/// As there, or reading does not end.
pub fn load_in_time(directory: &Path, overrides: &Overrides) -> Result<Loaded, Invalid> {
    let progress = Progress::at(directory);
    let (dir, overrides, telling) = (directory.to_owned(), overrides.clone(), progress.clone());
    let work = move || load_telling(&dir, &overrides, &telling);
    aside::within(&aside::Place::read(directory), WITHIN, work)
        .unwrap_or_else(|cause| Err(Invalid::hangs(&progress, &cause)))
}

/// [`load`], saying in `progress` what is being read.
///
/// # Errors
/// As there.
pub fn load_telling(
    directory: &Path,
    overrides: &Overrides,
    progress: &Progress,
) -> Result<Loaded, Invalid> {
    let mut files = Files::new(progress);
    let read = all(directory, overrides, &mut files);
    let seen = files.seen();
    match read {
        Ok((config, warnings)) => {
            Ok(Loaded { directory: directory.to_owned(), config, warnings, seen })
        }
        Err(problems) => Err(Invalid { problems, seen }),
    }
}

/// Reads texts as if they stood in `directory`, under these names. The directory need not
/// be there.
///
/// # Errors
/// All problems of all texts at once, when one of them is an error.
pub fn load_texts(
    directory: &Path,
    texts: &[(&str, &str)],
    overrides: &Overrides,
) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let text = |(name, content): &(&str, &str)| Text {
        path: directory.join(name),
        content: Some((*content).to_owned()),
    };
    let texts = texts.iter().map(text).collect();
    let mut files = Files::new(&Progress::at(directory));
    typed(directory, texts, overrides, &mut files, Problems::default())
}

/// The configuration and what is odd about it, else what is wrong with it.
fn all(
    dir: &Path,
    overrides: &Overrides,
    files: &mut Files,
) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let mut problems = Problems::default();
    let texts = texts(dir, files, &mut problems);
    typed(dir, texts, overrides, files, problems)
}

/// What texts say; `problems` are those of getting them.
fn typed(
    dir: &Path,
    texts: Vec<Text>,
    overrides: &Overrides,
    files: &mut Files,
    mut problems: Problems,
) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let context = Context { dir, overrides };
    let server = server(&texts, &context, &mut problems);
    let drafts: Vec<_> = texts
        .iter()
        .filter(|text| !text.is_server())
        .filter_map(|text| {
            let content = text.content.as_deref()?;
            let file = File::parse(&text.path, content);
            let draft = zone::read(&file, &text.path, dir, &server, files, &mut problems);
            problems.append(file.into_problems());
            draft
        })
        .collect();
    rules::check(&server, &drafts, &mut problems);
    let fatal = problems.fatal();
    let problems = problems.sorted();
    if fatal {
        return Err(problems);
    }
    let mut zones: Vec<_> = drafts.into_iter().map(|draft| Arc::new(draft.zone)).collect();
    zones.sort_by(|a, b| a.origin.cmp(&b.origin));
    Ok((Config { server: server.server, zones }, problems))
}

/// One file; without content if it cannot be read, which has been reported.
struct Text {
    path: PathBuf,
    content: Option<String>,
}

impl Text {
    /// The server's file, in any spelling: the name is not one for a zone.
    fn is_server(&self) -> bool {
        self.path.file_name().is_some_and(|name| name.eq_ignore_ascii_case(SERVER))
    }
}

/// Every `*.toml` of the directory, in order of name.
fn texts(dir: &Path, files: &mut Files, problems: &mut Problems) -> Vec<Text> {
    let paths = match files.list(dir) {
        Ok(paths) => paths,
        Err(e) => {
            problems.error(
                Place::file(dir),
                format!("the configuration directory cannot be read: {}", cause(&e)),
                "name the directory that holds server.toml with `--config` or EIPDNS_CONFIG",
            );
            return vec![];
        }
    };
    let texts: Vec<_> = paths
        .into_iter()
        .map(|path| {
            let content = text_of(&path, files, problems);
            Text { path, content }
        })
        .collect();
    if !texts.iter().any(Text::is_server) {
        problems.error(
            Place::file(&dir.join(SERVER)),
            "there is no such file, so nothing says where to listen",
            "create it with `[listen]`, `[[source]]` and `[[view]]`, or name another directory with `--config` or EIPDNS_CONFIG",
        );
    }
    if texts.iter().all(Text::is_server) {
        problems.warn(
            Place::file(dir),
            "there is no zone, so every question is refused",
            "add one as <its name>.toml, for example example.com.toml",
        );
    }
    texts
}

/// The text of a file; none, which is then reported, if it cannot be read.
pub(super) fn text_of(path: &Path, files: &mut Files, problems: &mut Problems) -> Option<String> {
    let octets = match files.zone(path) {
        Ok(octets) => octets,
        Err(e) => {
            problems.error(
                Place::file(path),
                format!("the file cannot be read: {}", cause(&e)),
                "make it readable for the user eipdns runs as, or rename it so that it does not end in .toml",
            );
            return None;
        }
    };
    match String::from_utf8(octets) {
        Ok(text) => Some(text),
        Err(e) => {
            let good = e.as_bytes().get(..e.utf8_error().valid_up_to()).unwrap_or_default();
            let line = 1 + good.iter().filter(|b| **b == b'\n').count();
            problems.error(
                Place { file: path.into(), line, column: 0 },
                "the file is not UTF-8 from this line on",
                "save it as UTF-8",
            );
            None
        }
    }
}

/// The cause without the number of the error.
fn cause(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound => "it does not exist".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::NotADirectory => "it is not a directory".into(),
        _ => e.to_string(),
    }
}

fn server(texts: &[Text], context: &Context<'_>, problems: &mut Problems) -> server::Read {
    let exact = |text: &&Text| text.path.file_name().is_some_and(|name| name == SERVER);
    for text in texts.iter().filter(|text| text.is_server() && !exact(text)) {
        problems.error(
            Place::file(&text.path),
            format!("this is neither {SERVER} nor a zone"),
            format!("rename it to {SERVER}, in lower case, or remove it"),
        );
    }
    let found = texts.iter().find(exact).or_else(|| texts.iter().find(|text| text.is_server()));
    let Some((path, content)) = found.and_then(|t| Some((&t.path, t.content.as_deref()?))) else {
        return server::Read::nothing(context);
    };
    let file = File::parse(path, content);
    let read = server::read(&file, context);
    problems.append(file.into_problems());
    read
}
