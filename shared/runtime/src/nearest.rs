//! What somebody meant who misspelt a name.

/// Of these names, the one that the fewest slips of the hand (a letter too many, missing, wrong, or two that changed
/// places) lead to from `typed`; none if they are more than a third of its letters, as then it is no slip. Of several as
/// near as each other, the first.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // What is longer than this is no name that a hand typed, and would take long to compare.
    const LONGEST: usize = 256;
    let length = typed.chars().count();
    if length > LONGEST {
        return None;
    }
    let most = (length / 3).max(1);
    names
        .into_iter()
        .filter(|name| {
            *name != typed && name.len() <= 4 * LONGEST && name.chars().count().abs_diff(length) <= most
        })
        .map(|name| (strsim::osa_distance(&typed.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(slips, _)| *slips <= most)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_leads_to_what_was_meant() {
        let names = ["images", "thumbs", "default", "gpu"];
        for (typed, meant) in [
            ("image", Some("images")),
            ("iamges", Some("images")),
            ("Images", Some("images")),
            ("defalt", Some("default")),
            ("gpi", Some("gpu")),
            ("video", None),
            ("gpu", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
    }

    #[test]
    fn a_text_of_any_length_is_compared_quickly_or_not_at_all() {
        let long = "x".repeat(1 << 20);
        assert_eq!(nearest(&long, [long.as_str(), "y"]), None);
        assert_eq!(nearest("y", [long.as_str()]), None);
    }
}
