//! What can be wrong in a master file, and what to do about each.

use std::borrow::Cow;
use std::path::PathBuf;

/// A fault and where in its file it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    /// Offset in the file.
    pub at: usize,
    pub fault: Fault,
}

impl Flaw {
    pub(super) fn new(at: usize, fault: Fault) -> Self {
        Self { at, fault }
    }
}

/// What is wrong with an entry or with the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a quote is opened but not closed on its line")]
    OpenQuote,
    #[error("a parenthesis is opened but never closed")]
    OpenParenthesis,
    #[error("`)` without `(`")]
    StrayParenthesis,

    #[error("$GENERATE is not supported")]
    Generate,
    #[error("there is no directive `{0}`")]
    UnknownDirective(String),
    #[error("{directive} has too few or too many arguments")]
    DirectiveForm { directive: &'static str, form: &'static str },
    #[error("{directive}: {cause}")]
    Directive { directive: &'static str, cause: DataFault },
    #[error("cannot read `{}`: {cause}", file.display())]
    Unreadable { file: PathBuf, cause: String },
    #[error("`{}` includes itself", .0.display())]
    IncludeCycle(PathBuf),
    #[error("more than {0} files include one another")]
    IncludeDepth(usize),
    #[error("more than {0} files are included")]
    TooManyFiles(usize),
    #[error("longer than {0} octets")]
    FileTooLong(usize),

    #[error("the line begins with a blank, but no record precedes it whose name it could take")]
    NoOwner,
    #[error("owner: {0}")]
    Owner(DataFault),
    #[error("{owner} is outside the zone {zone}")]
    OutsideZone { owner: String, zone: String },
    #[error("the record has no type")]
    NoType,
    #[error("`{found}` is no record type")]
    UnknownType { found: String, indented: bool },
    #[error("class {0} is not served")]
    Class(String),
    #[error("TTL: {0}")]
    Ttl(DataFault),
    #[error("{0} belongs to a signed zone; eipdns does not sign, and old signatures go bogus")]
    Signed(&'static str),
    #[error("{0} exists in messages only, never in a zone")]
    Meta(String),
    #[error("{name} has no presentation form here")]
    NoForm { name: String, code: u16 },
    #[error("{rtype}: {cause}")]
    Data { rtype: String, form: &'static str, cause: DataFault },

    #[error("no record in it")]
    Empty,
    #[error("more than {0} errors")]
    TooMany(usize),
    #[error("SOA of {0}, which is not the apex of the zone")]
    SoaBelowApex(String),
    #[error("{owner} has more than one {rtype}; the first is at {first}")]
    Several { owner: String, rtype: String, first: String },
    #[error("{owner} has a CNAME and other data: {rtype} at {other}")]
    CnameAndOther { owner: String, rtype: String, other: String },
    #[error(
        "{owner} has more records of type {rtype} than a message of 65535 octets holds, so nobody would get them"
    )]
    TooLarge { owner: String, rtype: String },
    #[error("the same record as at {first}; it is kept once")]
    Duplicate { first: String },
    #[error(
        "TTL {ttl} of {owner} {rtype} differs from {other} at {first}; the lowest, {lowest}, is used"
    )]
    TtlDiffers { owner: String, rtype: String, ttl: u32, other: u32, first: String, lowest: u32 },
}

impl Fault {
    /// What to do about it.
    pub(super) fn remedy(&self) -> Cow<'static, str> {
        match self {
            Fault::OpenQuote => r#"close it; a quote inside a string is written \""#.into(),
            Fault::OpenParenthesis => "add the `)`".into(),
            Fault::StrayParenthesis => "remove it or add the `(`".into(),
            Fault::Generate => "write the records out, or let `named-compilezone` do it".into(),
            Fault::UnknownDirective(_) => {
                r"use $ORIGIN, $TTL or $INCLUDE; a name that begins with a dollar sign is written \$"
                    .into()
            }
            Fault::DirectiveForm { directive, form } => format!("write {directive} {form}").into(),
            Fault::Directive { cause, .. } | Fault::Owner(cause) | Fault::Ttl(cause) => {
                cause.remedy().into()
            }
            Fault::Unreadable { .. } => "correct the path or the permissions".into(),
            Fault::IncludeCycle(_) => "remove this $INCLUDE".into(),
            Fault::IncludeDepth(_) => "include fewer levels of files".into(),
            Fault::TooManyFiles(_) => "join some of them".into(),
            Fault::FileTooLong(_) => "split it".into(),
            Fault::NoOwner => "begin the line with a name, or `@` for the origin".into(),
            Fault::OutsideZone { .. } => {
                "remove it, or correct it: a name without a final dot is completed with the origin"
                    .into()
            }
            Fault::NoType => "write <name> [<TTL>] [IN] <type> <data>".into(),
            Fault::UnknownType { indented: true, .. } => {
                "correct the type, or begin in the first column if it is the name".into()
            }
            Fault::UnknownType { .. } => {
                r"correct it, or write TYPE<number> \# <length> <hexadecimal octets>".into()
            }
            Fault::Class(_) => "write IN or leave the class out".into(),
            Fault::Signed(_) => "use the zone as it was before signing".into(),
            Fault::Meta(_) => "remove it".into(),
            Fault::NoForm { code, .. } => {
                format!(r"write it as TYPE{code} \# <length> <hexadecimal octets> (RFC 3597)").into()
            }
            Fault::Data { rtype, form, cause } => match cause {
                DataFault::Early | DataFault::Trailing(_) | DataFault::Expected { .. } => {
                    format!("write {rtype} {form}").into()
                }
                _ => cause.remedy().into(),
            },
            Fault::Empty => "write records, or remove the `records` key".into(),
            Fault::TooMany(_) => "correct those above; the rest is not shown".into(),
            Fault::TooLarge { .. } => "remove some, or spread them over several names".into(),
            Fault::SoaBelowApex(_) => "remove it: a child zone is delegated with NS".into(),
            Fault::Several { .. } => "remove all but one".into(),
            Fault::CnameAndOther { .. } => {
                "remove one of them: a CNAME stands alone (RFC 2181 section 10.1)".into()
            }
            Fault::Duplicate { .. } => "remove one of them".into(),
            Fault::TtlDiffers { .. } => {
                "give the records of one name and type one TTL (RFC 2181 section 5.2)".into()
            }
        }
    }
}

/// What is wrong with one token, or with the data of one record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DataFault {
    #[error("the data ends too early")]
    Early,
    #[error("`{0}` is more than the type has")]
    Trailing(String),
    #[error("expected {what}, found `{found}`")]
    Expected { what: &'static str, found: String },
    #[error("a backslash before neither three digits up to 255 nor a printable character")]
    BadEscape,
    #[error("a string of {0} octets is longer than 255")]
    LongString(usize),
    #[error("`{found}` is too long a time")]
    LongTime { found: String, most: u32 },
    #[error("a name must not be in quotes")]
    QuotedName,
    #[error("two dots in a row, or one in front")]
    EmptyLabel,
    #[error("a label is longer than 63 octets")]
    LongLabel,
    #[error("a name is longer than 255 octets")]
    LongName,
    #[error("`{0}` holds a character that is no part of a name")]
    OddName(String),
    #[error("the length is {given}, but {announced} is announced")]
    Length { announced: usize, given: usize },
    #[error("digest length {given}, but its kind has {}{least}", if *exact { "" } else { "at least " })]
    Digest { least: usize, exact: bool, given: usize },
    #[error("{0} octets of data are more than 65535")]
    LongData(usize),
    #[error("{0}")]
    Parameters(&'static str),
    #[error("these octets are no data of that type")]
    Malformed,
}

impl DataFault {
    /// What to do about it; the form of the type says more where it is known.
    fn remedy(&self) -> String {
        match self {
            DataFault::Early | DataFault::Trailing(_) | DataFault::Expected { .. } => {
                "correct it".into()
            }
            DataFault::BadEscape => r"write an octet as \DDD, a backslash as \\".into(),
            DataFault::LongString(_) => "split it into several strings".into(),
            DataFault::LongTime { most, .. } => format!("write at most {most} seconds"),
            DataFault::QuotedName => r"write a blank in a name as \032".into(),
            DataFault::EmptyLabel => r"remove a dot; a dot inside a label is written \.".into(),
            DataFault::LongLabel | DataFault::LongName => "shorten it".into(),
            DataFault::OddName(_) => {
                r"write the octet as \DDD, an international name in its xn-- form".into()
            }
            DataFault::Length { .. } => "correct the length or the octets".into(),
            DataFault::Digest { .. } => "copy the digest again, whole".into(),
            DataFault::LongData(_) => "shorten it".into(),
            DataFault::Parameters(_) => "correct the parameters (RFC 9460 section 7)".into(),
            DataFault::Malformed => "correct them, or write the data in the type's own form".into(),
        }
    }
}
