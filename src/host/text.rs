//! Text from outside, made fit to be shown: it moves no cursor, looks like no
//! other line, and is not too long.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// As many characters of a text from outside are shown: enough for what the
/// services of AWS say in plain words, which comes first.
pub const BRIEF: usize = 300;

/// `text` with what must not reach a terminal or a log escaped, as JSON would.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// The same, but its lines stay lines.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'))
}

/// At most `most` characters of `text` in one line: blanks and line ends in a
/// row become one blank, and "…" says that there was more.
pub fn brief(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut left = most;
    for word in text.split_whitespace() {
        let blank = usize::from(!out.is_empty());
        out.extend((blank > 0).then_some(' '));
        if word.chars().nth(left.saturating_sub(blank)).is_some() {
            out.extend(word.chars().take(left.saturating_sub(blank)));
            out.push('…');
            return out;
        }
        left -= blank + word.chars().count();
        out += word;
    }
    out
}

/// Writes on, in one line.
#[derive(Debug)]
pub(crate) struct OneLine<'w, W>(pub &'w mut W);

impl<W: Write> Write for OneLine<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&one_line(text))
    }
}

/// Control characters (a terminal obeys C1 as well as ESC), and those that end
/// a line or turn its direction.
fn is_hidden(c: char) -> bool {
    let turns = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if !hidden(c) => out.push(c),
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            // Writing to a string does not fail.
            c => drop(write!(out, "\\u{:04x}", u32::from(c))),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hidden_is_left() {
        for plain in ["", "db.example.com.", "Straße 7 \"…\" \\n \u{a0}"] {
            assert!(matches!(one_line(plain), Cow::Borrowed(same) if same == plain));
        }
        let evil = "a\u{1b}[2J\r\nb\t\u{7f}\u{9b}\u{202e}c";
        assert_eq!(one_line(evil), r"a\u001b[2J\r\nb\t\u007f\u009b\u202ec");
        assert_eq!(lines(evil), "a\\u001b[2J\\r\nb\t\\u007f\\u009b\\u202ec");
        let json: String = serde_json::from_str(&format!("\"{}\"", one_line(evil))).unwrap();
        assert_eq!(json, evil);
        let mut out = String::new();
        write!(OneLine(&mut out), "{}-{:?}", evil, "\u{1b}").unwrap();
        assert_eq!(out, format!("{}-\"\\u{{1b}}\"", one_line(evil)));
    }

    #[test]
    fn what_is_long_is_cut() {
        for (text, most, shown) in [
            ("", 3, ""),
            (" \n ", 3, ""),
            ("abc", 3, "abc"),
            ("abcd", 3, "abc…"),
            ("ab cd", 5, "ab cd"),
            ("ab\n\n  cd", 5, "ab cd"),
            ("ab cd", 4, "ab c…"),
            ("ab cd", 3, "ab …"),
            ("ab cd", 2, "ab …"),
            ("äöü", 2, "äö…"),
        ] {
            assert_eq!(brief(text, most), shown, "{text:?} in {most}");
        }
    }
}
