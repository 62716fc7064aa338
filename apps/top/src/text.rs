//! How things are written in cells and lines. What comes from callers is made harmless here, and nowhere else: a name, an error or a
//! log line may hold what a terminal obeys.

use baton_model::TaskId;
use baton_verdict::harmless;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The most characters of any text of others that are looked at.
const MOST: usize = 400;

/// Text of others, on one line, and not too much of it.
pub(crate) fn safe(text: &str) -> String {
    let end = text.char_indices().nth(MOST).map_or(text.len(), |(at, _)| at);
    let mut safe = harmless::line(&text[..end]).into_owned();
    if end < text.len() {
        safe.push('…');
    }
    safe
}

/// Text in at most so many columns, with a mark if it is longer. It is made harmless before.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut cut, mut taken) = (String::new(), 0);
    for c in text.chars() {
        // Of a group of characters, the sum is never less than what the whole takes.
        let more = c.width().unwrap_or_default();
        if taken + more + 1 > width {
            break;
        }
        taken += more;
        cut.push(c);
    }
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// Text in lines of at most so many columns, broken at spaces where there are any.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let (mut lines, mut line, mut taken) = (Vec::new(), String::new(), 0);
    for word in text.split_inclusive(' ') {
        if taken > 0 && taken + word.trim_end().width() > width {
            lines.push(std::mem::take(&mut line));
            taken = 0;
        }
        for c in word.chars() {
            let more = c.width().unwrap_or_default();
            if taken + more > width {
                // A space that ends a line is none on the next.
                if c == ' ' {
                    continue;
                }
                lines.push(std::mem::take(&mut line));
                taken = 0;
            }
            taken += more;
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// A whole number in at most seven columns.
pub(crate) fn count(number: u64) -> String {
    match number {
        0..1_000_000 => number.to_string(),
        1_000_000..1_000_000_000 => format!("{:.1}M", number as f64 / 1e6),
        _ => format!("{:.1}G", number as f64 / 1e9),
    }
}

/// A rate in at most five columns.
pub(crate) fn rate(rate: f64) -> String {
    match rate {
        rate if rate < 0.005 => "0".to_owned(),
        rate if rate < 9.995 => format!("{rate:.2}"),
        rate if rate < 99.95 => format!("{rate:.1}"),
        rate => count(rate.round() as u64),
    }
}

/// A reading as people write it.
pub(crate) fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e9 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// How far something has come, in percent.
pub(crate) fn progress(done: f64) -> String {
    format!("{:.0}%", done.clamp(0.0, 1.0) * 100.0)
}

/// The beginning and the end of an id: the first digits are its time, which tasks of one minute share.
pub(crate) fn short(id: TaskId) -> String {
    let id = id.to_string();
    match (id.get(..8), id.get(id.len().saturating_sub(6)..)) {
        (Some(head), Some(tail)) => format!("{head}…{tail}"),
        _ => id,
    }
}

/// Values as bars beside each other, the highest a whole one.
pub(crate) fn spark(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: f64| {
        if value <= 0.0 || most <= 0.0 {
            return ' ';
        }
        let place = (value / most * BARS.len() as f64).ceil() as usize;
        BARS[place.clamp(1, BARS.len()) - 1]
    };
    values.iter().map(|value| bar(*value)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, proptest};

    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 999_999, 1_250_000, u64::MAX].map(count)[..3], ["0", "999999", "1.2M"]);
        assert_eq!([0.0, 0.25, 9.999, 12.34, 1234.6].map(rate), ["0", "0.25", "10.0", "12.3", "1235"]);
        assert_eq!((number(61.0), number(0.83333)), ("61".to_owned(), "0.833".to_owned()));
        assert_eq!(
            (progress(0.256), progress(7.0), progress(f64::NAN)),
            ("26%".into(), "100%".into(), "NaN%".into())
        );
    }

    #[test]
    fn what_is_highest_is_a_whole_bar_and_nothing_is_none() {
        assert_eq!(spark(&[0.0, 0.001, 4.0, 8.0]), " ▁▄█");
        assert_eq!(spark(&[0.0, 0.0]), "  ");
    }

    #[test]
    fn long_text_is_broken_at_spaces() {
        assert_eq!(wrapped("no live worker takes it", 10), ["no live ", "worker ", "takes it"]);
        assert_eq!(wrapped("0123456789ab", 5), ["01234", "56789", "ab"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    proptest! {
        #[test]
        fn no_text_is_wider_than_its_place(text in "\\PC{0,60}", width in 0_usize..30) {
            let cut = cut(&safe(&text), width);
            prop_assert!(cut.width() <= width, "{cut:?}");
            for line in wrapped(&safe(&text), width.max(2)) {
                prop_assert!(line.trim_end().width() <= width.max(2), "{line:?}");
            }
        }
    }
}
