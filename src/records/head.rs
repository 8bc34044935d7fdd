//! What stands between the owner and the data: TTL, class and type.

use domain::base::iana::{Class, Rtype};

use super::fault::{Fault, Flaw};
use super::layout::{self, Layout};
use super::lex::Token;
use super::ttl;
use crate::dns::opt::OPT;

/// What signers make.
const SIGNED: [(u16, &str); 6] =
    [(24, "SIG"), (30, "NXT"), (46, "RRSIG"), (47, "NSEC"), (50, "NSEC3"), (51, "NSEC3PARAM")];

/// What they say.
pub(super) struct Head<'e, 'a> {
    /// Seconds, when given.
    pub ttl: Option<u32>,
    /// The type as it is written.
    pub rtype: Token<'a>,
    /// Its number.
    pub code: u16,
    /// What its data is made of; none: it is given in the `\#` form.
    pub layout: Option<&'static Layout>,
    /// The tokens behind it.
    pub data: &'e [Token<'a>],
}

/// Takes TTL, class and type off the front of `tokens`, which begin at or
/// behind `at`.
pub(super) fn head<'e, 'a>(
    mut tokens: &'e [Token<'a>],
    mut at: usize,
    indented: bool,
) -> Result<Head<'e, 'a>, Flaw> {
    let mut ttl = None;
    let mut class = None;
    let rtype = loop {
        let Some((&token, rest)) = tokens.split_first() else {
            return Err(Flaw::new(at, Fault::NoType));
        };
        tokens = rest;
        at = token.at;
        if ttl.is_none() && token.raw.first().is_some_and(u8::is_ascii_digit) {
            let seconds = ttl::ttl(&token);
            ttl = Some(seconds.map_err(|cause| Flaw::new(token.at, Fault::Ttl(cause)))?);
            continue;
        }
        match Class::from_bytes(token.raw) {
            Some(found) if class.is_none() && !token.quoted => {
                class = Some((found, token));
            }
            _ => break token,
        }
    };
    if let Some((class, token)) = class
        && class != Class::IN
    {
        return Err(Flaw::new(token.at, Fault::Class(token.shown())));
    }
    let (code, layout) =
        record_type(&rtype, indented).map_err(|fault| Flaw::new(rtype.at, fault))?;
    let generic = tokens.first().is_some_and(Token::is_generic_mark);
    if layout.is_none() && !generic {
        let name = rtype.shown().to_ascii_uppercase();
        return Err(Flaw::new(rtype.at, Fault::NoForm { name, code }));
    }
    Ok(Head { ttl, rtype, code, layout, data: tokens })
}

/// The type `token` names, when records of it may stand in a master file.
fn record_type(token: &Token<'_>, indented: bool) -> Result<(u16, Option<&'static Layout>), Fault> {
    let unknown = || Fault::UnknownType { found: token.shown(), indented };
    if token.quoted {
        return Err(unknown());
    }
    if let Some(layout) = layout::named(token.raw) {
        return Ok((layout.code, Some(layout)));
    }
    let code = Rtype::from_bytes(token.raw).ok_or_else(unknown)?.to_int();
    if let Some(&(_, name)) = SIGNED.iter().find(|(signed, _)| *signed == code) {
        return Err(Fault::Signed(name));
    }
    // Data types are below 128 and above 255 (RFC 6895 section 3.1).
    match code {
        0 | OPT | 128..=255 => Err(Fault::Meta(token.shown())),
        code => Ok((code, layout::of(code))),
    }
}
