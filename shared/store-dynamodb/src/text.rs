//! Texts that are kept with their item while small, and apart from it when large, so that a change of status does not
//! pay for the payload.
//!
//! A text kept apart lies under its own digest, in parts. Writing it again writes the same, so that it is written
//! before the item that names it, and without a transaction: what nobody names after a refusal is removed, and what a
//! crash leaves behind does no harm.

use baton_model::{Digest, Payload};
use baton_store::StoreError;
use futures::StreamExt;

use crate::attr::{Fields, Item, key, n, s};
use crate::db::{Db, Query, Range};
use crate::ends::ENDS;
use crate::error::{WriteError, corrupt, damaged};
use crate::expression::Expression;

/// The most bytes of a text that is kept with its item.
pub(crate) const INLINE: usize = 1_024;

/// The most bytes of a part. DynamoDB's limit is 400 KB for an item with all that belongs to it.
const PART: usize = 300 * 1_024;

/// How many parts are written at the same time.
const PARTS_AT_ONCE: usize = 8;

/// A text as its item names it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Text {
    /// Kept with the item.
    Inline(String),
    /// Kept apart: what its parts' keys begin with, and how many there are.
    Apart { name: String, parts: usize },
}

impl Text {
    /// Says where a text is to be kept; `role` tells it from others of the same owner.
    pub(crate) fn of(role: &str, text: &str) -> Self {
        if text.len() <= INLINE { Self::Inline(text.to_owned()) } else { Self::apart(role, text) }
    }

    /// Keeps a text apart, whatever its size.
    pub(crate) fn apart(role: &str, text: &str) -> Self {
        let digest: String =
            Digest::of_bytes(text.as_bytes()).as_bytes().iter().map(|b| format!("{b:02x}")).collect();
        Self::Apart { name: format!("{role}#{digest}"), parts: parts(text).len() }
    }

    /// Writes the text into its item: with its own name, or with where it is kept.
    pub(crate) fn put(&self, item: &mut Item, inline: &str, apart: &str) {
        match self {
            Self::Inline(text) => item.insert(inline.to_owned(), s(text)),
            Self::Apart { .. } => item.insert(apart.to_owned(), s(self.reference())),
        };
    }

    /// Where a text kept apart lies, as text; nothing for one kept with its item.
    pub(crate) fn reference(&self) -> String {
        match self {
            Self::Inline(_) => String::new(),
            Self::Apart { name, parts } => format!("{parts}#{name}"),
        }
    }

    /// Reads what [`Text::reference`] gave.
    pub(crate) fn referred(reference: &str) -> Result<Self, StoreError> {
        let split = reference.split_once('#').and_then(|(parts, name)| Some((parts.parse().ok()?, name)));
        let (parts, name) = split.ok_or_else(|| damaged("expected the name of a text kept apart"))?;
        Ok(Self::Apart { name: name.to_owned(), parts })
    }

    /// Reads what [`Text::put`] wrote; none if it wrote nothing.
    pub(crate) fn read(fields: Fields<'_>, inline: &str, apart: &str) -> Result<Option<Self>, StoreError> {
        if let Some(text) = fields.maybe_text(inline)? {
            return Ok(Some(Self::Inline(text.to_owned())));
        }
        fields.maybe_text(apart)?.map(Self::referred).transpose()
    }

    /// The keys of its parts; none if it is kept with its item.
    pub(crate) fn keys(&self, owner: &str) -> Vec<Item> {
        match self {
            Self::Inline(_) => Vec::new(),
            Self::Apart { name, parts } => {
                (0..*parts).map(|n| key(owner, &format!("{name}#{n:03}"))).collect()
            }
        }
    }
}

/// A text cut into parts that an item holds.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.floor_char_boundary(PART));
        parts.push(part);
        rest = after;
    }
    parts
}

impl Db {
    /// Writes a text that is kept apart, under the partition `owner`. `ends`: the second from which DynamoDB removes it, if
    /// that is known.
    pub(crate) async fn write_text(
        &self,
        owner: &str,
        text: &Text,
        whole: &str,
        ends: Option<i64>,
    ) -> Result<(), StoreError> {
        let mut items = text.keys(owner);
        for (item, part) in items.iter_mut().zip(parts(whole)) {
            item.insert("d".to_owned(), s(part));
            item.extend(ends.map(|ends| (ENDS.to_owned(), n(ends))));
        }
        // Under an id that was drawn for it: nobody else has it.
        if ends.is_some() {
            return self.put_all(items).await;
        }
        let mut writes = Vec::with_capacity(items.len());
        for item in items {
            // The same part without an end is as good, and may know by which retry it lost its end.
            writes.push(self.put(item, Expression::new().when_absent_or_present("pk", ENDS)));
        }
        let mut writes = futures::stream::iter(writes).buffer_unordered(PARTS_AT_ONCE);
        while let Some(written) = writes.next().await {
            match written {
                Ok(()) | Err(WriteError::Condition(_)) => {}
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes a text that nobody names.
    pub(crate) async fn drop_text(&self, owner: &str, text: &Text) {
        let keys = text.keys(owner);
        if !keys.is_empty()
            && let Err(error) = self.delete_all(keys).await
        {
            tracing::debug!(owner, %error, "a text that nobody names could not be removed");
        }
    }

    /// Reads a text from where it is kept; none if it is kept apart and gone.
    pub(crate) async fn read_text(&self, owner: &str, text: &Text) -> Result<Option<String>, StoreError> {
        let (name, wanted) = match text {
            Text::Inline(text) => return Ok(Some(text.clone())),
            Text::Apart { name, parts } => (name, *parts),
        };
        let range = Range::Within(format!("{name}#"), format!("{name}#~"));
        let found = self.query_whole(Query { range, ..Query::table(owner) }).await?;
        if found.items.len() < wanted {
            return Ok(None);
        }
        let mut whole = String::new();
        for item in found.items.iter().take(wanted) {
            whole.push_str(Fields(item).text("d")?);
        }
        Ok(Some(whole))
    }

    /// Reads a payload from where it is kept.
    pub(crate) async fn read_payload(&self, owner: &str, text: &Text) -> Result<Option<Payload>, StoreError> {
        let Some(json) = self.read_text(owner, text).await? else { return Ok(None) };
        Payload::from_stored(json).map(Some).map_err(|error| corrupt(format!("a payload of {owner}"), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_loses_nothing() {
        let long = "☂".repeat(300_000);
        let cut = parts(&long);
        assert!(cut.len() > 2 && cut.iter().all(|part| part.len() <= PART));
        assert_eq!(cut.concat(), long);
    }

    #[test]
    fn a_text_kept_apart_is_found_by_its_reference() {
        let text = Text::of("params", &"x".repeat(2_000));
        assert_eq!(Text::referred(&text.reference()).unwrap(), text);
        assert_eq!(Text::of("params", "{}"), Text::Inline("{}".to_owned()));
    }
}
