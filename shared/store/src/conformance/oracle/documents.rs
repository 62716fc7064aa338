//! The oracle's documents.

use async_trait::async_trait;

use super::Oracle;
use crate::{Document, DocumentChange, DocumentChanges, DocumentStore, StoreError};

#[async_trait]
impl DocumentStore for Oracle {
    async fn documents(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Document>, StoreError> {
        let inner = self.lock();
        let of_kind = inner.documents.iter().filter(|((of, _), _)| of == kind);
        let behind = of_kind.filter(|((_, name), _)| after.is_none_or(|after| name.as_str() > after));
        let told = |((_, name), value): (&(String, String), &String)| Document {
            name: name.clone(),
            value: value.clone(),
        };
        Ok(behind.map(told).take(limit as usize).collect())
    }

    async fn count_documents(&self, kind: &str) -> Result<u64, StoreError> {
        Ok(self.lock().documents.keys().filter(|(of, _)| of == kind).count() as u64)
    }

    async fn document(&self, kind: &str, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.lock().documents.get(&(kind.to_owned(), name.to_owned())).cloned())
    }

    async fn change_documents(&self, changes: DocumentChanges) -> Result<bool, StoreError> {
        let mut inner = self.lock();
        let stands = |change: &DocumentChange| {
            let DocumentChange::Replace { kind, name, was, value } = change else { return true };
            let standing = inner.documents.get(&(kind.clone(), name.clone()));
            standing == was.as_ref() || standing == Some(value)
        };
        if !changes.changes.iter().all(stands) {
            return Ok(false);
        }
        for change in changes.changes {
            match change {
                DocumentChange::Put { kind, name, value }
                | DocumentChange::Replace { kind, name, value, .. } => {
                    inner.documents.insert((kind, name), value);
                }
                DocumentChange::Remove { kind, name } => {
                    inner.documents.remove(&(kind, name));
                }
            }
        }
        inner.happened.extend(changes.happened);
        Ok(true)
    }
}
