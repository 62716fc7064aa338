//! Documents: what a server keeps for itself is kept as it was put, and in one commit with what is told of it.

use baton_model::{Happened, Source, TimelineFilter};

use super::kit::*;
use crate::{Document, DocumentChanges, Hold, Store};

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

/// Documents are told by name within their kind, and say what was put last.
pub async fn documents_are_told_by_kind_and_name(b: Bench) {
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
    let mut changes = DocumentChanges::default();
    changes.put("alert", "deep", "{}".to_owned());
    let message = "12 tasks wait in queue gpu".to_owned();
    let (subject, queue) = ("gpu".to_owned(), Some(name("gpu")));
    let fired = Happened::AlertFired { alert: name("deep"), subject, queue, message };
    changes.happened.push((at(5), fired));
    b.store().change_documents(changes).await.unwrap();
    b.reopen().await;
    assert_eq!(b.store().document("alert", "deep").await.unwrap().as_deref(), Some("{}"));
    if !b.store().capabilities().feed {
        return;
    }
    let all = b.store().timeline(TimelineFilter::default(), crate::PageRequest::first(5)).await.unwrap();
    let told: Vec<_> = all.items.iter().map(|entry| (entry.at, entry.source, &*entry.message)).collect();
    assert_eq!(told, [(at(5), Source::Alert, "alert deep fires: 12 tasks wait in queue gpu")]);
}

/// More changes at once than a commit may take are all made; of several changes of one document, the last one stands.
pub async fn many_documents_are_changed_at_once(b: Bench) {
    let mut changes = DocumentChanges::default();
    for n in 0..230 {
        changes.put("message", &format!("{n:03}"), n.to_string());
    }
    changes.put("message", "007", "seven".to_owned());
    changes.put("message", "008", "eight".to_owned());
    changes.remove("message", "008");
    b.store().change_documents(changes).await.unwrap();
    assert_eq!(b.store().count_documents("message").await.unwrap(), 229);
    assert_eq!(b.store().document("message", "007").await.unwrap().as_deref(), Some("seven"));
    assert_eq!(b.store().document("message", "008").await.unwrap(), None);
    let behind = b.store().documents("message", Some("100"), 200).await.unwrap();
    assert_eq!((behind.len(), behind[0].name.as_str()), (129, "101"));
}

/// What is to replace a document does so only if that says what was read of it; else nothing is changed. Made once more, it is as it was
/// made: an answer that was lost is asked for again.
pub async fn a_document_is_replaced_as_it_was_read(b: Bench) {
    let replaced = async |was: Option<&str>, value: &str, others: usize| {
        let mut changes = DocumentChanges::default();
        for n in 0..others {
            changes.put("message", &format!("{value}-{n:03}"), value.to_owned());
        }
        changes.replace("standing", "chat", was.map(str::to_owned), value.to_owned());
        b.store().change_documents(changes).await.unwrap()
    };
    let stands = async || b.store().document("standing", "chat").await.unwrap();
    let messages = async || b.store().count_documents("message").await.unwrap();
    assert!(!replaced(Some("never"), "a", 0).await, "there is none");
    assert!(replaced(None, "a", 0).await);
    assert!(!replaced(None, "b", 0).await, "there is one by now");
    assert!(replaced(None, "a", 1).await, "that is made already");
    assert_eq!((stands().await.as_deref(), messages().await), (Some("a"), 1));
    // With others, also with more of them than fit a commit.
    for others in [1, 130] {
        assert!(!replaced(Some("b"), "c", others).await);
    }
    assert_eq!((stands().await.as_deref(), messages().await), (Some("a"), 1), "nothing was changed");
    assert!(replaced(Some("a"), "d", 130).await);
    assert_eq!((stands().await.as_deref(), messages().await), (Some("d"), 131));
    let mut changes = DocumentChanges::default();
    changes.remove("standing", "chat");
    assert!(b.store().change_documents(changes).await.unwrap());
    assert!(!replaced(Some("d"), "e", 1).await, "it is gone");
    assert_eq!((stands().await, messages().await), (None, 131));
}

/// What one process alone may do, it may until its time is over, and goes on as long as it asks before that. Another one may then, or as
/// soon as the first one ends it. Who may is told whether another one could have done it in between.
pub async fn what_one_alone_may_do_is_held_by_one(b: Bench) {
    let holds =
        async |what: &str, who: &str, now| b.store().hold(what, who, at(now), at(now + 60)).await.unwrap();
    // Where one process works with a store at a time, there is no other.
    let alone = b.store().capabilities().feed;
    let told = |hold| if alone { Hold::Continued } else { hold };
    assert_eq!(holds("notices", "a", 0).await, told(Hold::Begun));
    assert_eq!(holds("notices", "b", 30).await, told(Hold::Others));
    assert_eq!(holds("other", "b", 30).await, told(Hold::Begun));
    assert_eq!(holds("notices", "a", 50).await, Hold::Continued);
    assert_eq!(holds("notices", "b", 70).await, told(Hold::Others), "it has asked again");
    assert_eq!(holds("notices", "a", 500).await, Hold::Continued, "late, and nobody has asked meanwhile");
    assert_eq!(holds("notices", "b", 561).await, told(Hold::Begun), "it has not asked again");
    assert_eq!(holds("notices", "a", 562).await, told(Hold::Others));
    assert_eq!(holds("notices", "a", 622).await, told(Hold::Begun), "another one had it in between");
    b.store().end_hold("notices", "b").await.unwrap();
    assert_eq!(holds("notices", "b", 623).await, told(Hold::Others), "that was not its own to end");
    b.store().end_hold("notices", "a").await.unwrap();
    assert_eq!(holds("notices", "b", 624).await, told(Hold::Begun));
    // Who asks for a short time takes nothing from who holds it for a longer one.
    b.store().hold("long", "a", at(0), at(180)).await.unwrap();
    let short = b.store().hold("long", "b", at(5), at(15)).await.unwrap();
    assert_eq!(short, told(Hold::Others));
}
