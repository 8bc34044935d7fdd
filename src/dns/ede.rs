//! Extended DNS Errors (RFC 8914): what else is to be said of an answer.

use std::sync::Arc;

/// The option of EDNS that carries one (RFC 8914 section 2).
pub(crate) const OPTION: u16 = 15;

/// Octets of a text that go out: a few of them fit beside a small answer.
const MAX_TEXT: usize = 240;

/// Other: the text says it all (RFC 8914 section 4.1).
pub(crate) const OTHER: u16 = 0;
/// Stale answer (section 4.4).
pub(crate) const STALE: u16 = 3;
/// Cached error (section 4.14).
pub(crate) const CACHED_ERROR: u16 = 13;
/// Not ready (section 4.15).
pub(crate) const NOT_READY: u16 = 14;
/// Prohibited: the client may not ask this (section 4.19).
pub(crate) const PROHIBITED: u16 = 18;
/// Stale NXDOMAIN answer (section 4.20).
pub(crate) const STALE_NXDOMAIN: u16 = 19;
/// Not authoritative: not our name (section 4.21).
pub(crate) const NOT_AUTHORITATIVE: u16 = 20;
/// Not supported: a question that is never answered (section 4.22).
pub(crate) const NOT_SUPPORTED: u16 = 21;
/// No reachable authority: no upstream answers (section 4.23).
pub(crate) const NO_REACHABLE: u16 = 22;
/// Network error: what upstreams answer is of no use (section 4.24).
pub(crate) const NETWORK: u16 = 23;
/// Invalid data: here, too old to be believed (section 4.25).
pub(crate) const INVALID_DATA: u16 = 24;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT.
    pub text: Arc<str>,
}

impl Remark {
    /// Of a code and a text.
    pub fn new(code: u16, text: impl Into<Arc<str>>) -> Self {
        Self { code, text: text.into() }
    }

    /// As much of the text as goes out: whole characters.
    pub fn shown(&self) -> &str {
        let end = self.text.floor_char_boundary(MAX_TEXT);
        self.text.get(..end).unwrap_or_default()
    }

    /// The data of its option.
    pub fn data(&self) -> Vec<u8> {
        [&self.code.to_be_bytes(), self.shown().as_bytes()].concat()
    }

    /// From the data of an option: its code and the octets of its text.
    pub fn split(data: &[u8]) -> Option<(u16, &[u8])> {
        let (code, text) = data.split_first_chunk::<2>()?;
        Some((u16::from_be_bytes(*code), text))
    }
}
