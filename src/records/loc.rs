//! LOC data: a place on Earth (RFC 1876), in whole numbers only.

use super::fault::DataFault;
use super::scan::Cursor;

/// How a person writes it.
pub(super) const FORM: &str =
    "<d> [<m> [<s>]] N|S <d> [<m> [<s>]] E|W <altitude>[m] [<size>[m] [<hp>[m] [<vp>[m]]]]";

/// The equator and the prime meridian, in thousandths of a second of arc.
const MIDDLE: u32 = 1 << 31;
const DEGREE: u32 = 60 * 60 * 1000;
/// Altitudes count in centimetres from 100,000 m below the WGS 84 spheroid.
const DEEPEST: i64 = -10_000_000;
/// The largest size or precision: 90,000,000 m, in centimetres.
const WIDEST: i64 = 9_000_000_000;
/// Size, horizontal and vertical precision when not given: 1 m, 10 km, 10 m.
const USUAL: [u8; 3] = [0x12, 0x16, 0x13];

/// Reads the text form and appends the 16 octets.
pub(super) fn scan(cursor: &mut Cursor<'_, '_>, out: &mut Vec<u8>) -> Result<(), DataFault> {
    let latitude = angle(cursor, 90, [b'N', b'S'])?;
    let longitude = angle(cursor, 180, [b'E', b'W'])?;
    let highest = i64::from(u32::MAX) + DEEPEST;
    let altitude = metres(cursor, "an altitude in metres", DEEPEST, highest)? - DEEPEST;
    let mut sizes = USUAL;
    for size in &mut sizes {
        if cursor.is_empty() {
            break;
        }
        *size = precision(metres(cursor, "a size in metres", 0, WIDEST)?);
    }
    out.push(0);
    out.extend(sizes);
    out.extend(latitude.to_be_bytes());
    out.extend(longitude.to_be_bytes());
    // `metres` kept it within 32 bits.
    out.extend(u32::try_from(altitude).unwrap_or(u32::MAX).to_be_bytes());
    Ok(())
}

/// Writes the octets as text; `data` is sound.
pub(super) fn write(data: &[u8], out: &mut String) {
    let Some((sizes, latitude, longitude, altitude)) = fields(data) else { return };
    write_angle(latitude, ["N", "S"], out);
    write_angle(longitude, ["E", "W"], out);
    write_metres(i64::from(altitude) + DEEPEST, out);
    for size in sizes {
        out.push(' ');
        write_metres(i64::from(size >> 4) * 10i64.pow(u32::from(size & 15)), out);
    }
}

/// Are these octets a place?
pub(super) fn is_sound(data: &[u8]) -> bool {
    fields(data).is_some_and(|(sizes, latitude, longitude, _)| {
        sizes.iter().all(|&s| s == 0 || matches!((s >> 4, s & 15), (1..=9, 0..=9)))
            && latitude.abs_diff(MIDDLE) <= 90 * DEGREE
            && longitude.abs_diff(MIDDLE) <= 180 * DEGREE
    })
}

fn fields(data: &[u8]) -> Option<([u8; 3], u32, u32, u32)> {
    let (head, rest) = data.split_first_chunk::<4>()?;
    let &[0, size, horizontal, vertical] = head else { return None };
    let (words, rest) = rest.as_chunks::<4>();
    let &[latitude, longitude, altitude] = words else { return None };
    rest.is_empty().then_some((
        [size, horizontal, vertical],
        u32::from_be_bytes(latitude),
        u32::from_be_bytes(longitude),
        u32::from_be_bytes(altitude),
    ))
}

/// Degrees, minutes and seconds up to the letter that ends them.
fn angle(cursor: &mut Cursor<'_, '_>, most: u32, letters: [u8; 2]) -> Result<u32, DataFault> {
    let what = if most == 90 { "a latitude" } else { "a longitude" };
    let units = [(DEGREE, most, 0), (DEGREE / 60, 59, 0), (DEGREE / 3600, 59, 3)];
    let mut total = 0;
    for (n, (unit, most, digits)) in units.into_iter().enumerate() {
        let token = cursor.next()?;
        let expected = || DataFault::Expected { what, found: token.shown() };
        if n > 0
            && let Some(angle) = hemisphere(token.raw, letters, total)
        {
            return Ok(angle);
        }
        let scaled = decimal(token.raw, digits).ok_or_else(expected)?;
        let scale = 10i64.pow(digits);
        if scaled < 0 || scaled / scale > i64::from(most) {
            return Err(expected());
        }
        // In thousandths of a second: seconds carry three decimals themselves.
        let value = if digits == 0 { scaled * i64::from(unit) } else { scaled };
        total += u32::try_from(value).map_err(|_| expected())?;
        if total > units[0].1 * DEGREE {
            return Err(expected());
        }
    }
    let token = cursor.next()?;
    hemisphere(token.raw, letters, total)
        .ok_or_else(|| DataFault::Expected { what, found: token.shown() })
}

fn hemisphere(raw: &[u8], [positive, negative]: [u8; 2], total: u32) -> Option<u32> {
    let &[letter] = raw else { return None };
    match letter.to_ascii_uppercase() {
        l if l == positive => Some(MIDDLE + total),
        l if l == negative => Some(MIDDLE - total),
        _ => None,
    }
}

/// Metres with up to two decimals, in centimetres.
fn metres(
    cursor: &mut Cursor<'_, '_>,
    what: &'static str,
    least: i64,
    most: i64,
) -> Result<i64, DataFault> {
    let token = cursor.next()?;
    let number = token.raw.strip_suffix(b"m").unwrap_or(token.raw);
    decimal(number, 2)
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| DataFault::Expected { what, found: token.shown() })
}

/// A decimal number with at most `digits` decimals, times 10 to that power.
fn decimal(raw: &[u8], digits: u32) -> Option<i64> {
    /// More digits than any number of LOC has, and safe in 64 bits.
    const MOST_DIGITS: usize = 12;
    let text = std::str::from_utf8(raw).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |t| (true, t));
    let (whole, part) = match text.split_once('.') {
        Some((whole, part)) if !part.is_empty() => (whole, part),
        Some(_) => return None,
        None => (text, ""),
    };
    let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > MOST_DIGITS || !all_digits(whole) || !all_digits(part) {
        return None;
    }
    let missing = digits.checked_sub(u32::try_from(part.len()).ok()?)?;
    let part = if part.is_empty() { 0 } else { part.parse::<i64>().ok()? };
    let value = whole.parse::<i64>().ok()? * 10i64.pow(digits) + part * 10i64.pow(missing);
    Some(if negative { -value } else { value })
}

/// Centimetres as one digit and a power of ten, rounded down as RFC 1876's
/// own code does.
fn precision(centimetres: i64) -> u8 {
    let mut mantissa = centimetres;
    let mut exponent = 0;
    while mantissa > 9 {
        mantissa /= 10;
        exponent += 1;
    }
    u8::try_from(mantissa).unwrap_or(9) << 4 | exponent
}

fn write_angle(angle: u32, [positive, negative]: [&str; 2], out: &mut String) {
    let total = angle.abs_diff(MIDDLE);
    let (degrees, minutes) = (total / DEGREE, total / (DEGREE / 60) % 60);
    let (seconds, thousandths) = (total / 1000 % 60, total % 1000);
    let letter = if angle >= MIDDLE { positive } else { negative };
    *out += &format!("{degrees} {minutes} {seconds}.{thousandths:03} {letter} ");
}

fn write_metres(centimetres: i64, out: &mut String) {
    let sign = if centimetres < 0 { "-" } else { "" };
    let (metres, rest) = (centimetres.abs() / 100, centimetres.abs() % 100);
    *out += &format!("{sign}{metres}.{rest:02}m");
}
