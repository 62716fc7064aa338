//! Which machines of an account are meant, by their names.

use std::str::FromStr;

use baton_model::Expected;

/// A name, or the beginning of one with `*` behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    more: bool,
}

impl Pattern {
    /// Whether a name is meant.
    pub fn fits(&self, name: &str) -> bool {
        if self.more { name.starts_with(&self.text) } else { name == self.text }
    }
}

impl FromStr for Pattern {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let (name, more) = text.strip_suffix('*').map_or((text, false), |beginning| (beginning, true));
        if name.contains('*') || text.is_empty() || text.len() > 256 {
            return Err(Expected::text(
                "a name, or the beginning of one with a * behind it, such as gpu-*",
                text,
            ));
        }
        Ok(Self { text: name.to_owned(), more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_its_beginning() {
        for (pattern, name, fits) in [
            ("gpu-*", "gpu-1", true),
            ("gpu-*", "gpu", false),
            ("gpu-1", "gpu-1", true),
            ("gpu-1", "gpu-12", false),
            ("*", "", true),
        ] {
            assert_eq!(pattern.parse::<Pattern>().unwrap().fits(name), fits, "{pattern} {name}");
        }
        for bad in ["", "*-gpu", "a*b*"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }
}
