use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn exact(json: &str) -> Canonical {
    Canonical::of(json, Numbers::Exact)
}

#[test]
fn numbers_are_written_by_their_value_alone() {
    for (written, canonical) in [
        ("0", "0"),
        ("-0", "0"),
        ("0.000", "0"),
        ("-0e-999999999999999999999999999999999999999999", "0"),
        ("1.0", "1"),
        ("1e0", "1"),
        ("10E-1", "1"),
        ("-1.50e+1", "-15"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551615.0", "18446744073709551615"),
        ("18446744073709551616", "18446744073709551616e0"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("-9223372036854775809", "-9223372036854775809e0"),
        ("1e19", "10000000000000000000"),
        ("1e20", "1e20"),
        ("100000000000000000000", "1e20"),
        ("0.1", "1e-1"),
        ("0.10", "1e-1"),
        ("1e-400", "1e-400"),
        ("10e-401", "1e-400"),
        ("1e170141183460469231731687303715884105728", "1e(170141183460469231731687303715884105728+0)"),
    ] {
        assert_eq!(exact(written).text, canonical, "{written}");
    }
}

#[test]
fn what_a_float_cannot_hold_is_said() {
    for beyond in
        ["10000000000000000000000000000001", "0.1000000000000000000001", "1e-400", "123456789012345678901"]
    {
        assert!(exact(beyond).beyond_float, "{beyond}");
    }
    for held in ["1.0", "0.1", "1e31", "123456789.25e-3", "-0", "5e-324", "1.7976931348623157e308"] {
        assert!(!exact(held).beyond_float, "{held}");
    }
}

#[test]
fn strings_and_keys_are_compared_by_what_they_stand_for() {
    assert_eq!(exact(r#" { "b" : "\u0061\/\n" , "\u0061" : [ ] } "#).text, r#"{"a":[],"b":"a/\n"}"#);
    assert_eq!(exact(r#"{"\"":1,"":2}"#).text, r#"{"":2,"\"":1}"#);
    let repeated = exact(r#"{"b":0,"a":2,"a":1}"#);
    assert_eq!((repeated.text.as_str(), repeated.repeated_keys), (r#"{"a":2,"a":1,"b":0}"#, true));
    assert!(!exact(r#"[{"a":1},{"a":2}]"#).repeated_keys);
}

#[test]
fn a_text_that_is_no_json_ends() {
    for text in ["", "{", "[", "\"", "\"\\", "{\"a\"", "{\"a\":", "[1,", "-", "[}", "{]", "é", "\"é\\"] {
        exact(text);
        Canonical::of(text, Numbers::Rounded);
    }
}

/// JSON with what it is spelt like left open.
#[derive(Clone, Debug)]
enum Tree {
    Word(&'static str),
    Text(String),
    /// Digits and a power of ten.
    Number(bool, u128, i16),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let number = (any::<bool>(), prop_oneof![0..100_u128, any::<u128>()], -30..30_i16);
    let leaf = prop_oneof![
        prop_oneof![Just("true"), Just("false"), Just("null")].prop_map(Tree::Word),
        "[a-c\"\\\\/\n\u{e9}]{0,3}".prop_map(Tree::Text),
        number.prop_map(|(negative, digits, exponent)| Tree::Number(negative, digits, exponent)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Tree::Array),
            vec(("[a-c]{0,2}", inner), 0..4).prop_map(Tree::Object),
        ]
    })
}

impl Tree {
    /// Spells it: `choices` is where the spelling is drawn from.
    fn spell(&self, choices: &mut impl Iterator<Item = u8>) -> String {
        let mut pick = |of: u8| choices.next().unwrap_or_default() % of;
        let space = ["", " ", "\n\t"][usize::from(pick(3))];
        match self {
            Self::Word(word) => format!("{space}{word}"),
            Self::Text(text) => {
                let plain = serde_json::to_string(text).unwrap();
                if pick(2) == 0 { plain } else { plain.replace('a', "\\u0061").replace('/', "\\/") }
            }
            Self::Number(negative, digits, exponent) => {
                let sign = if *negative { "-" } else { "" };
                let digits = digits.to_string();
                // JSON has no zeros before a number.
                let zeros = if digits == "0" { 0 } else { usize::from(pick(4)) };
                let e = if pick(2) == 0 { 'e' } else { 'E' };
                let number = match pick(4) {
                    0 => format!("{digits}{}{e}{}", "0".repeat(zeros), exponent - zeros as i16),
                    1 => format!("{digits}.{}{e}{exponent}", "0".repeat(zeros + 1)),
                    2 if digits.len() > 1 => {
                        format!(
                            "{}.{}{e}{:+}",
                            &digits[..1],
                            &digits[1..],
                            exponent + digits.len() as i16 - 1
                        )
                    }
                    _ if *exponent == 0 => digits,
                    _ => format!("{digits}{e}{exponent:+03}"),
                };
                format!("{space}{sign}{number}")
            }
            Self::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| item.spell(choices)).collect();
                format!("{space}[{}]", items.join(","))
            }
            Self::Object(members) => {
                let mut spelt: Vec<String> = members
                    .iter()
                    .map(|(key, value)| format!("{space}\"{key}\" :{}", value.spell(choices)))
                    .collect();
                if !self.repeats() && !spelt.is_empty() {
                    let by = usize::from(choices.next().unwrap_or_default()) % spelt.len();
                    spelt.rotate_left(by);
                }
                format!("{space}{{{}}}", spelt.join(","))
            }
        }
    }

    /// Whether some object in it has a key twice.
    fn repeats(&self) -> bool {
        match self {
            Self::Word(_) | Self::Text(_) | Self::Number(..) => false,
            Self::Array(items) => items.iter().any(Self::repeats),
            Self::Object(members) => {
                let keys: std::collections::HashSet<&str> =
                    members.iter().map(|(key, _)| key.as_str()).collect();
                keys.len() < members.len() || members.iter().any(|(_, value)| value.repeats())
            }
        }
    }

    /// Its numbers, in their order.
    fn numbers(&mut self) -> Vec<(&mut bool, &mut u128, &mut i16)> {
        match self {
            Self::Word(_) | Self::Text(_) => Vec::new(),
            Self::Number(negative, digits, exponent) => vec![(negative, digits, exponent)],
            Self::Array(items) => items.iter_mut().flat_map(Self::numbers).collect(),
            Self::Object(members) => members.iter_mut().flat_map(|(_, value)| value.numbers()).collect(),
        }
    }
}

proptest! {
    #[test]
    fn however_it_is_spelt_it_is_the_same(tree in tree(), one in vec(any::<u8>(), 64), other in vec(any::<u8>(), 64)) {
        let (one, other) = (tree.spell(&mut one.into_iter()), tree.spell(&mut other.into_iter()));
        for text in [&one, &other] {
            serde_json::from_str::<&serde_json::value::RawValue>(text).unwrap();
        }
        let (read, again) = (exact(&one), exact(&other));
        prop_assert_eq!(&read.text, &again.text, "{} {}", one, other);
        prop_assert_eq!(read.repeated_keys, tree.repeats());
    }

    #[test]
    fn a_number_of_another_value_makes_another_text(
        tree in tree(), spelling in vec(any::<u8>(), 64), at in any::<prop::sample::Index>(), step in 1..3_u128,
    ) {
        let mut changed = tree.clone();
        let mut numbers = changed.numbers();
        prop_assume!(!numbers.is_empty());
        let at = at.index(numbers.len());
        let digits = &mut *numbers[at].1;
        *digits = digits.checked_add(step).unwrap_or(0);
        let (one, other) = (tree.spell(&mut spelling.clone().into_iter()), changed.spell(&mut spelling.into_iter()));
        prop_assert_ne!(exact(&one).text, exact(&other).text, "{} {}", one, other);
    }

    #[test]
    fn the_rounded_form_is_what_a_value_prints(tree in tree(), spelling in vec(any::<u8>(), 64)) {
        prop_assume!(!tree.repeats());
        let text = tree.spell(&mut spelling.into_iter());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(Canonical::of(&text, Numbers::Rounded).text, value.to_string());
    }

    #[test]
    fn any_text_at_all_is_read_to_an_end(text in "[\\[\\]{}:,\"\\\\a-e0-9.+\u{e9} -]{0,40}") {
        exact(&text);
        Canonical::of(&text, Numbers::Rounded);
    }
}
