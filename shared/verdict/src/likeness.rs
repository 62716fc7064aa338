//! Errors that differ only in what differs each time, such as ids, numbers and times, are one kind.

/// How much of an error tells its kind.
const TOLD: usize = 160;

/// From how many letters on a word of hexadecimal digits with a figure among them is an id.
const ID: usize = 8;

/// An error's kind: its text with `#` for each number and each id.
pub fn likeness(text: &str) -> String {
    let mut told = String::with_capacity(text.len().min(TOLD));
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        if told.len() >= TOLD {
            told.push('…');
            break;
        }
        if !is_of_word(first) {
            let space = first.is_whitespace() || first.is_control();
            if !(space && told.ends_with(' ')) {
                told.push(if space { ' ' } else { first });
            }
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        told.push_str(&kind_of_word(word));
        rest = behind;
    }
    told
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

fn kind_of_word(word: &str) -> String {
    let digits = word.strip_prefix("0x");
    let is_id = word.len() >= ID
        && word.chars().any(|c| c.is_ascii_digit())
        && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if is_id || digits.is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit())) {
        return "#".to_owned();
    }
    let mut told = String::with_capacity(word.len());
    for c in word.chars() {
        match c.is_ascii_digit() {
            true if told.ends_with('#') => {}
            true => told.push('#'),
            false => told.push(c),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_each_time_is_left_out() {
        for (one, other) in [
            ("out of memory: 512 MiB of 8192", "out of memory: 64 MiB of 16"),
            ("no file scene-0017.png", "no file scene-3.png"),
            (
                "task 01980a6e-5b7c-7cc3-98c4-dc0c0c07398f is gone",
                "task 01980a6f-0000-7cc3-98c4-000000000001 is gone",
            ),
            ("at 0xdeadbeef01", "at 0x17"),
            ("line 7:\n  bad", "line 12: bad"),
        ] {
            assert_eq!(likeness(one), likeness(other));
        }
        assert_ne!(likeness("no disk"), likeness("no file"));
        assert_eq!(likeness("facade-defaced"), "facade-defaced");
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_a_short_kind(text in "\\PC{0,400}") {
            proptest::prop_assert!(likeness(&text).len() <= TOLD + 2 * text.len().min(400) + 3);
        }
    }
}
