//! The list of the rules and the functions that state them are the same.

use super::*;

/// The source of each module that has rules.
const SOURCES: &[(&str, &str)] = &[
    ("create", include_str!("create.rs")),
    ("run_after", include_str!("run_after.rs")),
    ("claim", include_str!("claim.rs")),
    ("choice", include_str!("choice.rs")),
    ("requests", include_str!("requests.rs")),
    ("sessions", include_str!("sessions.rs")),
    ("complete", include_str!("complete.rs")),
    ("fail", include_str!("fail.rs")),
    ("release", include_str!("release.rs")),
    ("endings", include_str!("endings.rs")),
    ("heartbeat", include_str!("heartbeat.rs")),
    ("reap", include_str!("reap.rs")),
    ("clocks", include_str!("clocks.rs")),
    ("losses", include_str!("losses.rs")),
    ("alone", include_str!("alone.rs")),
    ("limits", include_str!("limits.rs")),
    ("batches", include_str!("batches.rs")),
    ("defaults", include_str!("defaults.rs")),
    ("order", include_str!("order.rs")),
    ("affinity", include_str!("affinity.rs")),
    ("places", include_str!("places.rs")),
    ("operate", include_str!("operate.rs")),
    ("change", include_str!("change.rs")),
    ("queue_change", include_str!("queue_change.rs")),
    ("bulk", include_str!("bulk.rs")),
    ("dependencies", include_str!("dependencies.rs")),
    ("expiry", include_str!("expiry.rs")),
    ("unique", include_str!("unique.rs")),
    ("schedules", include_str!("schedules.rs")),
    ("supply", include_str!("supply.rs")),
    ("config", include_str!("config.rs")),
    ("purge", include_str!("purge.rs")),
    ("token", include_str!("token.rs")),
    ("audit", include_str!("audit.rs")),
    ("query", include_str!("query.rs")),
    ("why", include_str!("why.rs")),
    ("timeline", include_str!("timeline.rs")),
    ("documents", include_str!("documents.rs")),
    ("statistics", include_str!("statistics.rs")),
    ("doorbell", include_str!("doorbell.rs")),
    ("durability", include_str!("durability.rs")),
    ("concurrent", include_str!("concurrent.rs")),
    ("transfer", include_str!("transfer.rs")),
    ("random", include_str!("random.rs")),
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
