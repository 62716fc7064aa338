//! Which part of a file is asked for, and whether the caller has it already (RFC 9110 §13 and §14).

use baton_files::Part;
use http::HeaderMap;
use http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};

/// Whether the caller has the file of this tag.
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag;
    text(headers, IF_NONE_MATCH).is_some_and(|tags| tags.split(',').any(|tag| known(tag.trim())))
}

/// The part that is asked for. What is no single range is a question for the whole, as the standard has it.
pub(crate) fn of(headers: &HeaderMap, etag: &str) -> Part {
    // A part of another file than the caller has begun with would be put to the wrong rest.
    if text(headers, IF_RANGE).is_some_and(|tag| tag != etag) {
        return Part::Whole;
    }
    text(headers, RANGE).and_then(parse).unwrap_or(Part::Whole)
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn parse(range: &str) -> Option<Part> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (first.trim(), last.trim()) {
        ("", last) => number(last).map(Part::Last),
        (first, "") => number(first).map(Part::From),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| Part::Bounded(first..last.saturating_add(1)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn one_range_is_a_part_and_all_else_the_whole() {
        let of = |text: &str| of(&headers(&[("range", text)]), "\"a\"");
        assert_eq!(of("bytes=0-0"), Part::Bounded(0..1));
        assert_eq!(of("bytes=5-"), Part::From(5));
        assert_eq!(of("bytes=-5"), Part::Last(5));
        assert_eq!(of("bytes=0-18446744073709551615"), Part::Bounded(0..u64::MAX));
        for whole in
            ["", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "bytes=-1-2"]
        {
            assert_eq!(of(whole), Part::Whole, "{whole}");
        }
        let other = headers(&[("range", "bytes=1-"), ("if-range", "\"b\"")]);
        assert_eq!(super::of(&other, "\"a\""), Part::Whole);
        let same = headers(&[("range", "bytes=1-"), ("if-range", "\"a\"")]);
        assert_eq!(super::of(&same, "\"a\""), Part::From(1));
    }

    #[test]
    fn a_file_is_known_by_its_tag() {
        for (tags, known) in
            [("\"a\"", true), ("W/\"a\"", true), ("\"b\", \"a\"", true), ("*", true), ("\"b\"", false)]
        {
            assert_eq!(is_known(&headers(&[("if-none-match", tags)]), "\"a\""), known, "{tags}");
        }
        assert!(!is_known(&HeaderMap::new(), "\"a\""));
    }
}
