//! Plain output: what a program prints besides the lines of the protocol, and what result it makes. Why:
//! docs/decisions/0007-plain-output.md.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_model::Payload;
use serde_json::json;

/// White space around a JSON value that does not count, as the newline at the end.
const AROUND_BYTES: usize = 64 * 1024;

/// What a program has printed so far: all of it, or only how much, if it is more than any result may have.
#[derive(Debug)]
pub(crate) struct Plain {
    kept: Vec<u8>,
    total: u64,
    /// The most bytes of JSON that a result may have.
    most: usize,
}

/// What plain output is as a result.
#[derive(Debug, PartialEq)]
pub(crate) enum Reading {
    /// There was none.
    Nothing,
    /// One JSON value, as it was printed.
    Json(Payload),
    /// Text, as `{"stdout": "…"}`. If it looks like JSON and is not, why.
    Text { result: Payload, not_json: Option<String> },
    /// Bytes that are no UTF-8, as `{"stdout_base64": "…"}`.
    Bytes(Payload),
    /// More than a result may have; in words.
    TooLarge(String),
}

impl Plain {
    pub(crate) fn of_at_most(most: usize) -> Self {
        Self { kept: Vec::new(), total: 0, most }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        if self.total > (self.most.saturating_add(AROUND_BYTES)) as u64 {
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// What it is: the whole of it, or a refusal. A part of the output never passes for it.
    pub(crate) fn reading(&self) -> Reading {
        if self.is_empty() {
            return Reading::Nothing;
        }
        if (self.kept.len() as u64) < self.total {
            return self.too_large("");
        }
        let Ok(text) = std::str::from_utf8(&self.kept) else {
            let result = Payload::from_value(&json!({ "stdout_base64": BASE64_STANDARD.encode(&self.kept) }));
            if result.size() > self.most {
                return self.too_large(&format!(" that are not UTF-8, {} as base64", result.size()));
            }
            return Reading::Bytes(result);
        };
        let not_json = match Payload::parse(text.trim()) {
            Ok(result) if result.size() > self.most => return self.too_large(""),
            Ok(result) => return Reading::Json(result),
            Err(error) => looks_like_json(text.trim()).then(|| error.to_string()),
        };
        let result = Payload::from_value(&json!({ "stdout": text }));
        if result.size() > self.most {
            return self.too_large(&format!(" of text, {} as JSON", result.size()));
        }
        Reading::Text { result, not_json }
    }

    fn too_large(&self, what: &str) -> Reading {
        Reading::TooLarge(format!(
            "the command's output was refused: expected at most {} bytes on standard output, as the result, got {} \
             bytes{what}; write large output to a file and tell its location",
            self.most, self.total
        ))
    }
}

/// Whether a text that is not JSON was most likely meant to be: for the warning alone.
fn looks_like_json(text: &str) -> bool {
    let within = |from, to| text.starts_with(from) && text.ends_with(to);
    within('{', '}') || within('[', ']') || ["NaN", "Infinity", "-Infinity"].contains(&text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 1024 * 1024;

    fn reading(bytes: &[u8]) -> Reading {
        let mut plain = Plain::of_at_most(MOST);
        bytes.chunks(50_000).for_each(|portion| plain.push(portion));
        plain.reading()
    }

    fn payload(text: &str) -> Payload {
        Payload::parse(text).unwrap()
    }

    fn text(text: &str) -> Payload {
        Payload::from_value(&json!({ "stdout": text }))
    }

    #[test]
    fn output_is_json_text_or_bytes_and_says_which() {
        assert_eq!(reading(b""), Reading::Nothing);
        assert_eq!(reading(b" {\"a\": 1.50}\n"), Reading::Json(payload(r#"{"a": 1.50}"#)));
        assert_eq!(reading(b"hello\n"), Reading::Text { result: text("hello\n"), not_json: None });
        assert_eq!(reading(b"\0"), Reading::Text { result: text("\0"), not_json: None });
        assert_eq!(reading(b"caf\xe9\n"), Reading::Bytes(payload(r#"{"stdout_base64":"Y2Fm6Qo="}"#)));
    }

    #[test]
    fn what_looks_like_json_and_is_not_is_text_with_a_word_about_it() {
        for (printed, fault) in [
            ("{\"loss\": NaN}\n", "line 1 column 10"),
            ("[1, Infinity]", "line 1 column 5"),
            ("NaN", "expected value"),
            ("{\"n\": 1}\n{\"n\": 2}\n", "trailing characters at line 2"),
            ("{'a': 1}", "line 1 column 2"),
            ("[1e999]", "number out of range"),
        ] {
            match reading(printed.as_bytes()) {
                Reading::Text { result, not_json: Some(told) } => {
                    assert_eq!(result, text(printed));
                    assert!(told.contains(fault), "{printed}: {told}");
                }
                other => panic!("{printed}: {other:?}"),
            }
        }
        assert_eq!(reading(b"[info] ready"), Reading::Text { result: text("[info] ready"), not_json: None });
    }

    #[test]
    fn output_that_is_too_large_is_refused_with_its_size_and_never_cut() {
        let quoted = |count: usize| format!("\"{}\"", "x".repeat(count));
        // The value counts, and not the white space around it.
        assert_eq!(reading((quoted(MOST - 2) + "\n").as_bytes()), Reading::Json(payload(&quoted(MOST - 2))));
        for (printed, told) in [
            (quoted(MOST - 1), "got 1048577 bytes;"),
            (quoted(3 * MOST), "got 3145730 bytes;"),
            ("x".repeat(MOST - 5), "got 1048571 bytes of text, 1048584 as JSON"),
            ("\u{1b}".repeat(MOST / 4), "got 262144 bytes of text, 1572877 as JSON"),
        ] {
            match reading(printed.as_bytes()) {
                Reading::TooLarge(reason) => assert!(reason.contains(told), "{reason}"),
                other => panic!("{other:?}"),
            }
        }
        let bytes = vec![0xff; MOST * 7 / 8];
        match reading(&bytes) {
            Reading::TooLarge(reason) => {
                assert!(reason.contains("917504 bytes that are not UTF-8"), "{reason}")
            }
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        /// Whatever is printed, in whatever portions: the whole of it can be had again from the result, or it is refused.
        #[test]
        fn a_result_holds_all_that_was_printed(
            portions in prop::collection::vec(prop_oneof!["[ -~é\n]{0,20}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..20)], 0..6),
        ) {
            let most = 128;
            let mut plain = Plain::of_at_most(most);
            portions.iter().for_each(|portion| plain.push(portion));
            let printed = portions.concat();
            let result = match plain.reading() {
                Reading::Nothing => { prop_assert!(printed.is_empty()); return Ok(()) }
                // JSON takes at most six bytes for one, and 13 around them.
                Reading::TooLarge(_) => { prop_assert!(6 * printed.len() + 13 > most); return Ok(()) }
                Reading::Json(result) => {
                    prop_assert_eq!(result.as_str(), std::str::from_utf8(&printed).unwrap().trim());
                    result
                }
                Reading::Text { result, .. } => {
                    let value = result.to_value();
                    prop_assert_eq!(value["stdout"].as_str().unwrap().as_bytes(), &printed);
                    result
                }
                Reading::Bytes(result) => {
                    let value = result.to_value();
                    let bytes = BASE64_STANDARD.decode(value["stdout_base64"].as_str().unwrap()).unwrap();
                    prop_assert_eq!(bytes, printed);
                    result
                }
            };
            prop_assert!(result.size() <= most);
        }
    }
}
