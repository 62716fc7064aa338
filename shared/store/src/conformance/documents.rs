//! Documents: what a server keeps for itself is kept as it was put, and in one commit with what is told of it.

use baton_model::{Happened, Source, TimelineFilter};

use super::kit::*;
use crate::{Document, DocumentChanges, Store, StoreError};

fn names(documents: &[Document]) -> Vec<&str> {
    documents.iter().map(|document| document.name.as_str()).collect()
}

async fn put(store: &dyn Store, documents: &[(&str, &str, &str)]) {
    let mut changes = DocumentChanges::default();
    for (kind, name, value) in documents {
        changes.put(kind, name, (*value).to_owned());
    }
    store.change_documents(changes).await.unwrap();
}

/// A store that keeps no documents says so, and what to use instead.
pub async fn what_keeps_no_documents_says_so(b: Bench) {
    let all = b.store().documents("rule", None, 5).await;
    if b.store().capabilities().feed {
        assert_eq!(all.unwrap(), []);
        return;
    }
    assert_err!(all, StoreError::NotTold { .. });
    assert_err!(b.store().document("rule", "a").await, StoreError::NotTold { .. });
    assert_err!(b.store().count_documents("rule").await, StoreError::NotTold { .. });
    assert_err!(b.store().change_documents(DocumentChanges::default()).await, StoreError::NotTold { .. });
}

/// Documents are told by name within their kind, and say what was put last.
pub async fn documents_are_told_by_kind_and_name(b: Bench) {
    if !b.store().capabilities().feed {
        return;
    }
    let store = b.store();
    put(&*store, &[("rule", "b", "1"), ("rule", "a", "2"), ("rule", "c", "3"), ("rules", "d", "4")]).await;
    put(&*store, &[("rule", "b", "5")]).await;
    assert_eq!(names(&store.documents("rule", None, 9).await.unwrap()), ["a", "b", "c"]);
    assert_eq!(names(&store.documents("rule", None, 2).await.unwrap()), ["a", "b"]);
    assert_eq!(store.count_documents("rule").await.unwrap(), 3);
    assert_eq!(store.count_documents("none").await.unwrap(), 0);
    assert_eq!(names(&store.documents("rule", Some("a"), 9).await.unwrap()), ["b", "c"]);
    assert_eq!(store.document("rule", "b").await.unwrap().as_deref(), Some("5"));
    assert_eq!(store.document("rule", "d").await.unwrap(), None);
    let mut changes = DocumentChanges::default();
    changes.remove("rule", "a");
    changes.remove("rule", "never");
    store.change_documents(changes).await.unwrap();
    assert_eq!(names(&store.documents("rule", None, 9).await.unwrap()), ["b", "c"]);
}

/// What is told of a change is in the time line with it, and both outlive a restart.
pub async fn changed_documents_are_told_and_kept(mut b: Bench) {
    if !b.store().capabilities().feed {
        return;
    }
    let mut changes = DocumentChanges::default();
    changes.put("alert", "deep", "{}".to_owned());
    let message = "12 tasks wait in queue gpu".to_owned();
    let fired = Happened::AlertFired { alert: name("deep"), subject: "gpu".to_owned(), message };
    changes.happened.push((at(5), fired));
    b.store().change_documents(changes).await.unwrap();
    b.reopen().await;
    assert_eq!(b.store().document("alert", "deep").await.unwrap().as_deref(), Some("{}"));
    let all = b.store().timeline(TimelineFilter::default(), crate::PageRequest::first(5)).await.unwrap();
    let told: Vec<_> = all.items.iter().map(|entry| (entry.at, entry.source, &*entry.message)).collect();
    assert_eq!(told, [(at(5), Source::Alert, "alert deep fires: 12 tasks wait in queue gpu")]);
}
