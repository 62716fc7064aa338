//! Times as Python's `datetime.isoformat` writes them in UTC.

use baton_model::Timestamp;

/// Such as `2025-07-27T10:00:00.123000+00:00`.
pub(crate) fn stamp(at: Timestamp) -> String {
    // Baton's own form is RFC 3339 in UTC with three digits or none behind the second.
    let text = at.to_string();
    let text = text.trim_end_matches('Z');
    match text.split_once('.') {
        Some((second, digits)) => format!("{second}.{digits:0<6}+00:00"),
        None => format!("{text}.000000+00:00"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_python() {
        assert_eq!(stamp(Timestamp::from_millis(1_753_610_400_123)), "2025-07-27T10:00:00.123000+00:00");
        assert_eq!(stamp(Timestamp::from_millis(1_753_610_400_000)), "2025-07-27T10:00:00.000000+00:00");
    }
}
