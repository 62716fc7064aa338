//! Text of others, made harmless: what a terminal would obey, or a reader would not see, is shown and not done.
//!
//! Names, messages, log lines and outputs may hold escape sequences that move the cursor, retitle the window or make a
//! terminal answer, and marks that turn the order of letters. It is done for a pipe, too: what goes through `less -R`,
//! `grep` or a file ends on a terminal. `-o json` does not come through here.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal obeys this character, or a reader does not see it and is misled.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Marks that turn the order of what is read: UAX #9, section 2.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Separators of lines and paragraphs, which some terminals break lines at.
            | '\u{2028}' | '\u{2029}'
            // What is not seen at all: a space of no width, a byte order mark, and notes between lines.
            | '\u{200b}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn escape(c: char, to: &mut String) {
    match c {
        '\n' => to.push_str("\\n"),
        '\r' => to.push_str("\\r"),
        '\t' => to.push_str("\\t"),
        '\0' => to.push_str("\\0"),
        // A string takes all that is written to it.
        c if u32::from(c) < 0x100 => drop(write!(to, "\\x{:02x}", u32::from(c))),
        c => drop(write!(to, "\\u{{{:x}}}", u32::from(c))),
    }
}

fn shown(text: &str, harmful: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) { escape(c, &mut shown) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// Text that stays on its line: breaks and tabs are shown as `\n` and `\t`, `ESC` as `\x1b`.
pub fn line(text: &str) -> Cow<'_, str> {
    shown(text, is_harmful)
}

/// Text of several lines, whose breaks and tabs are meant.
pub fn lines(text: &str) -> Cow<'_, str> {
    shown(text, |c| is_harmful(c) && !matches!(c, '\n' | '\t'))
}

/// Text of several lines behind something that takes `indent` columns: each further line begins below the first, so that
/// none can pass for a line of the program's own.
pub fn behind(text: &str, indent: usize) -> String {
    let mut told = String::with_capacity(text.len());
    for (number, part) in text.trim_end().split('\n').enumerate() {
        if number > 0 {
            let _ = write!(told, "\n{:indent$}", "");
        }
        told.push_str(&lines(part.strip_suffix('\r').unwrap_or(part)));
    }
    told
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        for (text, told) in [
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "\\x1b[2J\\x1b]0;title\\x07"),
            ("a\0b", "a\\0b"),
            ("a\u{9b}31m", "a\\x9b31m"),
            ("a\rb\n\tc\u{7f}", "a\\rb\\n\\tc\\x7f"),
            ("invoice\u{202e}gpj.exe", "invoice\\u{202e}gpj.exe"),
            ("a\u{2028}b\u{feff}", "a\\u{2028}b\\u{feff}"),
            ("grün, 日本, שלום, 👩\u{200d}🚀", "grün, 日本, שלום, 👩\u{200d}🚀"),
        ] {
            assert_eq!(line(text), told);
        }
    }

    #[test]
    fn further_lines_stand_below_the_first() {
        assert_eq!(behind("one\r\ntwo\u{1b}[A\n\nthree\n", 4), "one\n    two\\x1b[A\n    \n    three");
    }

    proptest! {
        #[test]
        fn nothing_harmful_is_left_of_any_text(text in "\\PC{0,20}|(?s:.{0,40})|[\\x00-\\x9f\u{2020}-\u{2070}]{0,40}") {
            prop_assert!(!line(&text).contains(is_harmful));
            prop_assert!(!lines(&text).contains(|c| is_harmful(c) && c != '\n' && c != '\t'));
            for below in behind(&text, 3).split('\n').skip(1) {
                prop_assert!(below.starts_with("   "));
            }
        }

        #[test]
        fn what_is_harmless_stays_as_it_is(text in "[ -~à-ž]{0,40}") {
            prop_assert_eq!(&line(&text), &text);
            prop_assert_eq!(&lines(&text), &text);
        }
    }
}
