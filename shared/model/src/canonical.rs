//! JSON texts by their meaning: what two of them have in common that ask for the same, and no two others.
//!
//! Equal are values that differ in spacing, in the order of an object's keys, in how a string is escaped (`"\u0061"` and
//! `"a"`), and in how a number is written (`1`, `1.0` and `1e0`; `0` and `-0`). Numbers are compared as decimals, digit by
//! digit, and never as 64-bit floats, which cannot tell `10000000000000000000000000000001` from `…2`. A repeated key
//! counts each time, in its order: readers differ in which one they take (RFC 8259 §4), so that none may be left out.
//!
//! Why not `serde_json::Value` with `arbitrary_precision`: that feature would hold for every crate of the workspace, and
//! keeps a number's spelling, so that `1.0` and `1` would still differ. Reading the text once is faster than building a
//! `Value` of it, besides.

use std::borrow::Cow;

/// How numbers are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Exactly: all that are equal in value are written the same, and no others.
    Exact,
    /// As `serde_json::Value` prints them, which the digests of stores that were filled before were made of.
    Rounded,
}

/// A JSON text in the one form of all that are equal to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Canonical {
    pub(crate) text: String,
    /// Whether it holds numbers that are no 64-bit integers.
    pub(crate) decimals: bool,
    /// Whether it was written with a number in another form than its canonical one.
    pub(crate) respelt: bool,
    /// Whether it holds a number that is not what the nearest 64-bit float is printed as.
    pub(crate) beyond_float: bool,
    /// Whether some object has a key more than once.
    pub(crate) repeated_keys: bool,
}

impl Canonical {
    /// The canonical form of a text that is one JSON value; what follows it is left out.
    pub(crate) fn of(json: &str, numbers: Numbers) -> Self {
        let canonical = Self {
            text: String::with_capacity(json.len()),
            decimals: false,
            respelt: false,
            beyond_float: false,
            repeated_keys: false,
        };
        let mut reader = Reader { json, at: 0, numbers, canonical };
        reader.value();
        reader.canonical
    }
}

/// Goes through a text that is known to be JSON; on any other it ends early, and writes something of it.
struct Reader<'a> {
    json: &'a str,
    at: usize,
    numbers: Numbers,
    canonical: Canonical,
}

/// A member of an object: its key, and where it stands in the canonical text.
struct Member<'a> {
    key: Cow<'a, str>,
    start: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes past `byte` and says so, if it comes next but for spaces.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    /// What comes next, up to the first byte that does not fit.
    fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.json.as_bytes()[self.at..];
        let length = rest.iter().position(|&byte| !fits(byte)).unwrap_or(rest.len());
        let taken = self.json.get(self.at..self.at + length).unwrap_or_default();
        self.at += length;
        taken
    }

    /// Depth is bounded by whoever took the text as JSON: serde_json refuses more than 127 levels.
    fn value(&mut self) {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => {
                let literal = self.string();
                self.write_string(literal);
            }
            Some(b'-' | b'0'..=b'9') => {
                let number =
                    self.take_while(|byte| matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E' | b'0'..=b'9'));
                self.number(number);
            }
            _ => {
                let word = self.take_while(|byte| byte.is_ascii_alphabetic());
                self.canonical.text.push_str(word);
            }
        }
    }

    fn array(&mut self) {
        self.at += 1;
        self.canonical.text.push('[');
        if !self.take(b']') {
            loop {
                self.value();
                if !self.take(b',') {
                    self.take(b']');
                    break;
                }
                self.canonical.text.push(',');
            }
        }
        self.canonical.text.push(']');
    }

    fn object(&mut self) {
        self.at += 1;
        self.canonical.text.push('{');
        let mut members: Vec<Member<'a>> = Vec::new();
        if !self.take(b'}') {
            loop {
                self.skip_space();
                let start = self.canonical.text.len();
                let literal = self.string();
                self.write_string(literal);
                self.take(b':');
                self.canonical.text.push(':');
                self.value();
                members.push(Member { key: unescaped(literal), start, end: self.canonical.text.len() });
                if !self.take(b',') {
                    self.take(b'}');
                    break;
                }
                self.canonical.text.push(',');
            }
        }
        if !members.is_sorted_by(|one, next| one.key < next.key) {
            self.sort(members);
        }
        self.canonical.text.push('}');
    }

    /// Puts an object's members, which stand at the end of the text, in the order of their keys; repeated ones stay in
    /// theirs.
    fn sort(&mut self, mut members: Vec<Member<'a>>) {
        let Some(start) = members.first().map(|member| member.start) else { return };
        members.sort_by(|one, other| one.key.cmp(&other.key));
        self.canonical.repeated_keys |= members.windows(2).any(|pair| pair[0].key == pair[1].key);
        let text = &mut self.canonical.text;
        let pieces: Vec<&str> = members.iter().map(|member| &text[member.start..member.end]).collect();
        let sorted = pieces.join(",");
        text.truncate(start);
        text.push_str(&sorted);
    }

    /// A string with its quotes, as it is written.
    fn string(&mut self) -> &'a str {
        let start = self.at;
        self.at += 1;
        let bytes = self.json.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        self.at = self.at.min(bytes.len());
        self.json.get(start..self.at).unwrap_or_default()
    }

    fn write_string(&mut self, literal: &str) {
        if literal.contains('\\') {
            // A string always serialises.
            let plain = serde_json::to_string(&unescaped(literal)).unwrap_or_default();
            self.canonical.text.push_str(&plain);
        } else {
            self.canonical.text.push_str(literal);
        }
    }

    fn number(&mut self, written: &str) {
        let plain = !written.contains(['.', 'e', 'E']);
        if plain && written != "-0" && is_integer(written) {
            return self.canonical.text.push_str(written);
        }
        if self.numbers == Numbers::Rounded {
            let rounded =
                serde_json::from_str::<serde_json::Number>(written).map(|number| number.to_string());
            return self.canonical.text.push_str(rounded.as_deref().unwrap_or(written));
        }
        self.canonical.respelt = true;
        let decimal = Decimal::read(written);
        match decimal.as_integer() {
            Some(integer) => self.canonical.text.push_str(&integer),
            None => {
                self.canonical.decimals = true;
                decimal.write(&mut self.canonical.text);
            }
        }
        self.canonical.beyond_float |= !decimal.is_held_by_float(written);
    }
}

/// What a string's literal stands for.
fn unescaped(literal: &str) -> Cow<'_, str> {
    if literal.contains('\\') {
        serde_json::from_str(literal).map_or(Cow::Borrowed(literal), Cow::Owned)
    } else {
        Cow::Borrowed(literal.trim_matches('"'))
    }
}

/// Whether digits, with or without a sign, are a number that `serde_json` keeps as an integer.
fn is_integer(digits: &str) -> bool {
    digits.parse::<u64>().is_ok() || digits.parse::<i64>().is_ok()
}

/// A number as `digits × 10^exponent`, without zeros at either end of the digits: equal if the numbers are.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    /// Empty for zero.
    digits: String,
    exponent: Exponent,
}

/// The power of ten of the last digit.
#[derive(Debug, PartialEq, Eq)]
enum Exponent {
    Known(i128),
    /// A written exponent that is beyond all reckoning (over 38 digits), and what is to be added to it. Two ways to write
    /// such a number may count as two numbers, which refuses a repetition and takes nothing for one.
    Written(String, i128),
}

impl Decimal {
    /// Reads a number as JSON writes it.
    fn read(number: &str) -> Self {
        let negative = number.starts_with('-');
        let (mantissa, exponent) = match number.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent),
            None => (number, "0"),
        };
        let mantissa = mantissa.trim_start_matches('-');
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = String::with_capacity(whole.len() + fraction.len());
        digits.push_str(whole.trim_start_matches('0'));
        digits.push_str(if digits.is_empty() { fraction.trim_start_matches('0') } else { fraction });
        let before = digits.len();
        digits.truncate(digits.trim_end_matches('0').len());
        if digits.is_empty() {
            return Self { negative: false, digits, exponent: Exponent::Known(0) };
        }
        // A text's length fits.
        let shift = (before - digits.len()) as i128 - fraction.len() as i128;
        let exponent = match exponent.parse::<i128>().ok().and_then(|exponent| exponent.checked_add(shift)) {
            Some(exponent) => Exponent::Known(exponent),
            None => Exponent::Written(exponent.trim_start_matches('+').to_owned(), shift),
        };
        Self { negative, digits, exponent }
    }

    /// The number as a 64-bit integer is written, if it is one.
    fn as_integer(&self) -> Option<String> {
        if self.digits.is_empty() {
            return Some("0".to_owned());
        }
        let Exponent::Known(exponent) = self.exponent else { return None };
        // The largest has 20 digits.
        let zeros = usize::try_from(exponent).ok().filter(|zeros| *zeros < 20)?;
        if self.digits.len() + zeros > 20 {
            return None;
        }
        let sign = if self.negative { "-" } else { "" };
        let written = format!("{sign}{}{}", self.digits, "0".repeat(zeros));
        is_integer(&written).then_some(written)
    }

    /// Whether the nearest 64-bit float is printed as this number, which is written so.
    fn is_held_by_float(&self, written: &str) -> bool {
        // Any 15 digits are, within a float's range (DBL_DIG of C); to print it costs ten times as much as this look.
        let plain = matches!(self.exponent, Exponent::Known(exponent) if (-290..290).contains(&exponent));
        if plain && self.digits.len() <= 15 {
            return true;
        }
        let printed = written.parse().map(|float: f64| format!("{float:e}"));
        printed.is_ok_and(|printed| Self::read(&printed) == *self)
    }

    fn write(&self, to: &mut String) {
        use std::fmt::Write as _;

        if self.negative {
            to.push('-');
        }
        to.push_str(&self.digits);
        to.push('e');
        match &self.exponent {
            // Writing to a string cannot fail.
            Exponent::Known(exponent) => drop(write!(to, "{exponent}")),
            Exponent::Written(exponent, shift) => drop(write!(to, "({exponent}{shift:+})")),
        }
    }
}

#[cfg(test)]
mod tests;
