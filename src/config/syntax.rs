//! TOML's own errors, said so that an operator knows what to type.

use ::toml::de::Error;

use super::words::tick;

/// One syntax error.
pub(super) struct Mistake {
    /// Offset in the text.
    pub at: usize,
    pub what: String,
    pub remedy: String,
}

/// Errors after which the parser no longer knows which table it is in: what
/// it makes of the text behind them is not reported.
const STRUCTURAL: &[&str] = &[
    "unclosed",
    "missing comma",
    "missing key",
    "missing table open",
    "missing array opening",
    "missing inline table opening",
    "key with no value",
    "invalid inline table element",
    "recursion limit",
    "unexpected `=` in array",
];

/// Beginning of the message, what is wrong, what to do.
const EXPLAINED: &[(&str, &str, &str)] = &[
    (
        "string values must be quoted",
        "a value is missing or is text without quotes",
        "write text in double quotes, a number or `true`/`false` without",
    ),
    (
        "invalid unquoted key",
        "a key with characters other than letters, digits, `-` and `_` is not quoted",
        "put the key in double quotes, as in `\"*.shard\" = …`",
    ),
    (
        "key with no value",
        "a key has no value, and nothing after it can be read",
        "write `key = value` on one line",
    ),
    ("unclosed table", "a section header is not closed", "end it with `]`, as in `[listen]`"),
    ("unclosed array table", "a block header is not closed", "end it with `]]`, as in `[[view]]`"),
    (
        "missing comma between array elements",
        "this is read as part of the list that was opened before it",
        "put `]` after the last entry of that list, or a comma between its entries",
    ),
    ("unclosed array", "a list is not closed", "end it with `]`"),
    (
        "missing comma between key-value pairs",
        "this is read as part of the `{` that was opened before it",
        "put `}` after the last pair, or a comma between the pairs",
    ),
    ("unclosed inline table", "a `{` is not closed", "end it with `}`"),
    ("invalid basic string", "text in quotes is not closed on its line", "end it with `\"`"),
    (
        "invalid float",
        "this is not a number",
        "put addresses and other text in double quotes, as in `\"127.0.0.1:5300\"`",
    ),
    (
        "cannot extend value",
        "a key with a dot continues a key that already has a value",
        "put a name with dots in double quotes, as in `\"a.b\" = …`",
    ),
    (
        "unexpected key or value",
        "there is more on this line than one `key = value`",
        "begin a new line for the next key, and put text in double quotes",
    ),
];

/// Explains all errors, in order of place, and says from which offset on the
/// structure of the text is lost (`usize::MAX`: nowhere).
pub(super) fn explain(text: &str, errors: &[Error]) -> (Vec<Mistake>, usize) {
    let mut errors: Vec<_> =
        errors.iter().map(|e| (e.span().unwrap_or(0..0), e.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    let structural = |message: &str| STRUCTURAL.iter().any(|s| message.starts_with(s));
    let lost = errors.iter().find(|(_, m)| structural(m)).map_or(usize::MAX, |(s, _)| s.start);
    // A list or inline table that never ends swallows what follows it; the
    // errors in there are all its consequences.
    let swallowed = errors.iter().any(|(_, message)| {
        message.starts_with("unclosed array,") || message.starts_with("unclosed inline table")
    });
    let mistakes = errors
        .iter()
        .take_while(|(span, _)| !swallowed || span.start <= lost)
        .map(|(span, message)| {
            let mut at = span.start;
            let (what, remedy) = match EXPLAINED.iter().find(|(m, _, _)| message.starts_with(m)) {
                Some((_, what, remedy)) => ((*what).to_owned(), *remedy),
                None if *message == "duplicate key" => {
                    let key = text.get(span.clone()).unwrap_or_default().trim_matches('"');
                    (format!("{} is written twice", tick(key)), "keep one of the two")
                }
                None => {
                    (format!("not valid TOML: {message}"), "see https://toml.io for the syntax")
                }
            };
            // Complaints about a line's end belong to that line, not the next.
            if text.get(at..).is_some_and(|rest| rest.is_empty()) {
                at = text.trim_end().len();
            }
            Mistake { at, what, remedy: remedy.to_owned() }
        })
        .collect();
    (mistakes, lost)
}
