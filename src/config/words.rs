//! Words in messages: quoting a user's text, and guessing what was meant.

/// More of a user's text than this is not repeated in a message.
const SHOWN: usize = 80;

/// A user's text in double quotes, with control characters escaped.
pub(super) fn quote(text: &str) -> String {
    format!("\"{}\"", shorten(text))
}

/// A user's key or name in backticks, with control characters escaped.
pub(super) fn tick(text: &str) -> String {
    format!("`{}`", shorten(text))
}

/// The first characters of a user's text, without control characters.
pub(super) fn shorten(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(SHOWN) {
        match c {
            '\'' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The known word that `word` is most likely a slip of.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .filter_map(|known| Some((slip(word, known)?, known)))
        .min_by_key(|(letters, _)| *letters)
        .map(|(_, known)| known)
}

/// By how many letters `word` differs from a known one; none if by so many that it
/// is no slip.
pub(crate) fn slip(word: &str, known: &str) -> Option<usize> {
    /// Longer words are not slips of ours; bounds the work.
    const LONGEST: usize = 64;
    if word.len().max(known.len()) > LONGEST {
        return None;
    }
    let letters = strsim::osa_distance(&word.to_lowercase(), &known.to_lowercase());
    (letters <= (known.len() / 3).max(1)).then_some(letters)
}

/// The remedy for a word that is not a known one.
pub(super) fn one_of<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
) -> String {
    let known = known.into_iter();
    if let Some(near) = nearest(word, known.clone()) {
        return format!("did you mean \"{near}\"?");
    }
    let known: Vec<_> = known.map(|k| format!("\"{k}\"")).collect();
    match known.as_slice() {
        [] => "none is known yet: add it there first".into(),
        [one] => format!("the only one is {one}"),
        [all @ .., last] => format!("choose {} or {last}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_guessed_and_other_words_are_not() {
        let known = ["clients", "name", "answer", "dns"];
        assert_eq!(nearest("clinets", known), Some("clients"));
        assert_eq!(nearest("Name", known), Some("name"));
        assert_eq!(nearest("ansver", known), Some("answer"));
        assert_eq!(nearest("ttl", known), None);
        assert_eq!(nearest(&"clients".repeat(20), known), None);
    }

    #[test]
    fn text_is_shown_without_control_characters() {
        assert_eq!(quote("it's\u{1b}[2J"), "\"it's\\u{1b}[2J\"");
        assert_eq!(shorten(&"x".repeat(81)), "x".repeat(80) + "…");
        assert_eq!(shorten(&"é".repeat(80)), "é".repeat(80));
    }
}
