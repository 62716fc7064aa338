//! JSON that callers hand in and get back byte for byte: params, results, metadata. Baton never looks inside.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::expected::Expected;

/// A JSON value, kept as the text that came.
#[derive(Clone)]
pub struct Payload(Box<RawValue>);

impl Payload {
    /// Takes a JSON text.
    ///
    /// # Errors
    /// If the text is not one JSON value (RFC 8259), nests deeper than 127 levels, holds a number that no 64-bit
    /// number comes near, or a broken Unicode escape: all things that some reader downstream would stumble over.
    pub fn parse(text: &str) -> Result<Self, Expected> {
        let not_json =
            |error: serde_json::Error| Expected::new("a JSON value", format!("text with an error: {error}"));
        serde_json::from_str::<serde_json::Value>(text).map_err(not_json)?;
        let raw: &RawValue = serde_json::from_str(text).map_err(not_json)?;
        Ok(Self(raw.to_owned()))
    }

    /// Takes a value that the program has built itself.
    pub fn from_value(value: &serde_json::Value) -> Self {
        // A `Value` always prints as one JSON value.
        Self::from_stored(value.to_string()).unwrap_or_default()
    }

    /// Takes text that an earlier [`Payload::parse`] has accepted, as a store reads it back.
    ///
    /// # Errors
    /// If the text is not JSON: the stored copy is damaged.
    pub fn from_stored(text: String) -> Result<Self, Expected> {
        RawValue::from_string(text).map(Self).map_err(|error| Expected::new("stored JSON", error.to_string()))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The text's size in bytes, which the limits count.
    pub fn size(&self) -> usize {
        self.0.get().len()
    }

    /// The value, read.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::from_str(self.as_str()).unwrap_or_default()
    }
}

impl Default for Payload {
    /// The empty object, `{}`.
    fn default() -> Self {
        let empty: &RawValue = serde_json::from_str("{}").unwrap_or(RawValue::NULL);
        Self(empty.to_owned())
    }
}

impl PartialEq for Payload {
    /// Equal if the texts are; use [`Digest::of`] to compare by meaning.
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Payload {
    /// Shows the size only: payloads are the callers' and do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.size())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        Self::parse(raw.get()).map_err(serde::de::Error::custom)
    }
}

/// The first 16 bytes of the SHA-256 of a value's canonical JSON: says whether two requests ask for the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of `value`'s JSON with object keys sorted, so that spelling and order do not matter.
    pub fn of(value: &impl Serialize) -> Self {
        // `Value` keeps object keys sorted, so its text is canonical. What Baton digests always serialises: structs
        // with string keys; were that ever untrue, the digest of null would refuse a repetition, not accept one.
        let canonical = serde_json::to_value(value).unwrap_or_default().to_string();
        Self::of_bytes(canonical.as_bytes())
    }

    /// The digest of plain bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let whole = Sha256::digest(bytes);
        let mut first = [0; 16];
        first.copy_from_slice(&whole[..16]);
        Self(first)
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The digest that [`Self::as_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits = u128::from_str_radix(&text, 16).ok().filter(|_| text.len() == 32);
        let digits = digits.ok_or_else(|| serde::de::Error::custom("expected 32 hexadecimal digits"))?;
        Ok(Self(digits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kept_byte_for_byte() {
        let text = r#"{"b": 1.50, "a":[1e3, "\u00fc"]}"#;
        assert_eq!(Payload::parse(text).unwrap().as_str(), text);
    }

    #[test]
    fn what_a_reader_would_stumble_over_is_refused() {
        for bad in ["", "{", "nul", r#""\ud800""#, "1e999", "{} {}", &"[".repeat(200)] {
            assert!(Payload::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_digest_ignores_spacing_and_the_order_of_keys() {
        let digest = |text: &str| Digest::of(&Payload::parse(text).unwrap());
        assert_eq!(digest(r#"{"a":1,"b":[2,3]}"#), digest(r#"{ "b": [2, 3], "a": 1 }"#));
        assert_ne!(digest(r#"{"a":1,"b":[2,3]}"#), digest(r#"{"a":1,"b":[3,2]}"#));
    }
}
