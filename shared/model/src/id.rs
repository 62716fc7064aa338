//! Identifiers, one type each, so that no id can be passed where another is meant.
//!
//! Ids that Baton makes are UUIDv7 (RFC 9562 §5.7), so that they sort by the time of their making. Names come from
//! callers and are checked once, at the edge.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use compact_str::CompactString;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::digest::Digest;
use crate::expected::Expected;
use crate::time::Timestamp;

/// Reads what is spelled in one way from text where it lies, without a copy of its own.
struct Spelled<T>(PhantomData<T>);

impl<T: FromStr<Err = Expected>> Visitor<'_> for Spelled<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that the caller has made or read back.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The id's sixteen bytes, in the order in which they sort.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id that [`Self::as_bytes`] gave.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = Expected;

            fn from_str(text: &str) -> Result<Self, Expected> {
                // Only the hyphenated form: one id has one spelling, so that it can be searched for in logs.
                match Uuid::try_parse(text) {
                    Ok(id) if text.len() == 36 => Ok(Self(id)),
                    _ => Err(Expected::text("a UUID such as 01980a6e-5b7c-7cc3-98c4-dc0c0c07398f", text)),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Spelled(PhantomData))
            }
        }
    };
}

uuid_id!(
    /// A task. UUIDv7 unless the producer chose the id.
    TaskId
);
uuid_id!(
    /// A bulk command. UUIDv7.
    BulkId
);
uuid_id!(
    /// A batch of tasks. UUIDv7 unless the producer chose the id.
    BatchId
);
uuid_id!(
    /// A generation: the output record of one completed task.
    GenerationId
);
uuid_id!(
    /// One start of a worker. A worker that comes back with another session has forgotten what it ran.
    SessionId
);

uuid_id!(
    /// A caller's token: the part of it that may be known.
    TokenId
);
uuid_id!(
    /// An entry of the audit log.
    AuditId
);

impl TaskId {
    /// The id of a task that has none yet: a template's.
    pub const fn unset() -> Self {
        Self(Uuid::nil())
    }

    /// The id of what another system, or a part of Baton, knows by a name: the same for the same name in the same space, and
    /// another for any other. A UUID whose bits are its maker's own (RFC 9562 §5.8); it does not sort by time.
    pub fn of_name(space: &str, name: &str) -> Self {
        // No space has the separator, so that no two pairs are the same text.
        Self(of_own_bits(&Digest::of_parts(&[space.as_bytes(), &[0], name.as_bytes()])))
    }

    /// The id of a task that something else creates, for one occasion of its: it begins with a time, as a UUIDv7 does (RFC 9562 §5.7),
    /// so that lists tell the task as new, and goes on with what SHA-256 makes of the parts. The same for the same.
    pub(crate) fn derived(at: Timestamp, parts: &[&[u8]]) -> Self {
        let mut bytes = *Digest::of_parts(parts).as_bytes();
        bytes[..6].copy_from_slice(&at.as_millis().to_be_bytes()[2..]);
        bytes[6] = 0x70 | bytes[6] & 0x0f;
        bytes[8] = 0x80 | bytes[8] & 0x3f;
        Self::from_bytes(bytes)
    }

    /// The first and the last id that begin with a prefix of a UUID's text; `None` if no UUID does.
    pub fn range_of_prefix(prefix: &str) -> Option<([u8; 16], [u8; 16])> {
        let mut digits = Vec::with_capacity(32);
        for (place, character) in prefix.chars().enumerate() {
            match (place, character) {
                (8 | 13 | 18 | 23, '-') => {}
                (8 | 13 | 18 | 23, _) => return None,
                (0..36, digit) => digits.push(u8::try_from(digit.to_digit(16)?).ok()?),
                _ => return None,
            }
        }
        let fill = |with: u8| {
            let mut bytes = [0; 16];
            for (place, byte) in bytes.iter_mut().enumerate() {
                let digit = |at: usize| digits.get(at).copied().unwrap_or(with);
                *byte = digit(place * 2) << 4 | digit(place * 2 + 1);
            }
            bytes
        };
        Some((fill(0), fill(15)))
    }
}

impl TokenId {
    /// The id that derives from the parts.
    pub(crate) fn of_own_bits(parts: &[&[u8]]) -> Self {
        Self(of_own_bits(&Digest::of_parts(parts)))
    }
}

impl BatchId {
    /// The id of a batch that its maker's request names: the same for the same name.
    pub fn of_name(name: &str) -> Self {
        Self(of_own_bits(&Digest::of_parts(&[b"batch ", name.as_bytes()])))
    }
}

impl RequestKey {
    /// The name of the claim that comes with the completion of this attempt and is named by it, so that the completion sent again brings
    /// the same leases. No other claim may have it.
    pub fn of_completion(task: TaskId, attempt: u32) -> Self {
        Self::from_stored(format!("{task}@{attempt}"))
    }

    /// Whether it is the name of a claim that comes with some completion.
    pub fn is_of_completion(&self) -> bool {
        let parts = self.as_str().split_once('@');
        parts.is_some_and(|(task, attempt)| task.parse::<TaskId>().is_ok() && attempt.parse::<u32>().is_ok())
    }
}

/// A UUID whose bits are its maker's own: UUIDv8 (RFC 9562 §5.8).
fn of_own_bits(digest: &Digest) -> Uuid {
    let mut bytes = *digest.as_bytes();
    bytes[6] = 0x80 | bytes[6] & 0x0f;
    bytes[8] = 0x80 | bytes[8] & 0x3f;
    Uuid::from_bytes(bytes)
}

// Names are copied with each task, event and answer. Most have no more than 24 bytes, and are kept in place then: a copy allocates nothing.
macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(CompactString);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Takes a name that an earlier [`FromStr`] has accepted, as a store reads it back.
            pub fn from_stored(text: impl AsRef<str>) -> Self {
                Self(CompactString::new(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Expected;

            fn from_str(text: &str) -> Result<Self, Expected> {
                $check(text)?;
                Ok(Self(CompactString::new(text)))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Spelled(PhantomData))
            }
        }
    };
}

/// The most bytes that a name (queue, type, project, worker, request key) may have.
pub const NAME_BYTES: usize = 128;
/// The most bytes of the name of a group of workers.
const GROUP_BYTES: usize = 48;

/// The most characters that a label (domain, assigned_by) may have.
pub const LABEL_CHARS: usize = 256;

/// Names stand in URLs, logs and file names, so they keep to characters that mean nothing in any of them.
fn check_name(text: &str) -> Result<(), Expected> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '@' | '+');
    let only_dots = text.chars().all(|c| c == '.');
    if text.is_empty() || text.len() > NAME_BYTES || !text.chars().all(fits) || only_dots {
        return Err(Expected::text(
            format!("1 to {NAME_BYTES} letters, digits or . _ - : @ + (not dots alone)"),
            text,
        ));
    }
    Ok(())
}

/// Shorter than other names, as those of the group's workers are made of it.
fn check_group(text: &str) -> Result<(), Expected> {
    if text.len() > GROUP_BYTES || check_name(text).is_err() {
        return Err(Expected::text(
            format!("1 to {GROUP_BYTES} letters, digits or . _ - : @ + (not dots alone)"),
            text,
        ));
    }
    Ok(())
}

fn check_label(text: &str) -> Result<(), Expected> {
    let length = text.chars().count();
    if length == 0 || length > LABEL_CHARS || text.chars().any(char::is_control) {
        return Err(Expected::text(
            format!("1 to {LABEL_CHARS} characters, none of them a control character"),
            text,
        ));
    }
    Ok(())
}

text_name!(
    /// A named lane that tasks wait in.
    QueueName,
    check_name
);
text_name!(
    /// What kind of work a task is; workers may claim by it.
    TaskType,
    check_name
);
text_name!(
    /// The owner of a task.
    ProjectId,
    check_name
);
text_name!(
    /// A worker, by the name that it gives itself and keeps over restarts.
    WorkerId,
    check_name
);
text_name!(
    /// A group of workers that a supervisor starts.
    GroupName,
    check_group
);
text_name!(
    /// A caller's own name for one request, so that its repetition is recognised.
    RequestKey,
    check_name
);
text_name!(
    /// A schedule, by its name within its project.
    ScheduleName,
    check_name
);
text_name!(
    /// A short free text that tasks are filtered by: a domain, or who assigned the task.
    Label,
    check_label
);

impl Default for QueueName {
    /// The queue of tasks that name none: `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

impl Default for ProjectId {
    /// The project of tasks that name none: `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text_and_bytes() {
        let text = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
        let id: TaskId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(TaskId::from_bytes(*id.as_bytes()), id);
    }

    #[test]
    fn a_completion_names_its_claim_and_other_names_are_not_so() {
        let task = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
        let name = RequestKey::of_completion(task.parse().unwrap(), 3);
        assert_eq!(name.as_str(), format!("{task}@3"));
        assert_eq!(name.as_str().parse(), Ok(name.clone()));
        assert!(name.is_of_completion());
        for other in [task, &format!("{task}.3"), &format!("{task}@"), &format!("{task}@3@4"), "w@3", "@3"] {
            assert!(!RequestKey::from_stored(other).is_of_completion(), "{other}");
        }
    }

    #[test]
    fn a_name_has_one_id_in_its_space() {
        let id = TaskId::of_name("orders", "a-1");
        assert_eq!(id, TaskId::of_name("orders", "a-1"));
        for other in [("orders", "a-2"), ("bills", "a-1"), ("ordersa", "-1"), ("", "ordersa-1")] {
            assert_ne!(id, TaskId::of_name(other.0, other.1), "{other:?}");
        }
        let text = id.to_string();
        assert!(text.as_bytes()[14] == b'8' && text.parse::<TaskId>() == Ok(id), "{text}");
    }

    #[test]
    fn an_id_has_one_spelling() {
        for other in ["01980a6e5b7c7cc398c4dc0c0c07398f", "{01980a6e-5b7c-7cc3-98c4-dc0c0c07398f}", "", "x"] {
            assert!(other.parse::<TaskId>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_name_keeps_to_harmless_characters() {
        for good in ["default", "gpu-7", "a.b_c:d@e+f", &"x".repeat(NAME_BYTES)] {
            assert!(good.parse::<QueueName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ü", "a\0", "%2e", &"x".repeat(NAME_BYTES + 1)] {
            assert!(bad.parse::<QueueName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_may_be_any_printable_text() {
        assert!("Über größe ☂".parse::<Label>().is_ok());
        for bad in ["", "a\nb", &"x".repeat(LABEL_CHARS + 1)] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_names_a_range_of_ids() {
        let (first, last) = TaskId::range_of_prefix("01980a6e-5").unwrap();
        assert_eq!(TaskId::from_bytes(first).to_string(), "01980a6e-5000-0000-0000-000000000000");
        assert_eq!(TaskId::from_bytes(last).to_string(), "01980a6e-5fff-ffff-ffff-ffffffffffff");
        assert!(TaskId::range_of_prefix("").is_some());
        for bad in ["x", "01980a6e5", "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f0", "-", "é"] {
            assert!(TaskId::range_of_prefix(bad).is_none(), "{bad}");
        }
    }
}
