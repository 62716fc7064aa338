//! `baton import` from a PostgreSQL server that the test starts itself.

use super::{baton, changed, import, tasks};
use crate::support::postgres::Server;
use crate::support::{stderr, told};

const TABLE: &str = "
CREATE TYPE taskstatus AS ENUM ('created', 'queued', 'running', 'completed', 'failed', 'cancelled', 'retry');
CREATE TABLE tasks (id uuid PRIMARY KEY, status taskstatus NOT NULL, type text, description text, domain text, drift_score float8,
    attempts int, locked_by text, locked_at timestamptz, run_after timestamptz, params json, result jsonb, error text,
    created_at timestamptz, updated_at timestamptz);
INSERT INTO tasks VALUES
    ('01980a6e-5b7c-4cc3-98c4-dc0c0c07398f', 'running', 'dspy.plan', 'why', 'x', 0.9, 1, 'd-1', '2026-01-31 09:16:00+01', NULL,
        '{\"n\": 1.50}', NULL, NULL, '2026-01-31 09:15:00.25+01', '2026-01-31 09:16:00+01'),
    ('01980a6e-5b7c-4cc3-98c4-dc0c0c073990', 'completed', 'general_query', NULL, NULL, 0, 1, NULL, NULL, NULL,
        '{}', '{\"a\": 1}', NULL, '2026-01-31 09:15:00.25+01', '2026-01-31 09:16:00+01');
INSERT INTO tasks SELECT gen_random_uuid(), 'queued', 'general_query', 'n ' || n, NULL, 0, 0, NULL, NULL, NULL,
    '{}', NULL, NULL, now(), now() FROM generate_series(1, 5000) n;";

#[test]
fn a_table_is_read_from_the_database_itself() {
    let Some(server) = Server::start() else { return };
    assert!(server.psql(TABLE));
    let folder = tempfile::tempdir().unwrap();
    for (new, same) in [(5_002, 0), (0, 5_002)] {
        let report = import(folder.path(), &[&server.url(), "--as", "task-table"], 0);
        assert_eq!((&report["new"], &report["same"]), (&new.into(), &same.into()), "{report}");
        assert_eq!(changed(&report, "queued again"), 1, "{report}");
        assert!(!report.to_string().contains("secret"), "{report}");
    }
    let tasks = tasks(folder.path());
    assert_eq!(tasks[0]["task"]["head"]["state"], "queued");
    assert_eq!(tasks[0]["task"]["created_at"], "2026-01-31T08:15:00.250Z");
    assert_eq!(tasks[1]["generation"]["output"]["result"]["a"], 1);
    let lines = baton(folder.path(), &["export", "--from", "sqlite:baton.db"], 0).stdout;
    assert!(String::from_utf8_lossy(&lines).contains(r#"{"n": 1.50}"#), "byte for byte");

    let none = ["import", &server.url(), "--as", "task-table", "--table", "jobs", "--dry-run"];
    let none = baton(folder.path(), &none, 3);
    assert!(stderr(&none).contains("expected the table jobs in postgres://ray@127.0.0.1"), "{}", told(&none));
}

#[test]
fn a_database_that_cannot_be_reached_is_named_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let gone = ["import", "postgres://ray:secret@127.0.0.1:1/tasks", "--as", "task-table", "--dry-run"];
    let gone = baton(folder.path(), &gone, 1);
    let said = stderr(&gone);
    assert!(
        said.contains("cannot connect to postgres://ray@127.0.0.1:1/tasks") && !said.contains("secret"),
        "{said}"
    );
}
