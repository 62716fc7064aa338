//! The one shape of "this value does not fit": what was expected, and what came.

use std::fmt;

/// A value that could not be taken, said as "expected …, got …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What would have been accepted, with its units and limits.
    pub expected: String,
    /// What came instead, cut to [`Expected::SHOWN`] characters.
    pub got: String,
}

impl Expected {
    /// How many characters of a refused value are repeated to its sender.
    pub const SHOWN: usize = 80;

    /// Describes a refused text; the text is quoted, escaped and cut.
    pub fn text(expected: impl Into<String>, got: &str) -> Self {
        let mut shown: String = got.chars().take(Self::SHOWN).flat_map(char::escape_debug).collect();
        if got.chars().nth(Self::SHOWN).is_some() {
            shown.push('…');
        }
        Self { expected: expected.into(), got: format!("\"{shown}\"") }
    }

    /// Describes a refused value by words of the caller's own, such as a size or a JSON type.
    pub fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { expected: expected.into(), got: got.into() }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, got {}", self.expected, self.got)
    }
}

impl std::error::Error for Expected {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_text_is_quoted_escaped_and_cut() {
        let refused = Expected::text("a name", &format!("a\n{}", "x".repeat(200)));
        assert!(refused.to_string().starts_with("expected a name, got \"a\\nxxx"));
        assert!(refused.got.chars().count() < Expected::SHOWN + 5);
    }
}
