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
    /// It says this from now on, if it says what was read of it, or says this already; else none of the changes is made.
    Replace {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// What was read; none if there was none.
        was: Option<String>,
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

    /// Adds a document that says this from now on, if it says what was read of it: on that condition are all changes.
    pub fn replace(&mut self, kind: &str, name: &str, was: Option<String>, value: String) {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.changes.push(DocumentChange::Replace { kind, name, was, value });
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

/// Whether somebody alone may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Another one may.
    Others,
    /// It may from now on: another one may have done it before, or nobody.
    Begun,
    /// It may, and nobody else has since it was told so last.
    Continued,
}

/// Keeps documents. What is told with them in the time line, a store without [`crate::Capabilities::feed`] does not keep.
#[async_trait]
pub trait DocumentStore: Send + Sync {
    /// Documents of a kind by name, behind a name if one is given, at most so many.
    ///
    /// # Errors
    /// The store's own failures.
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

    /// Changes documents in one commit, with what the time line tells of it. A store whose commits are bounded writes more of them than
    /// fit one in several, those that come first in the last one, and those with a condition in the first one. Says whether it did: not, if
    /// others have written what was to be replaced ([`DocumentChange::Replace`]); nothing was changed then.
    ///
    /// # Errors
    /// As [`DocumentStore::documents`].
    async fn change_documents(&self, changes: DocumentChanges) -> Result<bool, StoreError>;

    /// Says whether `holder` alone may do something until a time: who asks first, and goes on asking before that time. A store that one
    /// process works with at a time says so to everybody.
    ///
    /// # Errors
    /// As [`DocumentStore::documents`].
    async fn hold(
        &self,
        _what: &str,
        _holder: &str,
        _now: Timestamp,
        _until: Timestamp,
    ) -> Result<Hold, StoreError> {
        Ok(Hold::Continued)
    }

    /// Lets another one do it at once; changes nothing if another one may already.
    ///
    /// # Errors
    /// As [`DocumentStore::documents`].
    async fn end_hold(&self, _what: &str, _holder: &str) -> Result<(), StoreError> {
        Ok(())
    }
}
