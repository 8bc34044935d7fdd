//! Records beside the moving names: RFC 1035 master files.
//!
//! ```text
//! octets -> lex: entries, tokens -> read: directives, owner, TTL, type
//!        -> scan: data, along layout's table -> data: hickory's types
//!        -> check: what only shows when all records are seen
//! ```
//!
//! [`write_record`] goes the way back along the same table. Nothing here knows
//! of bindings: rules between files and bindings are the configuration's.
//!
//! Dialect: RFC 1035 section 5 with RFC 2308's `$TTL`, RFC 3597's unknown
//! types and BIND's TTL units. Where servers differ: what an included file
//! says of origin, TTL and owner ends with it; it begins with those of the
//! line that includes it.

mod check;
mod data;
mod fault;
mod head;
mod layout;
mod lex;
mod loc;
mod read;
mod scan;
mod svcb;
#[cfg(test)]
mod tests;
mod ttl;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use hickory_proto::rr::{RData, RecordType};

use crate::diag::{Place, Problems};
use crate::dns::name::Key;

pub(crate) use check::{OVERHEAD, room_for_records};
pub use read::{Loader, Source, read_text};
pub use write::{record_line, write_record};

/// The longest file read, in octets: 512 MiB, some ten million records; more
/// is a mistake such as a device or a disk image.
pub const MAX_FILE: usize = 512 << 20;
/// How many files may include one another in a chain; people use two or three.
pub const MAX_DEPTH: usize = 16;
/// How many files one master file may include in all: a few small files that
/// include each other must not grow without bound.
pub const MAX_FILES: usize = 1000;
/// How many errors and how many warnings of one master file are shown.
pub const MAX_SHOWN: usize = 100;

/// What a master file and the files it includes say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MasterFile {
    /// The records in the order of the file. No two are the same, and the
    /// records of one owner and type have one TTL.
    pub records: Vec<StaticRecord>,
    /// The file and those it includes; [`Spot::file`] is an index into it.
    files: Vec<PathBuf>,
}

impl MasterFile {
    /// The file and those it includes.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The file that `record` stands in.
    pub(crate) fn file_of(&self, record: &StaticRecord) -> Option<&Path> {
        self.files.get(usize::from(record.spot.file)).map(PathBuf::as_path)
    }

    /// Where `record` stands.
    pub fn place(&self, record: &StaticRecord) -> Place {
        let Spot { line, column, .. } = record.spot;
        Place {
            file: self.file_of(record).unwrap_or(Path::new("")).into(),
            line: line as usize,
            column: column.into(),
        }
    }
}

/// One record of a master file, class IN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticRecord {
    /// Its name, in the zone.
    pub owner: Key,
    /// Its type.
    pub rtype: RecordType,
    /// Seconds, at most 2^31 - 1.
    pub ttl: u32,
    /// Its data: typed where hickory knows the type and encodes it back to
    /// the same octets, else [`RData::Unknown`] (DNAME, DS, LOC and others).
    pub data: RData,
    /// Where it stands; see [`MasterFile::place`].
    pub spot: Spot,
}

/// A place in one of the files of a [`MasterFile`], kept small: there is one
/// for each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    file: u16,
    line: u32,
    /// Of the first token; what precedes it is blank.
    column: u16,
}

/// Reads the master file `path` of zone `origin` and the files it includes;
/// `open` gives the octets of each, at most [`MAX_FILE`].
///
/// `default_ttl`, in seconds, is for records before any `$TTL`, TTL or SOA.
/// Every error and warning goes to `problems`; when there is an error the
/// records are those that could be read.
pub fn read(
    path: &Path,
    origin: &Key,
    default_ttl: u32,
    open: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    problems: &mut Problems,
) -> MasterFile {
    let mut load = |path: &Path| {
        let text = open(path)?;
        Ok(Source { identity: path.canonicalize()?, text })
    };
    read_text(path, origin, default_ttl, &mut load, problems)
}
