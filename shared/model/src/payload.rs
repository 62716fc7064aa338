//! JSON that callers hand in and get back byte for byte: params, results, metadata. Baton never looks inside.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::expected::Expected;

/// A JSON value, kept as the text that came.
#[derive(Clone)]
pub struct Payload(Box<RawValue>);

impl Payload {
    /// Takes a JSON text.
    ///
    /// # Errors
    /// If the text is not one JSON value (RFC 8259), nests deeper than 127 levels, holds a number that is too large for a
    /// 64-bit float, or a broken Unicode escape: all things that some reader downstream would stumble over.
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
    /// Equal if the texts are; use [`crate::Fingerprint`] to compare by meaning.
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
}
