//! Whether two requests ask for the same: digests of their content, as stores keep them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::canonical::{Canonical, Numbers};

/// The first 16 bytes of the SHA-256 of what was asked for, as it is stored: see [`Fingerprint`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of plain bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of_parts(&[bytes])
    }

    /// The digest of the parts' bytes, one behind the other.
    pub(crate) fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(part));
        let whole = hash.finalize();
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

/// What a request asks for, to be held against the digest that is stored of an earlier one.
///
/// Two requests ask for the same if their JSON means the same: spacing, the order of keys, and how strings and numbers are
/// written do not matter; a number's value does, to its last digit, and so does a key that comes twice. Why so, and how
/// digests are told from those that were made before numbers were compared exactly: `docs/decisions/0001-what-is-the-same-request.md`.
#[derive(Clone)]
pub struct Fingerprint {
    digest: Digest,
    /// The JSON, if the digest that was stored of the same before numbers were compared exactly is another one. That one is
    /// made where it is needed only, which is once in a while: it costs as much again.
    respelt: Option<Arc<String>>,
}

/// Set before texts with numbers that are no 64-bit integers, or with repeated keys: no text of a former digest begins so,
/// so that what was rounded then is taken for nothing that is exact now.
const EXACT: &[u8] = b"2:";

impl Fingerprint {
    /// The fingerprint of `value`'s JSON.
    pub fn of(value: &impl Serialize) -> Self {
        // What Baton digests always serialises: structs with string keys; were that ever untrue, the fingerprint of nothing
        // would refuse a repetition, not accept one.
        let json = serde_json::to_string(value).unwrap_or_default();
        let exact = Canonical::of(&json, Numbers::Exact);
        let mark = if exact.decimals || exact.repeated_keys { EXACT } else { b"" };
        // A number that a float cannot hold had the former digest of others, too: that one says nothing of it.
        let respelt = exact.respelt && !exact.beyond_float && !exact.repeated_keys;
        Self {
            digest: Digest::of_parts(&[mark, exact.text.as_bytes()]),
            respelt: respelt.then(|| Arc::new(json)),
        }
    }

    /// What is to be stored.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether what is stored is the digest of the same.
    pub fn matches(&self, stored: Digest) -> bool {
        self.digest == stored || self.former() == Some(stored)
    }

    fn former(&self) -> Option<Digest> {
        let json = self.respelt.as_ref()?;
        Some(Digest::of_bytes(Canonical::of(json, Numbers::Rounded).text.as_bytes()))
    }
}

impl PartialEq for Fingerprint {
    /// Whether they ask for the same.
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Fingerprint {}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.digest)
    }
}

impl From<Digest> for Fingerprint {
    /// The fingerprint of what was asked for byte by byte.
    fn from(digest: Digest) -> Self {
        Self { digest, respelt: None }
    }
}

#[cfg(test)]
mod tests;
