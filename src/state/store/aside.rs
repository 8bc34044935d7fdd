//! Files that cannot be used are kept under another name, so that the next start is
//! without them and somebody can look into them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use super::super::error::{Aside, StateError};
use super::super::format::FormatError;
use super::{FIRST, SECOND, Store};

/// How many are kept, of either version.
pub(super) const KEEP_ASIDE: usize = 5;

impl Store {
    pub(super) fn put_aside(&self, error: StateError) -> StateError {
        let aside = |path: &Path, why| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(FIRST);
            self.aside(name, why, |from, to| fs::rename(from, to))
        };
        match error {
            StateError::Read { path, cause, then, .. } => {
                let kept = aside(&path, "unread");
                StateError::Read { path, cause, kept, then }
            }
            StateError::Unusable { path, cause, then, .. } => {
                let why = match &cause {
                    FormatError::Newer { .. } => "newer",
                    FormatError::Older { .. } => "older",
                    FormatError::Foreign { .. } => "foreign",
                    _ => "damaged",
                };
                let kept = aside(&path, why);
                StateError::Unusable { path, cause, kept, then }
            }
            other => other,
        }
    }

    /// Renames the state's files, so that the next start is without them and
    /// somebody can look into them: for state that cannot be used. `why` is a
    /// word for their new names. Returns what became of the one that is believed.
    pub fn set_aside(&mut self, why: &str) -> Aside {
        self.written = None;
        let [second, first] =
            [SECOND, FIRST].map(|name| self.aside(name, why, |from, to| fs::rename(from, to)));
        if let Aside::Failed(_) = second { first } else { second }
    }

    pub(super) fn aside(
        &self,
        name: &str,
        why: &str,
        act: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> Aside {
        // Colons make trouble in scp and on foreign disks.
        let now = humantime::format_rfc3339_millis(SystemTime::now().max(SystemTime::UNIX_EPOCH));
        let time = now.to_string().replace([':', '-'], "");
        let to = self.directory.join(format!("{name}.{why}-{time}"));
        match act(&self.directory.join(name), &to) {
            Ok(()) => {
                self.forget_oldest(name);
                Aside::Kept(to)
            }
            Err(e) => Aside::Failed(e),
        }
    }

    /// Keeps the number of files set aside small. They end in their time.
    fn forget_oldest(&self, name: &str) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut aside: Vec<(String, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let file = entry.file_name().into_string().ok()?;
                let rest = file.strip_prefix(name)?.strip_prefix('.')?;
                let (_, time) = rest.rsplit_once('-')?;
                Some((time.to_owned(), entry.path()))
            })
            .collect();
        aside.sort();
        for (_, path) in aside.iter().rev().skip(KEEP_ASIDE) {
            // One too many does no harm.
            let _ = fs::remove_file(path);
        }
    }
}
