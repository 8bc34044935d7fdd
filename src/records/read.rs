//! Reads entries one by one: directives change the state, records are kept.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::check::check;
use super::data::typed;
use super::fault::{DataFault, Fault, Flaw};
use super::head::{Head, head};
use super::lex::{Entry, Lexer, Token, position};
use super::scan::{self, Cursor};
use super::write::type_name;
use super::{MAX_DEPTH, MAX_FILE, MAX_FILES, MAX_SHOWN, MasterFile, Spot, StaticRecord, ttl};
use crate::diag::{Place, Problems};
use crate::dns::name::Key;

/// How the data of a type without a layout is written.
const GENERIC_FORM: &str = r"\# <length> <hexadecimal octets>";
const TYPE_SOA: u16 = 6;

/// A file as it was loaded.
#[derive(Debug)]
pub struct Source {
    /// The same for the same file, however its path was written.
    pub identity: PathBuf,
    /// Its octets.
    pub text: Vec<u8>,
}

/// Loads the file of a path.
pub type Loader<'l> = dyn FnMut(&Path) -> io::Result<Source> + 'l;

/// As [`read`](fn@super::read), but the octets come from `load`: first those of
/// `path`, then of each file that is included.
pub fn read_text(
    path: &Path,
    origin: &Key,
    default_ttl: u32,
    load: &mut Loader<'_>,
    problems: &mut Problems,
) -> MasterFile {
    let mut reader = Reader {
        zone: origin,
        load,
        report: Report { problems, errors: 0, warnings: 0 },
        fallback_ttl: default_ttl,
        open: Vec::new(),
        file: MasterFile::default(),
        octets: Vec::new(),
    };
    let state = State {
        origin: origin.octets().to_vec(),
        owner: Owner::None,
        default_ttl: None,
        last_ttl: None,
    };
    match reader.load(path) {
        Ok(source) => reader.entries(path, source, state),
        Err(fault) => reader.report.error(|| Place::file(path), &fault),
    }
    let Reader { mut report, mut file, .. } = reader;
    if file.records.is_empty() && report.errors == 0 {
        report.error(|| Place::file(path), &Fault::Empty);
    }
    check(&mut file, origin, &mut report);
    file
}

/// Passes faults on, up to [`MAX_SHOWN`] of each severity.
pub(super) struct Report<'p> {
    problems: &'p mut Problems,
    errors: usize,
    warnings: usize,
}

impl Report<'_> {
    /// `place` is asked only for what is shown: finding it takes a walk
    /// through the file.
    pub(super) fn error(&mut self, place: impl FnOnce() -> Place, fault: &Fault) {
        self.errors += 1;
        if self.errors <= MAX_SHOWN {
            self.problems.error(place(), fault.to_string(), fault.remedy());
        } else if self.errors == MAX_SHOWN + 1 {
            let more = Fault::TooMany(MAX_SHOWN);
            self.problems.error(place(), more.to_string(), more.remedy());
        }
    }

    /// As [`Report::error`], but the records are used all the same.
    pub(super) fn warn(&mut self, place: impl FnOnce() -> Place, fault: &Fault) {
        self.warnings += 1;
        if self.warnings <= MAX_SHOWN {
            self.problems.warn(place(), fault.to_string(), fault.remedy());
        }
    }
}

/// What directives and records leave behind for those after them. An included
/// file begins with a copy and does not give it back.
#[derive(Clone)]
struct State {
    /// What completes a relative name: wire form, in the case it was given.
    origin: Vec<u8>,
    owner: Owner,
    /// `$TTL`, in seconds.
    default_ttl: Option<u32>,
    /// The TTL last given by a record, in seconds.
    last_ttl: Option<u32>,
}

/// Whose records lines that begin with a blank are.
#[derive(Clone)]
enum Owner {
    /// Nobody's: there was no name yet.
    None,
    /// Of a name that was refused. Their data is looked at, then dropped.
    Refused,
    /// Of this name.
    Name(Key),
}

struct Reader<'r, 'l> {
    zone: &'r Key,
    load: &'r mut Loader<'l>,
    report: Report<'r>,
    /// For records before any `$TTL` or TTL: what the caller said, and from
    /// the SOA on its minimum, as BIND has it.
    fallback_ttl: u32,
    /// Identities of the files being read, each included by the one before.
    open: Vec<PathBuf>,
    file: MasterFile,
    /// Scratch: a name, or the data of one record.
    octets: Vec<u8>,
}

impl Reader<'_, '_> {
    fn load(&mut self, path: &Path) -> Result<Source, Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::IncludeDepth(MAX_DEPTH));
        }
        if self.file.files.len() >= MAX_FILES {
            return Err(Fault::TooManyFiles(MAX_FILES));
        }
        let source = (self.load)(path).map_err(|cause| Fault::Unreadable {
            file: path.to_owned(),
            cause: cause.to_string(),
        })?;
        if self.open.contains(&source.identity) {
            return Err(Fault::IncludeCycle(path.to_owned()));
        }
        if source.text.len() > MAX_FILE { Err(Fault::FileTooLong(MAX_FILE)) } else { Ok(source) }
    }

    fn entries(&mut self, path: &Path, source: Source, mut state: State) {
        // At most MAX_FILES, which fits.
        let file = u16::try_from(self.file.files.len()).unwrap_or(u16::MAX);
        self.file.files.push(path.to_owned());
        self.open.push(source.identity);
        let text = source.text.as_slice();
        let mut lexer = Lexer::new(text);
        let mut entry = Entry::default();
        loop {
            let outcome = match lexer.next(&mut entry) {
                Ok(false) => break,
                Ok(true) => self.entry(path, file, &entry, &mut state),
                Err(flaw) => Err(flaw),
            };
            if let Err(Flaw { at, fault }) = outcome {
                let place = || {
                    let (line, column) = position(text, at);
                    Place { file: path.into(), line, column }
                };
                self.report.error(place, &fault);
            }
        }
        self.open.pop();
    }

    fn entry(
        &mut self,
        path: &Path,
        file: u16,
        entry: &Entry<'_>,
        state: &mut State,
    ) -> Result<(), Flaw> {
        match entry.tokens.as_slice() {
            [name, arguments @ ..] if name.raw.starts_with(b"$") && !name.quoted => {
                self.directive(path, name, arguments, state)
            }
            tokens => {
                let column = u16::try_from(entry.column).unwrap_or(u16::MAX);
                let spot = Spot { file, line: entry.line, column };
                self.record(tokens, entry.indented, spot, state)
            }
        }
    }

    fn directive(
        &mut self,
        path: &Path,
        name: &Token<'_>,
        arguments: &[Token<'_>],
        state: &mut State,
    ) -> Result<(), Flaw> {
        let form = |directive, form| Flaw::new(name.at, Fault::DirectiveForm { directive, form });
        let cause = |directive, token: &Token<'_>, cause| {
            Flaw::new(token.at, Fault::Directive { directive, cause })
        };
        match name.raw.to_ascii_uppercase().as_slice() {
            b"$ORIGIN" => {
                let [origin] = arguments else { return Err(form("$ORIGIN", "<name>")) };
                state.origin =
                    whole_name(origin, state).map_err(|fault| cause("$ORIGIN", origin, fault))?;
                Ok(())
            }
            b"$TTL" => {
                let [ttl] = arguments else { return Err(form("$TTL", "<TTL>")) };
                let seconds = ttl::ttl(ttl).map_err(|fault| cause("$TTL", ttl, fault))?;
                state.default_ttl = Some(seconds);
                Ok(())
            }
            b"$INCLUDE" => {
                let (token, origin) = match arguments {
                    [token] => (token, None),
                    [token, origin] => (token, Some(origin)),
                    _ => return Err(form("$INCLUDE", "<file> [<origin>]")),
                };
                let mut state = state.clone();
                if let Some(origin) = origin {
                    state.origin = whole_name(origin, &state)
                        .map_err(|fault| cause("$INCLUDE", origin, fault))?;
                }
                let named = token.octets().map_err(|fault| cause("$INCLUDE", token, fault))?;
                let included =
                    path.parent().unwrap_or(Path::new("")).join(OsStr::from_bytes(&named));
                let source = self.load(&included).map_err(|fault| Flaw::new(token.at, fault))?;
                self.entries(&included, source, state);
                Ok(())
            }
            b"$GENERATE" => Err(Flaw::new(name.at, Fault::Generate)),
            _ => Err(Flaw::new(name.at, Fault::UnknownDirective(name.shown()))),
        }
    }

    fn record(
        &mut self,
        tokens: &[Token<'_>],
        indented: bool,
        spot: Spot,
        state: &mut State,
    ) -> Result<(), Flaw> {
        let start = tokens.first().map_or(0, |token| token.at);
        let tokens = match tokens {
            [owner, tokens @ ..] if !indented => {
                self.owner(owner, state)?;
                tokens
            }
            tokens => tokens,
        };
        if let Owner::None = state.owner {
            return Err(Flaw::new(start, Fault::NoOwner));
        }
        let Head { ttl, rtype, code, layout, data } = head(tokens, start, indented)?;
        let mut cursor = Cursor::new(data, rtype.at, &state.origin);
        scan::data(layout, &mut cursor, &mut self.octets).map_err(|cause| {
            let form = layout.map_or(GENERIC_FORM, |l| l.form);
            Flaw::new(cursor.at, Fault::Data { rtype: type_name(code), form, cause })
        })?;
        if code == TYPE_SOA
            && let Some(minimum) = self.octets.last_chunk()
        {
            self.fallback_ttl = u32::from_be_bytes(*minimum).min(ttl::MAX_TTL);
        }
        if ttl.is_some() {
            state.last_ttl = ttl;
        }
        if let Owner::Name(owner) = &state.owner {
            self.file.records.push(StaticRecord {
                owner: owner.clone(),
                rtype: code.into(),
                ttl: ttl.or(state.default_ttl).or(state.last_ttl).unwrap_or(self.fallback_ttl),
                data: typed(code, &self.octets),
                spot,
            });
        }
        Ok(())
    }

    /// Makes the name `token` is the owner of what follows.
    fn owner(&mut self, token: &Token<'_>, state: &mut State) -> Result<(), Flaw> {
        self.octets.clear();
        let name = scan::name(token, &state.origin, &mut self.octets);
        self.octets.make_ascii_lowercase();
        if let Owner::Name(last) = &state.owner
            && name.is_ok()
            && last.octets() == self.octets
        {
            return Ok(());
        }
        state.owner = Owner::Refused;
        name.map_err(|cause| Flaw::new(token.at, Fault::Owner(cause)))?;
        let key = Key::from_folded(&self.octets);
        if !key.is_under(self.zone) {
            let (owner, zone) = (key.to_string(), self.zone.to_string());
            return Err(Flaw::new(token.at, Fault::OutsideZone { owner, zone }));
        }
        state.owner = Owner::Name(key);
        Ok(())
    }
}

fn whole_name(token: &Token<'_>, state: &State) -> Result<Vec<u8>, DataFault> {
    let mut octets = Vec::new();
    scan::name(token, &state.origin, &mut octets)?;
    Ok(octets)
}
