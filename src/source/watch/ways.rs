//! The directory entries on which it depends what file a path leads to: each symbolic
//! link on the way, and the entry at its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use notify::event::{AccessKind, EventKind};

/// How many symlinks may lie on the way to a file: Linux's own limit
/// (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What is watched. None of it need exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) files: Vec<PathBuf>,
    /// A directory, and how the names of the entries end that count.
    pub(super) entries: Option<(PathBuf, &'static str)>,
}

impl Wanted {
    /// What stands for all of it in messages.
    pub(super) fn path(&self) -> &Path {
        let directory = self.entries.as_ref().map(|(directory, _)| directory);
        directory.or_else(|| self.files.first()).map_or(Path::new("."), PathBuf::as_path)
    }
}

/// Device and inode.
pub(super) type Inode = (u64, u64);

/// Directories, and which of their entries matter.
pub(super) type Ways = BTreeMap<PathBuf, Names>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    all: bool,
    /// All that end so and do not begin with a dot.
    ending: Option<&'static str>,
    some: BTreeSet<OsString>,
}

impl Names {
    fn has(&self, name: &OsStr) -> bool {
        let octets = name.as_encoded_bytes();
        let ends = |ending: &str| octets.ends_with(ending.as_bytes()) && !octets.starts_with(b".");
        self.all || self.ending.is_some_and(ends) || self.some.contains(name)
    }
}

/// The ways as they are now, with their directories' inodes.
pub(super) fn look(wanted: &Wanted) -> (Ways, BTreeMap<PathBuf, Inode>) {
    let ways = ways(wanted);
    let directories = ways.keys().filter_map(|dir| Some((dir.clone(), inode(dir)?))).collect();
    (ways, directories)
}

/// Can the event have made one of the ways lead elsewhere, or changed what is
/// at its end?
pub(super) fn matters(event: &notify::Event, ways: &Ways) -> bool {
    // Opening a file to look at it is an event as well.
    if matches!(event.kind, EventKind::Access(AccessKind::Open(_))) {
        return false;
    }
    let entry = |path: &PathBuf| {
        // A directory tells of itself, too. What is not known is looked at.
        let known =
            path.parent().and_then(|dir| ways.get(dir)).filter(|_| !ways.contains_key(path));
        known.is_none_or(|of| path.file_name().is_none_or(|name| of.has(name)))
    };
    event.paths.is_empty() || event.paths.iter().any(entry)
}

fn inode(path: &Path) -> Option<Inode> {
    fs::symlink_metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// The entries that can make what is wanted something else.
fn ways(wanted: &Wanted) -> Ways {
    let (mut ways, mut passed) = (Ways::new(), Vec::new());
    for path in wanted.files.iter().filter_map(|path| std::path::absolute(path).ok()) {
        way(&path, None, &mut ways, &mut passed);
    }
    if let Some((directory, ending)) = &wanted.entries
        && let Ok(directory) = std::path::absolute(directory)
    {
        way(&directory, Some(ending), &mut ways, &mut passed);
    }
    // A directory on the way may be renamed. That is told where its own
    // directory is watched for something else, and else found out later.
    for (dir, name) in passed {
        if let Some(names) = ways.get_mut(&dir) {
            names.some.insert(name);
        }
    }
    ways
}

/// Adds each symlink on the way and the file at its end; when the way ends
/// early, the name that is missing in the last directory there is. If it ends at
/// a directory, that stands for its entries: those with this `ending`, or all.
/// `passed` gets the directories on the way.
fn way(
    path: &Path,
    ending: Option<&'static str>,
    ways: &mut Ways,
    passed: &mut Vec<(PathBuf, OsString)>,
) {
    let mut here = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = names(path);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let there = here.join(&name);
        let about = fs::symlink_metadata(&there);
        match about.as_ref().map(|m| m.file_type()) {
            Ok(kind) if kind.is_dir() && !rest.is_empty() => {
                passed.push((std::mem::replace(&mut here, there), name));
            }
            Ok(kind) if kind.is_dir() => {
                // The path itself is a directory.
                ways.entry(here).or_default().some.insert(name);
                return entries(ways.entry(there).or_default(), ending);
            }
            Ok(kind) if kind.is_symlink() => {
                ways.entry(here.clone()).or_default().some.insert(name);
                links += 1;
                let Ok(target) = fs::read_link(&there) else { return };
                if links > MAX_LINKS {
                    return;
                }
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                names(&target).into_iter().rev().for_each(|name| rest.push_front(name));
            }
            // The file, something that is none, or nothing.
            Ok(_) | Err(_) => {
                let names = ways.entry(here).or_default();
                names.some.insert(name);
                // Events name the link that is written through; one made since,
                // or elsewhere, is left to the slow look.
                names.all |= about.is_ok_and(|about| about.nlink() > 1);
                return;
            }
        }
    }
    // A path that ends in `..`, or the root.
    ways.entry(here).or_default().all = true;
}

/// A directory stands for its entries.
fn entries(names: &mut Names, ending: Option<&'static str>) {
    names.all |= ending.is_none();
    names.ending = ending.or(names.ending);
}

/// The names a path is made of, `..` among them.
fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_at_a_way_matters() {
        use notify::event::{CreateKind, ModifyKind, RenameMode};
        let names = |names: &[&str], all, ending| Names {
            all,
            ending,
            some: names.iter().map(Into::into).collect(),
        };
        let ways = Ways::from([
            ("/etc/eipdns".into(), names(&["a.json", "link"], false, None)),
            ("/etc/eipdns/all".into(), names(&[], true, None)),
            ("/etc/eipdns/zones".into(), names(&["..data"], false, Some(".toml"))),
        ]);
        let created = EventKind::Create(CreateKind::File);
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
        let opened = EventKind::Access(AccessKind::Open(notify::event::AccessMode::Any));
        for (kind, paths, expected) in [
            (created, &["/etc/eipdns/a.json"][..], true),
            (created, &["/etc/eipdns/link"], true),
            (created, &["/etc/eipdns/.a.json.swp"], false),
            (created, &["/etc/eipdns/all/any.toml"], true),
            (created, &["/etc/eipdns/zones/any.toml"], true),
            (created, &["/etc/eipdns/zones/..data"], true),
            (created, &["/etc/eipdns/zones/addresses.json"], false),
            (created, &["/etc/eipdns/zones/.any.toml"], false),
            (created, &["/etc/eipdns/zones/.any.toml.swp"], false),
            (renamed, &["/etc/eipdns/.a.json.swp", "/etc/eipdns/a.json"], true),
            (renamed, &["/etc/eipdns/a.json", "/etc/eipdns/b"], true),
            (renamed, &["/etc/eipdns/b", "/etc/eipdns/c"], false),
            (opened, &["/etc/eipdns/a.json"], false),
            // The directories themselves, others, and lost events.
            (EventKind::Any, &["/etc/eipdns"], true),
            (EventKind::Any, &["/etc/eipdns/zones"], true),
            (EventKind::Any, &["/srv/a.json"], true),
            (EventKind::Other, &[], true),
        ] {
            let mut event = notify::Event::new(kind);
            event.paths = paths.iter().map(PathBuf::from).collect();
            assert_eq!(matters(&event, &ways), expected, "{event:?}");
        }
    }

    #[test]
    fn the_way_names_the_directory_of_each_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(root.join("real/deep")).unwrap();
        fs::create_dir(root.join("links")).unwrap();
        fs::write(root.join("real/deep/a"), "").unwrap();
        symlink("../real", root.join("links/one")).unwrap();
        symlink(root.join("links/one/deep"), root.join("two")).unwrap();
        let walked = |path: &Path| {
            let ways = ways(&Wanted { files: vec![path.to_owned()], entries: None });
            let entries = ways.iter().map(|(dir, names)| {
                let some: Vec<_> = names.some.iter().map(|n| n.to_str().unwrap()).collect();
                let dir = dir.strip_prefix(&root).map_or("above", |dir| dir.to_str().unwrap());
                format!("{dir}:{}{}", some.join(","), if names.all { "*" } else { "" })
            });
            entries.collect::<Vec<_>>()
        };
        assert_eq!(walked(&root.join("two/a")), [":links,real,two", "links:one", "real/deep:a"]);
        assert_eq!(walked(&root.join("two/../b")), [":links,real,two", "links:one", "real:b,deep"]);
        assert_eq!(
            walked(&root.join("two/none/a")),
            [":links,real,two", "links:one", "real/deep:none"]
        );
        assert_eq!(walked(&root.join("two/..")), [":links,real,two", "links:one", "real:deep*"]);
        assert_eq!(walked(&root.join("links")), [":links", "links:*"]);
        let entries = Some((root.join("links/one/deep"), ".toml"));
        let ways = ways(&Wanted { files: vec![], entries });
        assert_eq!(ways[&root.join("real/deep")].ending, Some(".toml"));
        assert!(ways[&root.join("links")].some.contains(OsStr::new("one")));
        // A link to itself ends.
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(walked(&root.join("loop")), [":loop"]);
    }
}
