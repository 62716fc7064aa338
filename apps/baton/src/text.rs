//! How durations, ages and sizes are read and written.

use std::time::Duration;

pub(crate) use baton_verdict::words::{ago, mebibytes, seconds, short, span};

/// The longest duration that can be given: a hundred years. It is bounded here, so that no sum of it with a time or with
/// another duration can be too large further on.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// Reads a duration such as `30s`, `5m`, `1h30m`, `2d` or `250ms`, of up to 36500d.
///
/// # Errors
/// What was expected.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a duration such as 250ms, 30s, 5m, 1h30m or 2d".to_owned();
    let too_long = || "expected a duration of at most 36500d, got a longer one".to_owned();
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| too_long())?;
        sum = sum.checked_add(part).filter(|sum| *sum <= LONGEST).ok_or_else(too_long)?;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(sum) }
}

/// Seconds without loss, as [`parse_span`] reads them: `10m`, `1h30m`, `2d`.
pub(crate) fn exact(seconds: u32) -> String {
    let mut rest = seconds;
    let mut text = String::new();
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if rest >= length || (unit == "s" && text.is_empty()) {
            text.push_str(&format!("{}{unit}", rest / length));
        }
        rest %= length;
    }
    text
}

/// A duration without loss, as [`parse_span`] reads it.
pub(crate) fn exact_span(span: Duration) -> String {
    match (u32::try_from(span.as_secs()), span.subsec_millis()) {
        (Ok(seconds), 0) => exact(seconds),
        _ => format!("{}ms", span.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_model::Timestamp;
    use proptest::collection::vec;
    use proptest::{prop_assert, proptest};

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("1.5s", 1_500),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(parse_span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "5", "s", "5x", "-5s", "5 s", "1..5s", ".s", "1e3s", "NaNs"] {
            assert!(parse_span(wrong).unwrap_err().starts_with("expected a duration such as"), "{wrong}");
        }
        for long in ["36501d", "99999999999999999999d", "10000000000000000000s10000000000000000000s"] {
            assert!(parse_span(long).unwrap_err().contains("at most 36500d"), "{long}");
        }
    }

    #[test]
    fn seconds_are_written_without_loss() {
        for (seconds, text) in [(0, "0s"), (1, "1s"), (90, "1m30s"), (5_400, "1h30m"), (2_592_000, "30d")] {
            assert_eq!(exact(seconds), text);
            assert_eq!(exact_span(Duration::from_secs(seconds.into())), text);
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds.into())), "{text}");
        }
    }

    #[test]
    fn parts_of_seconds_are_written_in_milliseconds() {
        assert_eq!(exact_span(Duration::from_millis(1_500)), "1500ms");
    }

    proptest! {
        #[test]
        fn a_duration_is_the_sum_of_its_parts_or_refused_for_its_length(
            parts in vec((0_u64..=u64::MAX, 0_usize..5), 1..6),
            shorter in 0_u32..64,
        ) {
            let units = [("ms", 1_u128), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
            let parts: Vec<_> = parts.iter().map(|&(number, unit)| (number >> shorter, units[unit])).collect();
            let text: String = parts.iter().map(|(number, (unit, _))| format!("{number}{unit}")).collect();
            let millis: u128 = parts.iter().map(|(number, (_, millis))| u128::from(*number) * millis).sum();
            match parse_span(&text) {
                Ok(span) => {
                    // Parts are read as floating-point numbers, exact to 2^53.
                    let off = span.as_millis().abs_diff(millis);
                    prop_assert!(off <= 1, "{text}: {span:?}");
                }
                Err(told) => {
                    prop_assert!(millis >= LONGEST.as_millis(), "{text}: {told}");
                    prop_assert!(told.contains("at most 36500d"), "{told}");
                }
            }
        }

        #[test]
        fn no_text_makes_the_reading_of_durations_panic(text in "[0-9.smhd-]{0,40}|.{0,20}") {
            let _ = parse_span(&text);
        }
    }

    #[test]
    fn ages_are_short() {
        let now = Timestamp::from_millis(1_000_000_000);
        let ages: Vec<_> =
            [0, 1, 9, 59, 150, 7_200, 200_000].map(|s| ago(now.minus(Duration::from_secs(s)), now)).into();
        assert_eq!(ages, ["now", "1s ago", "9s ago", "59s ago", "2m ago", "2h ago", "2d ago"]);
        assert_eq!(ago(now.plus(Duration::from_secs(20)), now), "in 20s");
    }

    #[test]
    fn spans_keep_to_their_unit() {
        let texts: Vec<_> = [40_u64, 7_210, 45_000, 130_000, 9_000_000, 900_000_000]
            .map(|ms| span(Duration::from_millis(ms)))
            .into();
        assert_eq!(texts, ["40ms", "7.2s", "45s", "2m", "2h", "10d"]);
    }

    #[test]
    fn long_texts_are_cut_with_a_mark() {
        assert_eq!(short("one\ntwo", 10), "one…");
        assert_eq!(short("0123456789", 10), "0123456789");
        assert_eq!(short("0123456789a", 10), "012345678…");
    }
}
