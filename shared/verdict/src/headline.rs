//! The verdict in a few words.

use crate::finding::{Finding, Weight};

/// How grave it is, and how much of it: `ok: nothing is wrong`, `error: 1 wrong, 2 more to look at`.
pub fn headline(found: &[Finding]) -> String {
    let grave = found.iter().filter(|one| one.weight == Weight::Error).count();
    match (grave, found.len()) {
        (0, 0) => "ok: nothing is wrong".to_owned(),
        (0, 1) => "warning: one thing to look at".to_owned(),
        (0, more) => format!("warning: {more} things to look at"),
        (1, 1) => "error: one thing is wrong".to_owned(),
        (grave, all) if grave == all => format!("error: {all} things are wrong"),
        (grave, all) => format!("error: {grave} wrong, {} more to look at", all - grave),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_apart_from_what_is_to_be_looked_at() {
        let one = |weight| Finding {
            weight,
            what: "paused",
            message: String::new(),
            next: String::new(),
            more: None,
        };
        let told =
            |weights: &[Weight]| headline(&weights.iter().map(|weight| one(*weight)).collect::<Vec<_>>());
        let (bad, odd) = (Weight::Error, Weight::Warning);
        assert_eq!(told(&[]), "ok: nothing is wrong");
        assert_eq!(told(&[odd]), "warning: one thing to look at");
        assert_eq!(told(&[odd, odd]), "warning: 2 things to look at");
        assert_eq!(told(&[bad]), "error: one thing is wrong");
        assert_eq!(told(&[bad, bad]), "error: 2 things are wrong");
        assert_eq!(told(&[bad, odd, odd]), "error: 1 wrong, 2 more to look at");
    }
}
