use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::payload::Payload;

fn fingerprint(json: &str) -> Fingerprint {
    Fingerprint::of(&Payload::parse(json).unwrap())
}

/// What was stored before numbers were compared exactly.
fn former(json: &str) -> Digest {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    Digest::of_bytes(value.to_string().as_bytes())
}

#[test]
fn numbers_beyond_64_bits_are_told_apart_to_their_last_digit() {
    let one = fingerprint(r#"{"wei": 10000000000000000000000000000001}"#);
    let two = fingerprint(r#"{"wei": 10000000000000000000000000000002}"#);
    assert!(!one.matches(two.digest()) && !two.matches(one.digest()));
    // Nor is one of them taken for what both were rounded to.
    let rounded = fingerprint(r#"{"wei": 1e31}"#);
    assert!(!one.matches(rounded.digest()) && !rounded.matches(one.digest()));
    assert!(one.matches(fingerprint(r#"{"wei": 10000000000000000000000000000001.0}"#).digest()));
}

#[test]
fn spelling_does_not_matter_and_values_do() {
    let groups = [
        vec!["1", "1.0", "1e0", "10e-1", " 1 "],
        vec!["0", "-0", "0.0", "0e9"],
        vec![r#"{"a":1,"b":[2,3]}"#, r#"{ "b": [2, 3.0], "\u0061": 1 }"#],
        vec![r#"{"a":1,"b":[3,2]}"#],
        vec![r#"{"a":1,"a":2}"#],
        vec![r#"{"a":2,"a":1}"#],
        vec![r#"{"a":2}"#],
        vec!["\"1\""],
        vec!["1e-400"],
        vec!["0.1"],
        vec!["0.1000000000000000000001"],
    ];
    for (group, texts) in groups.iter().enumerate() {
        for (other, others) in groups.iter().enumerate() {
            for (one, two) in texts.iter().flat_map(|one| others.iter().map(move |two| (one, two))) {
                let same = fingerprint(one).matches(fingerprint(two).digest());
                assert_eq!(same, group == other, "{one} {two}");
            }
        }
    }
}

#[test]
fn a_digest_that_was_stored_before_still_matches_its_own() {
    for text in [
        r#"{"type":"a","n":[0,1,-5,18446744073709551615]}"#,
        r#"{"x":0.5,"backoff":{"base":5.0,"factor":2.0}}"#,
        r#"{"x":1e31,"y":-0.0,"z":1E2}"#,
    ] {
        assert!(fingerprint(text).matches(former(text)), "{text}");
    }
    // What a float cannot hold was stored as what others were, and is refused.
    for text in ["10000000000000000000000000000001", r#"{"a":1,"a":2}"#] {
        assert!(!fingerprint(text).matches(former(text)), "{text}");
    }
}

/// Numbers that are likely to meet in a float.
fn number() -> impl Strategy<Value = String> {
    let digits = prop_oneof![
        (0..40_u128).prop_map(|n| n.to_string()),
        (0..40_u128).prop_map(|n| (10_u128.pow(31) + n).to_string()),
        (0..40_u64).prop_map(|n| (u64::MAX - 20).saturating_add(n).to_string()),
        (0..40_u64).prop_map(|n| format!("0.1{:020}", n)),
        any::<f64>().prop_filter("finite", |float| float.is_finite()).prop_map(|float| format!("{float:e}")),
    ];
    (digits, prop_oneof![Just(""), Just("e0"), Just("e1")])
        .prop_map(|(digits, power)| if digits.contains('e') { digits } else { digits + power })
        .prop_filter("a number that serde_json takes", |text| serde_json::from_str::<f64>(text).is_ok())
}

proptest! {
    /// Whatever is stored now, no request of another value is taken for it, by neither digest.
    #[test]
    fn no_request_is_taken_for_one_of_another_value(one in number(), two in number()) {
        let same = Canonical::of(&one, Numbers::Exact).text == Canonical::of(&two, Numbers::Exact).text;
        prop_assert_eq!(fingerprint(&one).matches(fingerprint(&two).digest()), same, "{} {}", one, two);
    }

    /// What was stored before matches itself, if its numbers are what floats are printed as.
    #[test]
    fn what_a_float_holds_matches_what_was_stored_before(float in any::<f64>(), whole in any::<i64>()) {
        prop_assume!(float.is_finite());
        let texts = [float.to_string(), format!("{float:e}"), whole.to_string(), format!("{whole}.0")];
        for text in texts {
            let exact = Canonical::of(&text, Numbers::Exact);
            prop_assert!(exact.beyond_float || fingerprint(&text).matches(former(&text)), "{}", text);
        }
    }

    #[test]
    fn the_texts_of_different_numbers_have_different_digests(wholes in prop::collection::hash_set(any::<u64>(), 1..20)) {
        let digests: HashSet<Digest> = wholes.iter().map(|n| fingerprint(&format!("{{\"n\":{n}}}")).digest()).collect();
        prop_assert_eq!(digests.len(), wholes.len());
    }
}
