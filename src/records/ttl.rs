//! TTLs and times, with or without units: `3600`, `1W2D3h4m5s`.

use super::fault::DataFault;
use super::lex::Token;

/// The longest TTL, in seconds (RFC 2181 section 8).
pub(super) const MAX_TTL: u32 = i32::MAX as u32;

/// Reads a TTL in seconds, at most [`MAX_TTL`].
pub(super) fn ttl(token: &Token<'_>) -> Result<u32, DataFault> {
    time(token, MAX_TTL)
}

/// Reads a time in seconds that fits 32 bits, as SOA has them.
pub(super) fn seconds(token: &Token<'_>) -> Result<u32, DataFault> {
    time(token, u32::MAX)
}

/// A number without a unit stands alone; with units, any number of them in
/// any case and order, as BIND reads them.
fn time(token: &Token<'_>, most: u32) -> Result<u32, DataFault> {
    let expected =
        || DataFault::Expected { what: "a time such as 3600 or 1h30m", found: token.shown() };
    let mut total = 0u64;
    let mut number = None;
    let mut units = false;
    for &octet in token.raw {
        if octet.is_ascii_digit() {
            let digit = u64::from(octet - b'0');
            number = Some(number.unwrap_or(0u64).saturating_mul(10).saturating_add(digit));
            continue;
        }
        let unit = match octet.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 60 * 60,
            b'd' => 24 * 60 * 60,
            b'w' => 7 * 24 * 60 * 60,
            _ => return Err(expected()),
        };
        total = total.saturating_add(number.take().ok_or_else(expected)?.saturating_mul(unit));
        units = true;
    }
    match number {
        Some(_) if units => return Err(expected()),
        Some(number) => total = number,
        None if !units => return Err(expected()),
        None => {}
    }
    if token.quoted {
        return Err(expected());
    }
    match u32::try_from(total) {
        Ok(seconds) if seconds <= most => Ok(seconds),
        _ => Err(DataFault::LongTime { found: token.shown(), most }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(raw: &str) -> Token<'_> {
        Token { raw: raw.as_bytes(), at: 0, quoted: false, glued: false }
    }

    #[test]
    fn reads_units() {
        assert_eq!(ttl(&token("0")), Ok(0));
        assert_eq!(ttl(&token("2147483647")), Ok(MAX_TTL));
        assert_eq!(ttl(&token("1W2D3h4m5s")), Ok(604_800 + 2 * 86_400 + 3 * 3_600 + 4 * 60 + 5));
        assert_eq!(ttl(&token("90M")), Ok(5400));
        assert_eq!(seconds(&token("4294967295")), Ok(u32::MAX));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for bad in ["", "h", "1h30", "1x", "-1", "1.5h", "1hh", r"\049"] {
            assert!(matches!(ttl(&token(bad)), Err(DataFault::Expected { .. })), "{bad}");
        }
        let quoted = Token { quoted: true, ..token("1") };
        assert!(matches!(ttl(&quoted), Err(DataFault::Expected { .. })));
        for long in ["2147483648", "4294967296", "99999999999999999999999w", "3551w"] {
            assert!(matches!(ttl(&token(long)), Err(DataFault::LongTime { .. })), "{long}");
        }
        assert!(matches!(seconds(&token("4294967296")), Err(DataFault::LongTime { .. })));
    }
}
