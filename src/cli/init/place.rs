//! Puts new files into a directory: all of them or none, and in place of nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Why there are no new files.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// There is one already.
    #[error(
        "{} exists, and nothing is overwritten: name another directory with --directory, or move \
         it away",
        .0.display()
    )]
    Exists(PathBuf),
    /// The directory cannot be written.
    #[error("{} cannot be {doing}: {cause}; nothing was written", path.display())]
    Io { path: PathBuf, doing: &'static str, cause: io::Error },
}

impl PlaceError {
    fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { path, doing, cause }
    }
}

/// Is there nothing at any of the names yet?
///
/// # Errors
/// There is, or nobody can tell.
pub(super) fn vacant(directory: &Path, names: &[&str]) -> Result<(), PlaceError> {
    for name in names {
        let path = directory.join(name);
        // A link that leads nowhere is something, too.
        match fs::symlink_metadata(&path) {
            Ok(_) => return Err(PlaceError::Exists(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(cause) => return Err(PlaceError::io(&path, "looked at")(cause)),
        }
    }
    Ok(())
}

/// Puts files, each a name and a text, into the directory, which is made if it is not
/// there.
///
/// # Errors
/// Nothing has changed then.
pub(super) fn put(directory: &Path, files: &[(&str, &str)]) -> Result<(), PlaceError> {
    let mut done = Done::default();
    if !directory.exists() {
        fs::create_dir_all(directory).map_err(PlaceError::io(directory, "made"))?;
        done.directory = Some(directory.to_owned());
    }
    for (nth, (name, text)) in files.iter().enumerate() {
        // A dotfile: no configuration reads it.
        let aside = directory.join(format!(".init-{}-{nth}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&aside);
        let mut file = file.map_err(PlaceError::io(&aside, "created"))?;
        done.aside.push(aside.clone());
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(PlaceError::io(&directory.join(name), "written"))?;
    }
    for ((name, _), aside) in files.iter().zip(&done.aside) {
        let path = directory.join(name);
        // Different from renaming, linking replaces nothing (link(2)).
        match fs::hard_link(aside, &path) {
            Ok(()) => done.linked.push(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(PlaceError::Exists(path));
            }
            Err(cause) => return Err(PlaceError::io(&path, "created")(cause)),
        }
    }
    done.keep();
    // They are there now, whatever becomes of this.
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
    Ok(())
}

/// What has been done, and is undone unless it is kept.
#[derive(Default)]
struct Done {
    directory: Option<PathBuf>,
    aside: Vec<PathBuf>,
    linked: Vec<PathBuf>,
}

impl Done {
    fn keep(&mut self) {
        self.directory = None;
        self.linked.clear();
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        // What cannot be undone is left, and has no other consequence.
        for path in self.linked.iter().chain(&self.aside) {
            let _ = fs::remove_file(path);
        }
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let all = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut all: Vec<_> = all.map(|name| name.into_string().unwrap()).collect();
        all.sort();
        all
    }

    #[test]
    fn all_files_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("a/zones");
        let files = [("z.toml", "zone"), ("server.toml", "server")];
        vacant(&new, &["z.toml", "server.toml"]).unwrap();
        put(&new, &files).unwrap();
        assert_eq!(names(&new), ["server.toml", "z.toml"]);
        assert_eq!(fs::read_to_string(new.join("z.toml")).unwrap(), "zone");
        let told = vacant(&new, &["z.toml"]).unwrap_err();
        assert!(matches!(told, PlaceError::Exists(_)), "{told}");

        // The second of the two appears while the first is written.
        fs::remove_file(new.join("z.toml")).unwrap();
        let told = put(&new, &files).unwrap_err();
        assert!(matches!(&told, PlaceError::Exists(path) if path.ends_with("server.toml")));
        assert_eq!(names(&new), ["server.toml"], "and neither the first nor what was aside");
        assert_eq!(fs::read_to_string(new.join("server.toml")).unwrap(), "server");

        // A link that leads nowhere is not written through.
        fs::remove_file(new.join("server.toml")).unwrap();
        let outside = dir.path().join("outside");
        std::os::unix::fs::symlink(&outside, new.join("server.toml")).unwrap();
        assert!(matches!(vacant(&new, &["server.toml"]), Err(PlaceError::Exists(_))));
        put(&new, &files).unwrap_err();
        assert!(!outside.exists());
    }

    #[test]
    fn what_cannot_be_written_is_said_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let below = dir.path().join("file/zones");
        let told = vacant(&below, &["z.toml"]).unwrap_err().to_string();
        assert!(told.contains("cannot be looked at"), "{told}");
        put(&below, &[("z.toml", "")]).unwrap_err();
        // A name that no file can have.
        let long = "x".repeat(300);
        let new = dir.path().join("zones");
        put(&new, &[("z.toml", "zone"), (&long, "")]).unwrap_err();
        assert_eq!(names(dir.path()), ["file"]);
    }
}
