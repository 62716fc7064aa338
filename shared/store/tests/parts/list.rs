//! The list of the rules and the functions that state them are the same.

use baton_store::conformance::RULES;

/// The source of each module that has rules.
const SOURCES: &[(&str, &str)] = &[
    ("create", include_str!("../../src/conformance/create.rs")),
    ("run_after", include_str!("../../src/conformance/run_after.rs")),
    ("claim", include_str!("../../src/conformance/claim.rs")),
    ("choice", include_str!("../../src/conformance/choice.rs")),
    ("requests", include_str!("../../src/conformance/requests.rs")),
    ("sessions", include_str!("../../src/conformance/sessions.rs")),
    ("complete", include_str!("../../src/conformance/complete.rs")),
    ("fail", include_str!("../../src/conformance/fail.rs")),
    ("release", include_str!("../../src/conformance/release.rs")),
    ("endings", include_str!("../../src/conformance/endings.rs")),
    ("reach", include_str!("../../src/conformance/reach.rs")),
    ("heartbeat", include_str!("../../src/conformance/heartbeat.rs")),
    ("reap", include_str!("../../src/conformance/reap.rs")),
    ("clocks", include_str!("../../src/conformance/clocks.rs")),
    ("losses", include_str!("../../src/conformance/losses.rs")),
    ("alone", include_str!("../../src/conformance/alone.rs")),
    ("limits", include_str!("../../src/conformance/limits.rs")),
    ("batches", include_str!("../../src/conformance/batches.rs")),
    ("defaults", include_str!("../../src/conformance/defaults.rs")),
    ("archive", include_str!("../../src/conformance/archive.rs")),
    ("order", include_str!("../../src/conformance/order.rs")),
    ("affinity", include_str!("../../src/conformance/affinity.rs")),
    ("places", include_str!("../../src/conformance/places.rs")),
    ("operate", include_str!("../../src/conformance/operate.rs")),
    ("change", include_str!("../../src/conformance/change.rs")),
    ("queue_change", include_str!("../../src/conformance/queue_change.rs")),
    ("bulk", include_str!("../../src/conformance/bulk.rs")),
    ("dependencies", include_str!("../../src/conformance/dependencies.rs")),
    ("expiry", include_str!("../../src/conformance/expiry.rs")),
    ("unique", include_str!("../../src/conformance/unique.rs")),
    ("trace", include_str!("../../src/conformance/trace.rs")),
    ("schedules", include_str!("../../src/conformance/schedules.rs")),
    ("supply", include_str!("../../src/conformance/supply.rs")),
    ("config", include_str!("../../src/conformance/config.rs")),
    ("purge", include_str!("../../src/conformance/purge.rs")),
    ("token", include_str!("../../src/conformance/token.rs")),
    ("audit", include_str!("../../src/conformance/audit.rs")),
    ("query", include_str!("../../src/conformance/query.rs")),
    ("why", include_str!("../../src/conformance/why.rs")),
    ("timeline", include_str!("../../src/conformance/timeline.rs")),
    ("documents", include_str!("../../src/conformance/documents.rs")),
    ("statistics", include_str!("../../src/conformance/statistics.rs")),
    ("doorbell", include_str!("../../src/conformance/doorbell.rs")),
    ("durability", include_str!("../../src/conformance/durability.rs")),
    ("concurrent", include_str!("../../src/conformance/concurrent.rs")),
    ("transfer", include_str!("../../src/conformance/transfer.rs")),
    ("moved", include_str!("../../src/conformance/moved.rs")),
    ("random", include_str!("../../src/conformance/random.rs")),
];

#[test]
fn every_rule_is_listed_and_says_what_it_states() {
    let mut found = Vec::new();
    for (module, source) in SOURCES {
        let mut before = "";
        for line in source.lines() {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                let rule = rest.split('(').next().unwrap_or_default();
                assert!(before.starts_with("/// "), "{module}::{rule} lacks its sentence");
                found.push(format!("{module}::{rule}"));
            }
            before = line;
        }
    }
    assert_eq!(found, RULES);
}
