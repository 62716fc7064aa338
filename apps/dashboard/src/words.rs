//! How things are written on pages. What comes from callers is made [`plain`] here, and escaped by the templates.

use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;
use baton_model::{Payload, Status, Timestamp};

/// The most characters of a name on a page; names have less.
pub(crate) const NAMES: usize = 200;
/// The most characters of a log line, an error or a reason.
pub(crate) const LINES: usize = 600;
/// The most bytes of JSON that a page shows of one payload.
const JSON: usize = 12 * 1024;

/// Text as it is, but for what would make it look like another: marks that turn the direction of writing, and control
/// characters, are shown by their numbers. What is longer than `most` characters is cut.
pub(crate) fn plain(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most * 4));
    for (count, c) in text.chars().enumerate() {
        if count == most {
            shown.push('…');
            break;
        }
        match c {
            '\n' | '\t' => shown.push(c),
            '\r' => {}
            c if hides(c) => shown.push_str(&format!("[U+{:04X}]", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown
}

/// Whether a character shows as nothing, and changes how others are read.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{061C}')
}

/// A moment: how long ago, with the time itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    at: Timestamp,
    now: Timestamp,
}

impl When {
    pub(crate) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now }
    }
}

impl HtmlSafe for When {}

impl fmt::Display for When {
    // Times and digits alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ahead, behind) = (self.at.since(self.now), self.now.since(self.at));
        write!(f, "<time datetime=\"{0}\" title=\"{0}\">", self.at)?;
        if ahead >= Duration::from_secs(1) {
            write!(f, "in {}", span(ahead.as_secs_f64()))?;
        } else if behind >= Duration::from_secs(1) {
            write!(f, "{} ago", span(behind.as_secs_f64()))?;
        } else {
            f.write_str("now")?;
        }
        f.write_str("</time>")
    }
}

/// The time of day with the day, to the second or finer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(pub(crate) Timestamp);

impl HtmlSafe for Clock {}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let shown = text.replace('T', " ");
        write!(f, "<time datetime=\"{text}\">{}</time>", shown.trim_end_matches('Z'))
    }
}

/// A status, with its colour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pill(pub(crate) Status);

impl HtmlSafe for Pill {}

impl fmt::Display for Pill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"pill s-{0}\">{0}</span>", self.0.as_str())
    }
}

/// A span of time in its two largest units.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 1.0 {
        return format!("{:.0} ms", seconds * 1e3);
    }
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => two(whole / 60, "min", whole % 60, "s"),
        3_600..86_400 => two(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, smaller: &str) -> String {
    if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {smaller}") }
}

/// A whole number in groups of three digits.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Bytes in the unit that leaves few digits.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (number as f64, 0);
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A number as people write it.
pub(crate) fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// JSON with a field on each line, and each number as it came. What is too long for a page is cut.
pub(crate) fn pretty(payload: &Payload) -> String {
    let mut shown = indented(payload.as_str(), JSON);
    if payload.size() > JSON {
        shown.push_str(&format!("\n… ({} in all; the API gives it whole)", bytes(payload.size() as u64)));
    }
    plain(&shown, usize::MAX / 8)
}

fn indented(json: &str, most: usize) -> String {
    let mut shown = String::with_capacity(json.len().min(most) * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if shown.len() > most {
            break;
        }
        if quoted {
            shown.push(c);
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => {
                quoted = true;
                shown.push(c);
            }
            '{' | '[' => {
                shown.push(c);
                while chars.peek().is_some_and(|c| c.is_ascii_whitespace()) {
                    chars.next();
                }
                match chars.peek() {
                    Some('}' | ']') => shown.extend(chars.next()),
                    _ => {
                        depth += 1;
                        line(&mut shown, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut shown, depth);
                shown.push(c);
            }
            ',' => {
                shown.push(c);
                line(&mut shown, depth);
            }
            ':' => shown.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => shown.push(c),
        }
    }
    shown
}

fn line(shown: &mut String, depth: usize) {
    shown.push('\n');
    // What is nested deeper than this is no more legible by more room.
    shown.extend(std::iter::repeat_n("  ", depth.min(20)));
}

/// The beginning of an id, by which people know it.
pub(crate) fn short(id: &impl fmt::Display) -> String {
    // The first digits of a UUIDv7 are its time: tasks of one minute share them, and its end tells them apart.
    let id = id.to_string();
    match (id.get(..8), id.get(id.len().saturating_sub(6)..)) {
        (Some(head), Some(tail)) if id.len() > 16 => format!("{head}…{tail}"),
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_pass_for_another() {
        assert_eq!(plain("a\u{202E}b\u{0}c\r\n\td", 100), "a[U+202E]b[U+0000]c\n\td");
        assert_eq!(plain("abcdef", 3), "abc…");
        assert_eq!(plain("ünïcode 漢字", 100), "ünïcode 漢字");
    }

    #[test]
    fn json_keeps_its_numbers_and_its_order() {
        let json = r#"{"b":[1,2.50,{"x":[]}],"a":12345678901234567890,"q":"\"{,}\\","e":{}}"#;
        let expected = "{\n  \"b\": [\n    1,\n    2.50,\n    {\n      \"x\": []\n    }\n  ],\n  \"a\": 12345678901234567890,\n  \"q\": \"\\\"{,}\\\\\",\n  \"e\": {}\n}";
        assert_eq!(indented(json, 1_000), expected);
        assert_eq!(indented(r#""text""#, 1_000), r#""text""#);
        let long = format!("[{}0]", "1,".repeat(100_000));
        assert!(indented(&long, 1_000).len() < 1_100);
    }

    #[test]
    fn spans_and_numbers_are_short() {
        for (seconds, shown) in [
            (0.0123, "12 ms"),
            (1.5, "1.5 s"),
            (59.9, "59 s"),
            (60.0, "1 min"),
            (3_725.0, "1 h 2 min"),
            (90_000.0, "1 d 1 h"),
        ] {
            assert_eq!(span(seconds), shown);
        }
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123), "123");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!((number(3.0), number(0.256)), ("3".to_owned(), "0.26".to_owned()));
    }
}
