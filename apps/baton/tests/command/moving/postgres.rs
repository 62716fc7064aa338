//! `baton import` from a PostgreSQL server that the test starts itself.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};

use super::{baton, changed, import, tasks};
use crate::support::{Running, stderr, told, until};

/// Where Debian, and others, put the programs.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut folders: Vec<PathBuf> = debian.flatten().map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH")?));
    folders.into_iter().rev().find(|folder| folder.join("initdb").exists())
}

/// A server of its own, until the test ends.
pub(super) struct Server {
    port: u16,
    running: Running,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // A quick shutdown, which ends its processes as well.
        self.running.signal(Signal::SIGINT);
        self.running.wait();
    }
}

/// A command that runs as the user whose the files are: PostgreSQL refuses to run as root.
fn command(program: &Path, user: Option<&User>) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Server {
    /// None where PostgreSQL is not installed, which is said.
    pub(super) fn start() -> Option<Self> {
        let user = Uid::effective().is_root().then(|| User::from_name("postgres").ok().flatten());
        let (Some(programs), Some(user)) = (programs(), user.map_or(Some(None), |user| user.map(Some)))
        else {
            eprintln!("NOT TESTED: PostgreSQL is not installed here (Debian: apt-get install postgresql)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        if let Some(user) = &user {
            std::os::unix::fs::chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .unwrap();
        }
        let data = folder.path().join("data");
        let made = command(&programs.join("initdb"), user.as_ref())
            .args(["--auth=trust", "--username=ray", "--no-sync", "-D"])
            .arg(&data)
            .status();
        assert!(made.unwrap().success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let running = command(&programs.join("postgres"), user.as_ref())
            .args(["-F", "-c", "listen_addresses=127.0.0.1", "-p", &port.to_string(), "-k"])
            .arg(folder.path())
            .arg("-D")
            .arg(&data)
            .spawn()
            .unwrap();
        let server = Self { port, running: Running(running), _folder: folder };
        until("PostgreSQL answers", || server.psql("SELECT 1").then_some(()));
        Some(server)
    }

    pub(super) fn psql(&self, sql: &str) -> bool {
        let mut psql = Command::new("psql");
        psql.args(["-v", "ON_ERROR_STOP=1", "-q", "-c", sql, &self.url()]);
        psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    pub(super) fn url(&self) -> String {
        format!("postgres://ray:secret@127.0.0.1:{}/postgres", self.port)
    }
}

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
