//! Names that may have been meant by one that is not there.

use crate::config::slip;
use crate::dns::name::{Key, labels};

/// At most `most` of the `known` names that `wanted` may be a slip of, the nearest
/// first: those of which it is the first labels, without a zone; else those that
/// differ by few letters, whatever they end in alike.
pub(crate) fn near<'k>(
    wanted: &Key,
    known: impl IntoIterator<Item = &'k Key>,
    most: usize,
) -> Vec<&'k Key> {
    let mut found: Vec<(usize, &Key)> = Vec::new();
    for known in known {
        let Some(letters) = distance(wanted, known) else { continue };
        let is_before =
            |(far, name): &(usize, &Key)| (*far, name.octets()) < (letters, known.octets());
        let at = found.partition_point(is_before);
        if at < most {
            found.insert(at, (letters, known));
            found.truncate(most);
        }
    }
    found.into_iter().map(|(_, name)| name).collect()
}

/// None: it is no slip.
fn distance(wanted: &Key, known: &Key) -> Option<usize> {
    let [mut wanted, mut known] = [wanted, known].map(|name| labels(name.octets()).collect());
    if is_begin(&wanted, &known) {
        return Some(0);
    }
    while wanted.last() == known.last() && wanted.pop().is_some() {
        known.pop();
    }
    slip(&text(&wanted), &text(&known))
}

fn is_begin(wanted: &Vec<&[u8]>, known: &Vec<&[u8]>) -> bool {
    !wanted.is_empty() && wanted.len() < known.len() && known.starts_with(wanted)
}

fn text(labels: &[&[u8]]) -> String {
    String::from_utf8_lossy(&labels.join(&b'.')).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_another_name() {
        let key = |text: &str| Key::parse(text, None).unwrap();
        let known = ["db.example.com", "mail1.example.com", "mail2.example.com", "api.b.example"];
        let known = known.map(key);
        let near = |wanted: &str| {
            let found = near(&key(wanted), &known, 3);
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        for (wanted, found) in [
            ("bd.example.com", "db.example.com."),
            ("db", "db.example.com."),
            ("db.exmaple.com", "db.example.com."),
            ("mail3.example.com", "mail1.example.com. mail2.example.com."),
            ("api.b", "api.b.example."),
            ("xy.example.com", ""),
            ("example.com", ""),
            (".", ""),
        ] {
            assert_eq!(near(wanted), found, "{wanted}");
        }
    }

    #[test]
    fn so_many_are_named_and_no_more() {
        let known: Vec<_> =
            (0..9).map(|n| Key::parse(&format!("web{n}.a"), None).unwrap()).collect();
        assert_eq!(near(&known[5], &known, 2), [&known[5], &known[0]]);
    }
}
