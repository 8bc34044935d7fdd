//! Master files: whatever the octets, they are read or refused, and what was
//! read survives being written and read again.

#![no_main]

use std::io;
use std::path::Path;

use eipdns::diag::Problems;
use eipdns::dns::name::Key;
use eipdns::records::{MasterFile, Source, read_text, write_record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(origin) = Key::parse("example.com", None) else { return };
    let file = read(text, &origin);
    for record in &file.records {
        let line = write_record(&record.owner, record.ttl, &record.data).expect("it was read");
        let again = read(line.as_bytes(), &origin);
        let same = again.records.first().is_some_and(|r| {
            (&r.owner, r.rtype, r.ttl, &r.data)
                == (&record.owner, record.rtype, record.ttl, &record.data)
        });
        assert!(same, "{line}");
    }
});

/// Every file that is included is the fuzzer's own text: a cycle, or not when
/// it is given another name.
fn read(text: &[u8], origin: &Key) -> MasterFile {
    let mut load = |path: &Path| {
        let name = path.as_os_str().len();
        if name > 8 {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Source { identity: path.to_owned(), text: text.to_vec() })
    };
    read_text(Path::new("zone"), origin, 5, &mut load, &mut Problems::default())
}
