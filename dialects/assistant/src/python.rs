//! JSON as Python's `json.dumps` writes it by default: a space behind each comma and colon, and nothing but ASCII.

use std::fmt::Write as _;

use serde::Serialize;

/// A value as a line.
pub(crate) fn dumps(value: &impl Serialize) -> String {
    // What is written here is made of text, numbers and texts of JSON, which always serialise.
    spaced(&serde_json::to_string(value).unwrap_or_default())
}

/// A text of JSON with Python's separators, its strings in ASCII.
fn spaced(json: &str) -> String {
    let mut line = String::with_capacity(json.len() + json.len() / 8);
    let mut in_string = false;
    let mut escaped = false;
    for letter in json.chars() {
        match letter {
            _ if in_string => {
                in_string = escaped || letter != '"';
                escaped = !escaped && letter == '\\';
                push_ascii(&mut line, letter);
            }
            '"' => {
                in_string = true;
                line.push(letter);
            }
            ',' | ':' => line.extend([letter, ' ']),
            ' ' | '\n' | '\r' | '\t' => {}
            _ => line.push(letter),
        }
    }
    line
}

/// A letter of a string; what is no printable ASCII as `\u` and four digits, twice for what lies beyond the first plane.
fn push_ascii(line: &mut String, letter: char) {
    if matches!(letter, ' '..='~') {
        line.push(letter);
        return;
    }
    for unit in letter.encode_utf16(&mut [0; 2]) {
        // To write to a string never fails.
        let _ = write!(line, "\\u{unit:04x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_python() {
        for (json, line) in [
            (r#"{"a":1,"b":[true,null,"x,y: z"]}"#, r#"{"a": 1, "b": [true, null, "x,y: z"]}"#),
            ("{ \"a\" :\n [ ] }", r#"{"a": []}"#),
            (r#"{"\"a\\":"é☂😀"}"#, r#"{"\"a\\": "\u00e9\u2602\ud83d\ude00"}"#),
            ("[1.50,-2e3,\"\u{7f}\"]", r#"[1.50, -2e3, "\u007f"]"#),
        ] {
            assert_eq!(spaced(json), line);
        }
    }
}
