//! What somebody meant who misspelt a name.

/// Of these names, the one that the fewest slips of the hand (a letter too many, missing, wrong, or two that changed
/// places) lead to from `typed`; none if they are more than a third of its letters, as then it is no slip. Of several as
/// near as each other, the first.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_within((typed.chars().count() / 3).max(1), typed, names)
}

/// As [`nearest`], with the most slips that still count as such: for ids, which resemble each other without any slip.
pub fn nearest_within<'a>(
    most: usize,
    typed: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // What is longer than this is no name that a hand typed, and would take long to compare.
    const LONGEST: usize = 256;
    let length = typed.chars().count();
    if length > LONGEST {
        return None;
    }
    let slips = |name: &str| strsim::osa_distance(&typed.to_lowercase(), &name.to_lowercase());
    let close = |name: &&str| name.len() <= 4 * LONGEST && name.chars().count().abs_diff(length) <= most;
    names
        .into_iter()
        .filter(|name| *name != typed && close(name))
        .map(|name| (slips(name), name))
        .filter(|(slips, _)| *slips <= most)
        // Letters in the wrong case are a small slip, but one.
        .min_by_key(|(slips, name)| (*slips, strsim::osa_distance(typed, name)))
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
            ("IMAGE", Some("images")),
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
    fn of_names_that_differ_in_case_alone_the_one_in_the_right_case_is_nearest() {
        assert_eq!(nearest("imagse", ["Images", "images"]), Some("images"));
        assert_eq!(nearest("Imagse", ["images", "Images"]), Some("Images"));
    }

    #[test]
    fn a_text_of_any_length_is_compared_quickly_or_not_at_all() {
        let long = "x".repeat(1 << 20);
        assert_eq!(nearest(&long, [long.as_str(), "y"]), None);
        assert_eq!(nearest("y", [long.as_str()]), None);
    }
}
