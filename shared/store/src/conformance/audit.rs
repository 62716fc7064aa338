//! The audit log: every entry once, as it was recorded, found by what was done, with which token and when.

use std::collections::BTreeSet;

use baton_model::{AuditId, Timestamp, TokenId};

use super::kit::*;
use crate::faulty::{Fault, Faulty};
use crate::{
    AuditEntry, AuditFilter, AuditStore, Cursor, ErrorKind, PageRequest, SettingChange, Settled, StoreError,
};

/// An entry of an operator who pauses a queue.
pub(super) fn entry(b: &Bench, at: Timestamp) -> AuditEntry {
    AuditEntry {
        id: b.audit_id(at),
        at,
        action: "pause_queue".to_owned(),
        target: "/v1/queues/default/pause".to_owned(),
        token: None,
        token_name: None,
        request_id: None,
        by: None,
        reason: None,
        outcome: None,
        change: None,
    }
}

/// Records an entry and gives its id.
pub(super) async fn recorded(b: &Bench, entry: AuditEntry) -> AuditId {
    let id = entry.id;
    b.store().record(entry).await.unwrap();
    id
}

fn ids(entries: &[AuditEntry]) -> Vec<AuditId> {
    entries.iter().map(|entry| entry.id).collect()
}

/// An entry is kept as it was recorded: one with every field set, and one with none.
pub async fn an_entry_is_kept_as_recorded(b: Bench) {
    let bare = entry(&b, at(1));
    let full = AuditEntry {
        action: "cancel_task".to_owned(),
        target: "/v1/tasks/ü/cancel".to_owned(),
        token: Some(b.token_id()),
        token_name: Some(name("Büro ☂")),
        request_id: Some("r-1".to_owned()),
        by: Some(name("ada")),
        reason: Some("wrong scene ☂".to_owned()),
        outcome: Some(409),
        change: Some(SettingChange { from: None, to: Some("at most 5 run".to_owned()) }),
        ..entry(&b, at(2))
    };
    for entry in [&bare, &full] {
        recorded(&b, entry.clone()).await;
    }
    assert_eq!(b.audit_by(AuditFilter::default()).await, [full, bare]);
}

/// The same entry recorded again changes nothing, also when it was settled since.
pub async fn the_same_entry_again_changes_nothing(b: Bench) {
    let entry = entry(&b, at(1));
    recorded(&b, entry.clone()).await;
    b.store().settle(entry.id, Settled::with(200)).await.unwrap();
    recorded(&b, entry.clone()).await;
    assert_eq!(b.audit_by(AuditFilter::default()).await, [AuditEntry { outcome: Some(200), ..entry }]);
}

/// An entry is settled with the status that its request was answered with and with who asked and why, and others stay as
/// they are.
pub async fn an_entry_is_settled(b: Bench) {
    let (first, second) = (entry(&b, at(1)), entry(&b, at(1)));
    recorded(&b, first.clone()).await;
    recorded(&b, second.clone()).await;
    let (by, reason) = (Some(name("ada")), Some("new drivers".to_owned()));
    let change = Some(SettingChange { from: Some("at most 5 run".to_owned()), to: None });
    let settled = Settled { outcome: 404, by: by.clone(), reason: reason.clone(), change: change.clone() };
    b.store().settle(second.id, settled).await.unwrap();
    let mut listed = b.audit_by(AuditFilter::default()).await;
    listed.sort_by_key(|entry| entry.id);
    assert_eq!(listed, [first, AuditEntry { by, reason, change, outcome: Some(404), ..second }]);
}

/// An entry that was never recorded cannot be settled, nor does trying make one.
pub async fn an_unknown_entry_is_not_settled(b: Bench) {
    b.store().settle(b.audit_id(at(1)), Settled::with(200)).await.unwrap();
    assert_eq!(b.audit_by(AuditFilter::default()).await, []);
}

/// Entries are listed the newest first, by pages that cover them exactly once, also over days.
pub async fn entries_are_listed_the_newest_first(b: Bench) {
    let mut made = Vec::new();
    for day in 0..3 {
        for second in 0..3 {
            made.push(recorded(&b, entry(&b, at(day * 86_400 + second))).await);
        }
    }
    made.reverse();
    assert_eq!(ids(&b.audit_by(AuditFilter::default()).await), made);
    b.settle().await;
    let store = b.store();
    let all = pages(4, |page| store.audit(AuditFilter::default(), page)).await;
    assert_eq!(ids(&all), made);
}

/// Each filter keeps what fits it, and all together what fits them all.
pub async fn audit_filters_keep_what_fits(b: Bench) {
    let tokens: [TokenId; 2] = [b.token_id(), b.token_id()];
    let mut made = Vec::new();
    for n in 0..12_u64 {
        let entry = AuditEntry {
            action: ["cancel_task", "retry_task", "pause_queue"][n as usize % 3].to_owned(),
            token: tokens.get(n as usize % 4).copied(),
            ..entry(&b, at(n * 40_000))
        };
        recorded(&b, entry.clone()).await;
        made.push(entry);
    }
    made.reverse();
    let (from, before) = (Some(at(2 * 40_000)), Some(at(9 * 40_000)));
    let action = Some("cancel_task".to_owned());
    let filters = [
        AuditFilter { token: Some(tokens[0]), ..AuditFilter::default() },
        AuditFilter { token: Some(b.token_id()), ..AuditFilter::default() },
        AuditFilter { action: action.clone(), ..AuditFilter::default() },
        AuditFilter { action: Some("nobody_did_this".to_owned()), ..AuditFilter::default() },
        AuditFilter { from, ..AuditFilter::default() },
        AuditFilter { before, ..AuditFilter::default() },
        AuditFilter { from: before, before: from, ..AuditFilter::default() },
        AuditFilter { from, before, ..AuditFilter::default() },
        AuditFilter { token: Some(tokens[1]), action: action.clone(), ..AuditFilter::default() },
        AuditFilter { token: Some(tokens[0]), from, before, ..AuditFilter::default() },
        AuditFilter { token: Some(tokens[0]), action, from, before },
    ];
    for filter in filters {
        let fits = |entry: &&AuditEntry| {
            filter.token.is_none_or(|token| entry.token == Some(token))
                && filter.action.as_ref().is_none_or(|action| entry.action == *action)
                && filter.from.is_none_or(|from| entry.at >= from)
                && filter.before.is_none_or(|before| entry.at < before)
        };
        let expected: Vec<_> = made.iter().filter(fits).cloned().collect();
        assert_eq!(b.audit_by(filter.clone()).await, expected, "{filter:?}");
    }
}

/// A cursor that is none is refused.
pub async fn a_bad_audit_cursor_is_refused(b: Bench) {
    recorded(&b, entry(&b, at(1))).await;
    for text in ["not a cursor", "☂", "{\"a\":", "../../etc/passwd"] {
        let page = PageRequest { after: Some(Cursor(text.to_owned())), limit: 2, in_parts: false };
        assert_err!(b.store().audit(AuditFilter::default(), page).await, StoreError::BadCursor);
    }
}

/// Entries that are recorded and settled at once are all kept, each with its own outcome.
pub async fn entries_recorded_at_once_are_all_kept(b: Bench) {
    let entries: Vec<_> = (0..16_u16).map(|n| (entry(&b, at(u64::from(n))), 200 + n)).collect();
    let doings = entries.clone().into_iter().map(|(entry, outcome)| {
        let store = b.store();
        async move {
            let id = entry.id;
            store.record(entry).await.unwrap();
            store.settle(id, Settled::with(outcome)).await.unwrap();
        }
    });
    at_once(doings).await;
    let settled =
        entries.into_iter().rev().map(|(entry, outcome)| AuditEntry { outcome: Some(outcome), ..entry });
    assert_eq!(b.audit_by(AuditFilter::default()).await, settled.collect::<Vec<_>>());
}

/// Whether a command has been carried out, also if its answer was lost.
fn done(answer: &Result<(), StoreError>) -> bool {
    match answer.as_ref().map_err(StoreError::kind) {
        Ok(()) | Err(ErrorKind::Unknown) => true,
        Err(ErrorKind::Unavailable) => false,
        Err(_) => panic!("{answer:?}"),
    }
}

/// Over a store that fails, an entry that was acknowledged is there, once, and so is its outcome; what is said to be not
/// done leaves no trace.
pub async fn what_is_acknowledged_is_kept_over_a_store_that_fails(b: Bench) {
    let (mut expected, mut met) = (Vec::new(), BTreeSet::new());
    for seed in 0..8 {
        let faulty = Faulty::new(b.store(), seed, 2);
        for n in 0..8_u16 {
            let entry = entry(&b, at(seed * 60 + u64::from(n)));
            if !done(&faulty.record(entry.clone()).await) {
                continue;
            }
            let settled = done(&faulty.settle(entry.id, Settled::with(200 + n)).await);
            expected.push(AuditEntry { outcome: settled.then_some(200 + n), ..entry });
        }
        // A list may be old: an entry is still one that was recorded.
        if let Ok(page) = faulty.audit(AuditFilter::default(), PageRequest::first(3)).await {
            let recorded = |entry: &AuditEntry| expected.iter().any(|known| known.id == entry.id);
            assert!(page.items.iter().all(recorded), "{page:?}");
        }
        met.extend(faulty.met());
    }
    expected.reverse();
    assert_eq!(b.audit_by(AuditFilter::default()).await, expected);
    for method in ["record", "settle"] {
        for fault in [Fault::Unavailable, Fault::Unknown, Fault::Twice, Fault::Delay] {
            assert!(met.contains(&(method, fault)), "{fault:?} is tried: {met:?}");
        }
    }
}
