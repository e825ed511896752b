//! "Did you mean …?": the nearest of the allowed words.

/// Longer words are not compared: the work is the product of the lengths.
const WORD_BYTES_MAX: usize = 64;

/// The allowed word that is nearest to `word`, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    let within = (word.len() / 3).clamp(1, 3);
    let candidates = allowed.into_iter().filter(|candidate| candidate.len() <= WORD_BYTES_MAX);
    candidates
        .map(|candidate| (distance(word.as_bytes(), candidate.to_ascii_lowercase().as_bytes()), candidate))
        .filter(|(distance, candidate)| *distance <= within && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, removals, replacements and swaps of neighbours that turn one word into the other.
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut before: Vec<usize> = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut cost = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_word() {
        let allowed = ["upstream", "path", "host"];
        assert_eq!(nearest("upstreem", allowed), Some("upstream"));
        assert_eq!(nearest("ptah", allowed), Some("path"));
        assert_eq!(nearest("Host", allowed), Some("host"));
    }

    #[test]
    fn long_words_are_not_compared() {
        let long = "a".repeat(WORD_BYTES_MAX);
        assert_eq!(nearest(&long, [long.as_str()]), Some(long.as_str()));
        assert_eq!(nearest(&format!("{long}a"), [long.as_str()]), None);
        assert_eq!(nearest(&long, [format!("{long}a").as_str()]), None);
    }

    #[test]
    fn a_dash_is_an_underscore() {
        assert_eq!(nearest("keep-alive", ["keep_alive"]), Some("keep_alive"));
    }

    #[test]
    fn a_word_that_is_far_from_all_finds_none() {
        assert_eq!(nearest("timeout", ["path", "host"]), None);
        assert_eq!(nearest("", ["a"]), None);
        assert_eq!(nearest("x", ["y"]), None);
    }
}
