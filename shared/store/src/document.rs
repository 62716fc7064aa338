//! Small documents that a server keeps for itself: rules of alerts and how they stand, webhooks and what is on its way to them.

use async_trait::async_trait;
use baton_model::{Happened, Timestamp};

use crate::error::StoreError;

/// A document: a text of a kind and a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its name among those of its kind.
    pub name: String,
    /// What it says; JSON by custom.
    pub value: String,
}

/// A change of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentChange {
    /// It says this from now on.
    Put {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// What it says.
        value: String,
    },
    /// It is gone.
    Remove {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
    },
}

/// Changes that are made together, and what is told of them in the time line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentChanges {
    /// The changes, one after the other.
    pub changes: Vec<DocumentChange>,
    /// What happened with them, and when.
    pub happened: Vec<(Timestamp, Happened)>,
}

impl DocumentChanges {
    /// Adds a document that says this from now on.
    pub fn put(&mut self, kind: &str, name: &str, value: String) {
        self.changes.push(DocumentChange::Put { kind: kind.to_owned(), name: name.to_owned(), value });
    }

    /// Adds that a document is gone.
    pub fn remove(&mut self, kind: &str, name: &str) {
        self.changes.push(DocumentChange::Remove { kind: kind.to_owned(), name: name.to_owned() });
    }

    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.happened.is_empty()
    }
}

/// Keeps documents. A store without [`crate::Capabilities::feed`] keeps none.
#[async_trait]
pub trait DocumentStore: Send + Sync {
    /// Documents of a kind by name, behind a name if one is given, at most so many.
    ///
    /// # Errors
    /// [`StoreError::NotTold`] without [`crate::Capabilities::feed`], and the store's own failures.
    async fn documents(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Document>, StoreError>;

    /// How many documents of a kind there are.
    ///
    /// # Errors
    /// As [`DocumentStore::documents`].
    async fn count_documents(&self, kind: &str) -> Result<u64, StoreError>;

    /// What a document says; none if there is none.
    ///
    /// # Errors
    /// As [`DocumentStore::documents`].
    async fn document(&self, kind: &str, name: &str) -> Result<Option<String>, StoreError>;

    /// Changes documents in one commit, with what the time line tells of it.
    ///
    /// # Errors
    /// As [`DocumentStore::documents`].
    async fn change_documents(&self, changes: DocumentChanges) -> Result<(), StoreError>;
}

/// What a store that keeps no documents says.
pub fn without_documents() -> StoreError {
    StoreError::NotTold {
        what: "this store keeps no alerts and no webhooks".to_owned(),
        instead: "the template's alarms and the queue task-events tell of the same (docs/deploy.md, docs/lambda.md)"
            .to_owned(),
    }
}
