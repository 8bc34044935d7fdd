//! The arithmetic of serial numbers (RFC 1982).

/// Is serial `b` later than `a` (section 3.2)? Of two that are half the space apart
/// neither is.
pub(crate) fn is_later(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) > 0
}

/// The later of two serials.
pub(crate) fn later(a: u32, b: u32) -> u32 {
    if is_later(a, b) { b } else { a }
}

/// The highest of several serials; 0 of none.
pub(crate) fn highest(serials: impl IntoIterator<Item = u32>) -> u32 {
    serials.into_iter().reduce(later).unwrap_or_default()
}
