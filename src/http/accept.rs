//! What Accept says about error bodies (RFC 9110, section 12.5.1): a page or problem details.

/// List members looked at; the rest of a longer list counts as absent.
const MEMBERS_MAX: usize = 32;
/// `q=1` in thousandths.
const WEIGHT_MAX: u16 = 1000;

/// Whether the client prefers HTML over JSON, where `values` are its Accept lines in order. Without a clear
/// preference the answer is no: API clients rarely say what they accept, browsers always do.
pub fn prefers_html<'a>(values: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut html, mut problem, mut json) = (Rating::default(), Rating::default(), Rating::default());
    for member in values.flat_map(members).take(MEMBERS_MAX) {
        let Some((range, weight)) = parse(member) else { continue };
        html.note(specificity(range, b"text", b"html"), weight);
        problem.note(specificity(range, b"application", b"problem+json"), weight);
        json.note(specificity(range, b"application", b"json"), weight);
    }
    html.weight > problem.weight.max(json.weight)
}

/// The weight of one media type by the most specific range seen so far; the first of equals counts.
#[derive(Default)]
struct Rating {
    specificity: u8,
    weight: u16,
}

impl Rating {
    fn note(&mut self, specificity: u8, weight: u16) {
        if specificity > self.specificity {
            *self = Self { specificity, weight };
        }
    }
}

/// How closely a media range fits a type: 3 exactly, 2 as `type/*`, 1 as `*/*`, 0 not at all.
fn specificity((kind, subtype): (&[u8], &[u8]), expected_kind: &[u8], expected_subtype: &[u8]) -> u8 {
    match (kind, subtype) {
        (b"*", b"*") => 1,
        _ if !kind.eq_ignore_ascii_case(expected_kind) => 0,
        (_, b"*") => 2,
        _ if subtype.eq_ignore_ascii_case(expected_subtype) => 3,
        _ => 0,
    }
}

/// The members of a list, cut at each comma. A quoted comma cuts too: neither half then is a range we look for.
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&octet| octet == b',')
}

type MediaRange<'a> = (&'a [u8], &'a [u8]);

/// The range and weight of one member; `None` if it is malformed. Parameters other than `q` do not count, since our
/// two representations have none that a client could choose by.
fn parse(member: &[u8]) -> Option<(MediaRange<'_>, u16)> {
    let mut parts = member.split(|&octet| octet == b';').map(<[u8]>::trim_ascii);
    let range = parts.next()?;
    let slash = range.iter().position(|&octet| octet == b'/')?;
    let mut weight = WEIGHT_MAX;
    for parameter in parts {
        if let [b'q' | b'Q', b'=', value @ ..] = parameter {
            weight = parse_weight(value)?;
        }
    }
    Some(((&range[..slash], &range[slash + 1..]), weight))
}

/// RFC 9110, section 12.4.2: `0` or `1` and at most three decimals.
fn parse_weight(value: &[u8]) -> Option<u16> {
    let (first, decimals): (u8, &[u8]) = match value {
        [first @ (b'0' | b'1')] => (*first, &[]),
        [first @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (*first, decimals),
        _ => return None,
    };
    let mut weight = u16::from(first - b'0');
    for place in 0..3 {
        let digit = decimals.get(place).map_or(Some(0), |octet| octet.is_ascii_digit().then(|| octet - b'0'))?;
        weight = weight * 10 + u16::from(digit);
    }
    (weight <= WEIGHT_MAX).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefers(values: &[&str]) -> bool {
        prefers_html(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn a_browser_prefers_html() {
        assert!(prefers(&["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"]));
        assert!(prefers(&["text/html"]));
        assert!(prefers(&["Text/HTML;charset=utf-8"]));
    }

    #[test]
    fn a_client_that_says_nothing_or_everything_gets_json() {
        for values in [&[][..], &[""], &["*/*"], &["text/*, application/*"], &["application/json"]] {
            assert!(!prefers(values), "{values:?}");
        }
    }

    #[test]
    fn equal_weights_are_no_preference() {
        assert!(!prefers(&["text/html, application/json"]));
        assert!(!prefers(&["text/html;q=0.5, application/problem+json;q=0.5"]));
    }

    #[test]
    fn weights_decide_to_the_third_decimal() {
        assert!(prefers(&["application/json;q=0.499, text/html;q=0.5"]));
        assert!(!prefers(&["application/json;q=0.501, text/html;q=0.5"]));
        assert!(!prefers(&["text/html;q=0"]));
    }

    #[test]
    fn the_most_specific_range_counts_wherever_it_stands() {
        assert!(!prefers(&["text/html;q=0.1, */*"]));
        assert!(!prefers(&["*/*", "text/*;q=0.9", "text/html;q=0.2"]));
        assert!(prefers(&["application/*;q=0.2, */*;q=0.5"]));
    }

    #[test]
    fn malformed_members_are_as_if_absent() {
        for value in
            ["text/html;q=2", "text/html;q=1.001", "text/html;q=0.1234", "text/html;q=", "texthtml", "text/html;q=.5"]
        {
            assert!(!prefers(&[value]), "{value}");
        }
        assert!(prefers(&[",;, text/html"]));
    }

    #[test]
    fn a_list_without_end_is_cut() {
        let value = format!("{}text/html", "a/b,".repeat(MEMBERS_MAX));
        assert!(!prefers(&[&value]));
    }
}
