//! The files that the SDK reads by itself. It reads them on the thread that calls it,
//! to their end, whatever they are: a device has none, and a pipe blocks. So it is
//! called on a thread of its own here, and the files are checked before.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::future::Future;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, io};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use eipdns::host::aside::{Aside, Cause, Place};
use eipdns::host::files;
use eipdns::source::error::PollError;

/// How much longer is waited for what cannot be stopped: a file hangs.
const READING: Duration = Duration::from_secs(1);

/// The most octets of a file of profiles, keys or a token: those of a large company
/// have some 100 KiB.
const MOST: u64 = 1 << 20;

/// The most octets of a file of CA certificates; Mozilla's have 220 KiB.
const MOST_CERTIFICATES: u64 = 16 << 20;

/// One file: the variable that names it, where it is without that below the home
/// directory, and the most it may have.
struct Read {
    variable: &'static str,
    at_home: Option<&'static str>,
    most: u64,
}

const PROFILES: [Read; 2] = [
    Read { variable: "AWS_CONFIG_FILE", at_home: Some(".aws/config"), most: MOST },
    Read { variable: "AWS_SHARED_CREDENTIALS_FILE", at_home: Some(".aws/credentials"), most: MOST },
];

const OTHERS: [Read; 3] = [
    Read { variable: "AWS_WEB_IDENTITY_TOKEN_FILE", at_home: None, most: MOST },
    Read { variable: "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", at_home: None, most: MOST },
    Read { variable: "SSL_CERT_FILE", at_home: None, most: MOST_CERTIFICATES },
];

/// The key of a profile that names a further file.
const TOKEN_FILE: &str = "web_identity_token_file";

/// Does `work` of the SDK's on a thread of its own, on which it may read files: one on
/// a disk that hangs must not take a thread that answers and publishes with it. What
/// else hangs ends `within` that time, and with whoever waits. Attempts that hang are
/// counted for each of `of`. None when it takes longer.
///
/// # Errors
/// One of the files is none that may be read, or it hangs.
pub(super) async fn beside<T: Send + 'static>(
    of: &Path,
    within: Duration,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<Option<T>, PollError> {
    let mut working = Aside::new(Place::read(of), within + READING);
    let (waits, gone) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let begun = working.begin(Cause::Told, move || {
        look()?;
        Ok(runtime.block_on(async {
            tokio::select! {
                done = timeout(within, work) => done.ok(),
                _ = gone => None,
            }
        }))
    });
    let done = match begun {
        Ok(()) => working.next().await,
        Err(error) => Err(error),
    };
    drop(waits);
    done.unwrap_or_else(|error| Err(PollError::SdkFiles { why: error.to_string() }))
}

/// Is every file one that has an end, and is it not too far away? May wait for a
/// disk. One that is not there, or may not be read, is told by the SDK, if it needs
/// it.
///
/// # Errors
/// Names the first file that is not.
fn look() -> Result<(), PollError> {
    look_at(&|variable| env::var_os(variable))
}

fn look_at(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<(), PollError> {
    let home = variable("HOME").map(PathBuf::from);
    let path = |read: &Read| match variable(read.variable) {
        Some(path) => Some(at_home(PathBuf::from(path), home.as_deref())),
        None => Some(home.as_deref()?.join(read.at_home?)),
    };
    for (read, path) in PROFILES.iter().filter_map(|read| Some((read, path(read)?))) {
        judge(&path, read.variable, read.most)?;
        let text = files::read(&path, read.most).unwrap_or_default();
        for named in named_in(&String::from_utf8_lossy(&text)) {
            judge(&named, TOKEN_FILE, MOST)?;
        }
    }
    for (read, path) in OTHERS.iter().filter_map(|read| Some((read, path(read)?))) {
        judge(&path, read.variable, read.most)?;
    }
    Ok(())
}

/// As the SDK does it.
fn at_home(path: PathBuf, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

/// The files that profiles name, whichever of them is used.
fn named_in(profiles: &str) -> impl Iterator<Item = PathBuf> {
    profiles.lines().filter_map(|line| {
        let value = line.trim_start().strip_prefix(TOKEN_FILE)?.trim_start().strip_prefix('=')?;
        Some(PathBuf::from(value.trim()))
    })
}

fn judge(path: &Path, of: &str, most: u64) -> Result<(), PollError> {
    let Ok(about) = fs::metadata(path) else { return Ok(()) };
    let why = if about.is_file() {
        if about.len() <= most {
            return Ok(());
        }
        format!("it has more than {} MiB; put the right file there", most >> 20)
    } else if is_null(&about).unwrap_or(false) {
        return Ok(());
    } else {
        "it is not a regular file; put one there, or name another".to_owned()
    };
    Err(PollError::SdkFile { path: path.to_owned(), of: of.to_owned(), why })
}

/// Is it /dev/null, which many name for "no file"?
fn is_null(about: &Metadata) -> io::Result<bool> {
    let null = fs::metadata("/dev/null")?;
    Ok(about.file_type().is_char_device() && about.rdev() == null.rdev())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use eipdns::source::error::Class;

    #[test]
    fn what_has_no_end_or_is_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let pipe = path("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let large = fs::File::create(path("large")).unwrap();
        large.set_len(MOST + 1).unwrap();
        fs::write(path("profiles"), "[default]\nregion = us-east-1\n").unwrap();
        let token = format!("[default]\n {TOKEN_FILE} = {}\n", pipe.display());
        fs::write(path("token"), token).unwrap();
        let look = |variable: &str, value: &Path| {
            let value = OsString::from(value);
            look_at(&|asked| (asked == variable).then(|| value.clone()))
        };
        for variable in PROFILES.iter().chain(&OTHERS).map(|read| read.variable) {
            for good in [path("profiles"), path("absent"), "/dev/null".into()] {
                look(variable, &good).unwrap();
            }
            for (bad, why) in [
                (pipe.clone(), "it is not a regular file"),
                ("/dev/zero".into(), "it is not a regular file"),
                (dir.path().to_owned(), "it is not a regular file"),
            ] {
                let error = look(variable, &bad).unwrap_err();
                assert_eq!(error.class(), Class::Credentials);
                let error = error.to_string();
                assert!(error.contains(why) && error.contains(variable), "{error}");
            }
        }
        let error = look("AWS_CONFIG_FILE", &path("large")).unwrap_err().to_string();
        assert!(error.contains("it has more than 1 MiB"), "{error}");
        let error = look("AWS_CONFIG_FILE", &path("token")).unwrap_err().to_string();
        assert!(error.contains("pipe (web_identity_token_file)"), "{error}");

        // In their usual place.
        let aws = path(".aws");
        fs::create_dir(&aws).unwrap();
        look("HOME", dir.path()).unwrap();
        std::os::unix::fs::symlink("/dev/zero", aws.join("credentials")).unwrap();
        let error = look("HOME", dir.path()).unwrap_err().to_string();
        assert!(error.contains(".aws/credentials (AWS_SHARED_CREDENTIALS_FILE)"), "{error}");
    }
}
