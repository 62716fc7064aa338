//! Attributes of items: writing values, and reading them back with a word on what is damaged.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::Blob;
use baton_model::Timestamp;
use baton_store::StoreError;

use crate::error::{corrupt, damaged};

/// An item as DynamoDB gives it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A text attribute.
pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number attribute.
pub(crate) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A bytes attribute.
pub(crate) fn b(bytes: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes.into()))
}

/// A time attribute: milliseconds since 1970.
pub(crate) fn time(at: Timestamp) -> AttributeValue {
    n(at.as_millis())
}

/// A set of texts.
pub(crate) fn texts(texts: impl IntoIterator<Item = String>) -> AttributeValue {
    AttributeValue::Ss(texts.into_iter().collect())
}

/// The key of an item.
pub(crate) fn key(pk: &str, sk: &str) -> Item {
    HashMap::from([("pk".to_owned(), s(pk)), ("sk".to_owned(), s(sk))])
}

/// Reads the attributes of one item.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a Item);

impl<'a> Fields<'a> {
    fn bad(&self, name: &str, expected: &str) -> StoreError {
        let key = |name| self.0.get(name).and_then(|value| value.as_s().ok()).map_or("?", String::as_str);
        damaged(format!("item {} {}: expected {name} to be {expected}", key("pk"), key("sk")))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn maybe_text(&self, name: &str) -> Result<Option<&'a str>, StoreError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(_) => Err(self.bad(name, "a text")),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<&'a str, StoreError> {
        self.maybe_text(name)?.ok_or_else(|| self.bad(name, "there"))
    }

    pub(crate) fn maybe_number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, StoreError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(digits)) => {
                digits.parse().map(Some).map_err(|_| self.bad(name, "a number that fits"))
            }
            Some(_) => Err(self.bad(name, "a number")),
        }
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, StoreError> {
        self.maybe_number(name)?.ok_or_else(|| self.bad(name, "there"))
    }

    pub(crate) fn maybe_time(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.maybe_number(name)?.map(Timestamp::from_millis))
    }

    pub(crate) fn time(&self, name: &str) -> Result<Timestamp, StoreError> {
        self.number(name).map(Timestamp::from_millis)
    }

    pub(crate) fn maybe_bytes(&self, name: &str) -> Result<Option<&'a [u8]>, StoreError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::B(blob)) => Ok(Some(blob.as_ref())),
            Some(_) => Err(self.bad(name, "bytes")),
        }
    }

    pub(crate) fn maybe_sixteen(&self, name: &str) -> Result<Option<[u8; 16]>, StoreError> {
        match self.maybe_bytes(name)? {
            None => Ok(None),
            Some(bytes) => bytes.try_into().map(Some).map_err(|_| self.bad(name, "sixteen bytes")),
        }
    }

    /// The texts of a list attribute; none if it is missing.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let Some(list) = self.0.get(name) else { return Ok(Vec::new()) };
        let list = list.as_l().map_err(|_| self.bad(name, "a list"))?;
        let text =
            |value: &AttributeValue| value.as_s().cloned().map_err(|_| self.bad(name, "a list of texts"));
        list.iter().map(text).collect()
    }

    /// A value that is stored as JSON.
    pub(crate) fn maybe_json<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        match self.maybe_text(name)? {
            None => Ok(None),
            Some(json) => serde_json::from_str(json).map(Some).map_err(|error| corrupt(name, error)),
        }
    }

    /// The texts of a set; none if it is missing.
    pub(crate) fn set_of_texts(&self, name: &str) -> Result<&'a [String], StoreError> {
        let Some(set) = self.0.get(name) else { return Ok(&[]) };
        set.as_ss().map(Vec::as_slice).map_err(|_| self.bad(name, "a set of texts"))
    }

    /// The day or other number that a set holds; none if it is missing.
    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<i64>, StoreError> {
        let Some(set) = self.0.get(name) else { return Ok(Vec::new()) };
        let set = set.as_ns().map_err(|_| self.bad(name, "a set of numbers"))?;
        set.iter()
            .map(|digits| digits.parse().map_err(|_| self.bad(name, "a set of whole numbers")))
            .collect()
    }
}

/// Writes JSON to be stored.
pub(crate) fn json<T: serde::Serialize>(what: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Internal {
        what: format!("cannot write {what}"),
        cause: Some(error.into()),
    })
}

/// An item's size by DynamoDB's published rules: names and values in UTF-8 bytes, numbers by their digits.
pub(crate) fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::B(blob) => blob.as_ref().len(),
        AttributeValue::L(list) => 3 + list.iter().map(|one| value_size(one) + 1).sum::<usize>(),
        AttributeValue::M(map) => {
            3 + map.iter().map(|(name, one)| name.len() + value_size(one) + 1).sum::<usize>()
        }
        AttributeValue::Ss(set) | AttributeValue::Ns(set) => set.iter().map(String::len).sum(),
        _ => 1,
    }
}
