//! Is an answer well-formed? The SDK's reader takes what it has read when it meets a fault for
//! the whole, without a word: addresses behind the fault would look lost.

use xmlparser::{ElementEnd, Token, Tokenizer};

/// Elements within elements: EC2's answers have six. The SDK's reader follows no more.
const MAX_DEPTH: usize = 128;

/// What is wrong with an answer that is not.
#[derive(Debug, thiserror::Error)]
#[error("its XML is not well-formed")]
pub(crate) struct Malformed;

/// Does each element end, and none but those that have begun (XML 1.0 section 2.1)?
pub(super) fn is_well_formed(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let mut open = Vec::new();
    for token in Tokenizer::from(text) {
        match token {
            Err(_) => return false,
            Ok(Token::ElementStart { prefix, local, .. }) => {
                open.push((prefix.as_str(), local.as_str()));
                if open.len() > MAX_DEPTH {
                    return false;
                }
            }
            Ok(Token::ElementEnd { end: ElementEnd::Close(prefix, local), .. }) => {
                if open.pop() != Some((prefix.as_str(), local.as_str())) {
                    return false;
                }
            }
            Ok(Token::ElementEnd { end: ElementEnd::Empty, .. }) => drop(open.pop()),
            Ok(_) => {}
        }
    }
    open.is_empty()
}
