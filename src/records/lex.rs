//! Cuts a master file into entries and tokens (RFC 1035 section 5.1).
//!
//! Nothing is copied: a token is a slice of the file with its escapes still in
//! place. What an escape means depends on where the token stands, so undoing
//! them is left to [`symbols`] and its callers.

use std::borrow::Cow;

use super::fault::{DataFault, Fault, Flaw};

/// U+FEFF in UTF-8, which some editors put in front of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One word or one quoted string.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    /// As it stands in the file, escapes kept, quotes taken off.
    pub raw: &'a [u8],
    /// Offset of its first octet in the file, an opening quote included.
    pub at: usize,
    /// Was it in quotes?
    pub quoted: bool,
    /// Does it follow the token before without a blank, as in `key="value"`?
    pub glued: bool,
}

/// One directive or record: the tokens of a line, or of several when
/// parentheses join them.
#[derive(Debug, Default)]
pub(super) struct Entry<'a> {
    /// Its tokens, at least one.
    pub tokens: Vec<Token<'a>>,
    /// Does its line begin with a blank?
    pub indented: bool,
    /// Line of the first token, from 1.
    pub line: u32,
    /// Column of the first token, from 1; what precedes it is blank.
    pub column: usize,
}

/// Walks through the entries of one file.
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Lexer<'a> {
    /// Starts at the beginning of `text`.
    pub(super) fn new(text: &'a [u8]) -> Self {
        let at = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        Self { text, at, line: 1, line_start: at }
    }

    /// Reads the next entry over `entry`; false at the end of the file.
    ///
    /// After a flaw the entry has been passed as well as could be guessed and
    /// the next call goes on behind it.
    pub(super) fn next(&mut self, entry: &mut Entry<'a>) -> Result<bool, Flaw> {
        entry.tokens.clear();
        entry.indented = false;
        let mut open = Vec::new();
        let mut flaw = None;
        let mut glued = false;
        while let Some(&octet) = self.text.get(self.at) {
            let was_glued = std::mem::take(&mut glued);
            match octet {
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    self.line_start = self.at;
                    if open.is_empty() && !(entry.tokens.is_empty() && flaw.is_none()) {
                        return flaw.map_or(Ok(true), Err);
                    }
                    if entry.tokens.is_empty() && open.is_empty() {
                        entry.indented = false;
                    }
                }
                b' ' | b'\t' | b'\r' => {
                    if self.at == self.line_start && entry.tokens.is_empty() && open.is_empty() {
                        entry.indented = true;
                    }
                    self.at += 1;
                }
                b';' => self.at = self.end_of_line(),
                b'(' => {
                    open.push(self.at);
                    self.at += 1;
                }
                b')' => {
                    if open.pop().is_none() {
                        flaw.get_or_insert(Flaw::new(self.at, Fault::StrayParenthesis));
                    }
                    self.at += 1;
                }
                _ => {
                    if let Err(quote) = self.token(octet, was_glued, entry) {
                        self.close_lost(&quote, &mut open);
                        flaw.get_or_insert(quote);
                    }
                    glued = true;
                }
            }
        }
        if let Some(&first) = open.first() {
            flaw.get_or_insert(Flaw::new(first, Fault::OpenParenthesis));
        }
        flaw.map_or(Ok(!entry.tokens.is_empty()), Err)
    }

    /// Takes the token that begins here with `octet`.
    fn token(&mut self, octet: u8, glued: bool, entry: &mut Entry<'a>) -> Result<(), Flaw> {
        if entry.tokens.is_empty() {
            entry.line = self.line;
            entry.column = self.at - self.line_start + 1;
        }
        let token = if octet == b'"' { self.quoted(glued)? } else { self.word(glued) };
        entry.tokens.push(token);
        Ok(())
    }

    /// A parenthesis swallowed by an open quote was most likely meant to close: else
    /// the rest of the file would go with it.
    fn close_lost(&self, quote: &Flaw, open: &mut Vec<usize>) {
        let lost = self.text.get(quote.at..self.at).unwrap_or_default();
        let closing = lost.iter().filter(|&&octet| octet == b')').count();
        open.truncate(open.len().saturating_sub(closing));
    }

    fn end_of_line(&self) -> usize {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at + rest.iter().position(|&o| o == b'\n').unwrap_or(rest.len())
    }

    fn word(&mut self, glued: bool) -> Token<'a> {
        let start = self.at;
        while let Some(&octet) = self.text.get(self.at) {
            match octet {
                b'\n' | b'\r' | b' ' | b'\t' | b';' | b'(' | b')' | b'"' => break,
                b'\\' if self.text.get(self.at + 1).is_some_and(|&o| o != b'\n') => self.at += 2,
                _ => self.at += 1,
            }
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        Token { raw, at: start, quoted: false, glued }
    }

    /// At an opening quote. When it is not closed, the rest of the line is lost.
    fn quoted(&mut self, glued: bool) -> Result<Token<'a>, Flaw> {
        let start = self.at;
        self.at += 1;
        while let Some(&octet) = self.text.get(self.at) {
            match octet {
                b'\n' => break,
                b'"' => {
                    let raw = self.text.get(start + 1..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(Token { raw, at: start, quoted: true, glued });
                }
                b'\\' if self.text.get(self.at + 1).is_some_and(|&o| o != b'\n') => self.at += 2,
                _ => self.at += 1,
            }
        }
        Err(Flaw::new(start, Fault::OpenQuote))
    }
}

impl Token<'_> {
    /// The octets it stands for, escapes undone.
    pub(super) fn octets(&self) -> Result<Cow<'_, [u8]>, DataFault> {
        if !self.raw.contains(&b'\\') {
            return Ok(Cow::Borrowed(self.raw));
        }
        symbols(self.raw).map(|s| s.map(|s| s.octet)).collect::<Result<Vec<_>, _>>().map(Cow::Owned)
    }

    /// Is it the `\#` before octets in hexadecimal (RFC 3597 section 5)?
    pub(super) fn is_generic_mark(&self) -> bool {
        self.raw == br"\#" && !self.quoted
    }

    /// For an error message: readable and of bounded length.
    pub(super) fn shown(&self) -> String {
        const MOST: usize = 40;
        let text = String::from_utf8_lossy(self.raw);
        let mut shown = String::new();
        for c in text.chars().take(MOST) {
            if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
        }
        if text.chars().nth(MOST).is_some() {
            shown.push('…');
        }
        if self.quoted { format!("\"{shown}\"") } else { shown }
    }
}

/// One octet of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Its value.
    pub octet: u8,
    /// Was it written with a backslash, and so means nothing but itself?
    pub escaped: bool,
}

/// Undoes `\DDD` and `\X` (RFC 1035 section 5.1): both are raw octets.
pub(super) fn symbols(raw: &[u8]) -> impl Iterator<Item = Result<Symbol, DataFault>> + '_ {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (symbol, tail) = match rest {
            [] => return None,
            [b'\\', a @ b'0'..=b'9', tail @ ..] => match tail {
                [b @ b'0'..=b'9', c @ b'0'..=b'9', tail @ ..] => {
                    let value = [a, b, c].iter().fold(0, |v, &&d| v * 10 + u16::from(d - b'0'));
                    (u8::try_from(value).ok(), tail)
                }
                _ => (None, tail),
            },
            [b'\\', octet @ b' '..=b'~', tail @ ..] => (Some(*octet), tail),
            [b'\\', tail @ ..] => (None, tail),
            [octet, tail @ ..] => {
                rest = tail;
                return Some(Ok(Symbol { octet: *octet, escaped: false }));
            }
        };
        rest = tail;
        Some(symbol.map(|octet| Symbol { octet, escaped: true }).ok_or(DataFault::BadEscape))
    })
}

/// Line and column, both from 1, of offset `at`. Columns count characters.
pub(super) fn position(text: &[u8], at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.iter().rposition(|&o| o == b'\n').map_or(0, |n| n + 1);
    let line = before.iter().filter(|&&o| o == b'\n').count() + 1;
    let mut on_line = before.get(start..).unwrap_or_default();
    if start == 0 {
        on_line = on_line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(on_line);
    }
    // Every octet but the continuation octets of UTF-8 begins a character.
    (line, on_line.iter().filter(|&&o| o & 0xc0 != 0x80).count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each entry as `line:column`, `>` when indented, and its tokens; a
    /// quoted token in quotes, a glued one after `+`.
    fn entries(text: &str) -> Vec<String> {
        let mut lexer = Lexer::new(text.as_bytes());
        let mut entry = Entry::default();
        let mut all = Vec::new();
        loop {
            match lexer.next(&mut entry) {
                Ok(false) => return all,
                Ok(true) => {
                    let mut line = format!("{}:{}", entry.line, entry.column);
                    line += if entry.indented { ">" } else { "" };
                    for t in &entry.tokens {
                        line += if t.glued { "+" } else { " " };
                        let raw = String::from_utf8_lossy(t.raw);
                        line += &if t.quoted { format!("\"{raw}\"") } else { raw.into_owned() };
                    }
                    all.push(line);
                }
                Err(flaw) => {
                    let (line, column) = position(text.as_bytes(), flaw.at);
                    all.push(format!("{line}:{column} {}", flaw.fault));
                }
            }
        }
    }

    #[test]
    fn cuts_lines_and_words() {
        assert_eq!(entries("a b\tc ; comment\n\n d e"), ["1:1 a b c", "3:2> d e"]);
        assert_eq!(entries("a b\r\n\r\n c\r\n"), ["1:1 a b", "3:2> c"]);
        assert_eq!(entries("\u{feff}a\n \n;x\n"), ["1:1 a"]);
        assert_eq!(entries(""), [""; 0]);
    }

    #[test]
    fn joins_lines_in_parentheses() {
        assert_eq!(entries("a (b ; ( \n c\n) d\ne"), ["1:1 a b c d", "4:1 e"]);
        assert_eq!(entries("a((b)\nc)\nd"), ["1:1 a b c", "3:1 d"]);
        assert_eq!(entries(" ( a\n b )"), ["1:4> a b"]);
        assert_eq!(entries("(\n a b )"), ["2:2 a b"]);
        assert_eq!(entries("a(b)c"), ["1:1 a b c"]);
    }

    #[test]
    fn quotes_and_escapes_protect() {
        assert_eq!(entries(r#"a "b ; ( \" c" d"#), [r#"1:1 a "b ; ( \" c" d"#]);
        assert_eq!(entries(r"a b\;\ \(c d"), [r"1:1 a b\;\ \(c d"]);
        assert_eq!(entries(r#"k="v w" x"y""z""#), [r#"1:1 k=+"v w" x+"y"+"z""#]);
        assert_eq!(entries("a;b"), ["1:1 a"]);
        assert_eq!(entries("a \"\""), ["1:1 a \"\""]);
    }

    #[test]
    fn goes_on_behind_a_flaw() {
        let quote = Fault::OpenQuote.to_string();
        assert_eq!(entries("a \"b\nc"), [format!("1:3 {quote}"), "2:1 c".into()]);
        assert_eq!(entries("a ( \"b )\nc"), [format!("1:5 {quote}"), "2:1 c".into()]);
        assert_eq!(entries("a ( \"b\n d )\nc"), [format!("1:5 {quote}"), "3:1 c".into()]);
        let stray = Fault::StrayParenthesis.to_string();
        assert_eq!(entries("a ) b\nc"), [format!("1:3 {stray}"), "2:1 c".into()]);
        let open = Fault::OpenParenthesis.to_string();
        assert_eq!(entries("é (\nb\n"), [format!("1:3 {open}")]);
    }

    #[test]
    fn undoes_escapes() {
        let octets = |raw: &[u8]| {
            Token { raw, at: 0, quoted: false, glued: false }.octets().map(Cow::into_owned)
        };
        assert_eq!(octets(br"a\098\\\.\000\255"), Ok(b"ab\\.\x00\xff".to_vec()));
        assert_eq!(octets(b"\xe9\xff"), Ok(b"\xe9\xff".to_vec()));
        for bad in [&br"\256"[..], br"\25", br"\2x5", br"\", b"\\\xe9", b"\\\t"] {
            assert_eq!(octets(bad), Err(DataFault::BadEscape), "{bad:?}");
        }
    }
}
