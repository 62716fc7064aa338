//! Files that are put at an address of the place itself, past this process: for what the address was made, and how that is written.

use async_trait::async_trait;
use baton_model::{TaskId, Timestamp};

use crate::{Cause, FileName};

/// What may be put at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The name that it is put under.
    pub name: FileName,
    /// A fresh number, which keeps it apart from others of this name.
    pub id: u128,
    /// The attempt of a task that must be under way when it is taken in; none for any time.
    pub attempt: Option<(TaskId, u32)>,
    /// Until when the file is kept in any case.
    pub kept_until: Option<Timestamp>,
}

impl Upload {
    /// All of it but the name, as the last part of the path where it lies: whoever has the address cannot change it.
    pub(crate) fn written(&self) -> String {
        let kept = self.kept_until.map_or_else(String::new, |until| until.as_millis().to_string());
        let (task, attempt) =
            self.attempt.map(|(task, attempt)| (task.to_string(), attempt.to_string())).unwrap_or_default();
        format!("{:032x}.{kept}.{task}.{attempt}", self.id)
    }

    /// Reads what [`Upload::written`] gives; none if it is something else.
    pub(crate) fn read(name: FileName, written: &str) -> Option<Self> {
        let parts: Vec<&str> = written.split('.').collect();
        let [id, kept, task, attempt] = parts[..] else { return None };
        let id = u128::from_str_radix(id, 16).ok()?;
        let kept_until = match kept {
            "" => None,
            kept => Some(Timestamp::from_millis(kept.parse().ok()?)),
        };
        let attempt = match (task, attempt) {
            ("", "") => None,
            (task, attempt) => Some((task.parse().ok()?, attempt.parse().ok()?)),
        };
        Some(Self { name, id, attempt, kept_until })
    }
}

/// An upload that lies where its address leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// For what its address was made.
    pub upload: Upload,
    /// When it was whole, as the place says.
    pub at: Timestamp,
    /// How many bytes it has.
    pub size: u64,
    /// By which its place knows that it is still the same: another may be put at the same address.
    pub version: String,
}

impl Arrived {
    /// By which a file that was taken in is known to be this one.
    pub(crate) fn mark(&self) -> String {
        format!("{:032x} {}", self.upload.id, self.version)
    }

    /// By which a file that was put in its place knows it: what is put at its address again later, of the same bytes, is another.
    pub(crate) fn met(&self) -> String {
        format!("{} {}", self.mark(), self.at.as_millis())
    }
}

/// Who knows whether what an upload was for still goes on. It is asked right before the name of one is written, as to take it in may have
/// taken minutes.
#[async_trait]
pub trait Wanted: Send + Sync {
    /// Whether it is to be taken in.
    ///
    /// # Errors
    /// If that cannot be told now; it stays then, and is taken in later.
    async fn is_wanted(&self, arrived: &Arrived) -> Result<bool, Cause>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_an_address_was_made_for_is_read_as_it_was_written(
            id: u128,
            attempt in proptest::option::of((any::<[u8; 16]>(), any::<u32>())),
            kept in proptest::option::of(any::<i64>()),
        ) {
            let upload = Upload {
                name: "p/a".parse().unwrap(),
                id,
                attempt: attempt.map(|(task, attempt)| (TaskId::from_bytes(task), attempt)),
                kept_until: kept.map(Timestamp::from_millis),
            };
            prop_assert_eq!(Upload::read(upload.name.clone(), &upload.written()), Some(upload));
        }
    }

    #[test]
    fn what_is_none_is_none() {
        let name: FileName = "p/a".parse().unwrap();
        for odd in ["", "a", "1..", "x...", "1..a.", "1...2", "1.x..", "1....", "-1..."] {
            assert_eq!(Upload::read(name.clone(), odd), None, "{odd}");
        }
    }
}
