//! The guides in docs/moving, run as they are written there, with ports that are free.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Running, free_port, told, tool, until};

const ID: &str = "01980a6e-5b7c-4cc3-98c4-dc0c0c07398f";
const AT: &str = "2026-01-31T08:15:00.250000+00:00";

/// A page, on its way.
struct Guide {
    folder: tempfile::TempDir,
    /// The page's ports, and those that stand for them.
    ports: BTreeMap<&'static str, u16>,
    /// Other words of the page, and what stands for them.
    words: Vec<(&'static str, String)>,
    /// What was left running, in its order.
    running: Vec<Running>,
}

impl Guide {
    fn new(ports: &[&'static str]) -> Self {
        let ports = ports.iter().chain(&["7410"]).map(|port| (*port, free_port())).collect();
        Self { folder: tempfile::tempdir().unwrap(), ports, words: Vec::new(), running: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (page, free) in &self.ports {
            text = text.replace(&format!("127.0.0.1:{page}"), &format!("127.0.0.1:{free}"));
        }
        self.words.iter().fold(text, |text, (page, here)| text.replace(page, here))
    }

    fn shell(&self, script: &str) -> Command {
        let named = tool();
        let program = Path::new(named.get_program()).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        for (name, _) in named.get_envs() {
            shell.env_remove(name);
        }
        let address = format!("127.0.0.1:{}", self.ports["7410"]);
        shell
            .args(["-e", "-c", script])
            .env("PATH", path)
            .env("BATON_URL", format!("http://{address}"))
            .env("BATON_SERVER_LISTEN", address)
            .env("SERVICE_KEY", "eyJhbGciOiJIUzI1NiJ9.a-service-key.of-the-platform")
            .current_dir(self.path())
            .stdin(Stdio::null());
        shell
    }

    fn run(&self, script: &str) {
        let output = self.shell(script).output().unwrap();
        assert!(output.status.success(), "{script}: {}", told(&output));
    }

    /// Leaves a command running, which ends by a signal of its own.
    fn leave(&mut self, script: &str) {
        let log = std::fs::File::create(self.path().join(format!("log-{}", self.running.len()))).unwrap();
        let mut shell = self.shell(&format!("exec {script}"));
        let child = shell.stdout(log.try_clone().unwrap()).stderr(log).process_group(0).spawn().unwrap();
        self.running.push(Running(child));
    }

    fn stop(&mut self) {
        for mut running in self.running.drain(..).rev() {
            running.signal(Signal::SIGTERM);
            running.wait();
        }
    }

    /// Runs a page from its beginning to its end. `old` is the old server, which ends when Baton takes its place.
    fn follow(mut self, name: &str, mut old: Option<Old>) {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/moving").join(name);
        let page = std::fs::read_to_string(page).unwrap();
        for block in page.split("```").skip(1).step_by(2) {
            let (kind, text) = block.split_once('\n').unwrap();
            let text = &self.here(text);
            match kind {
                "toml" => std::fs::write(self.path().join("baton.toml"), text).unwrap(),
                "sh serve" => {
                    drop(old.take());
                    self.leave(text);
                    for port in self.ports.values() {
                        until("Baton answers", || TcpStream::connect(("127.0.0.1", *port)).ok());
                    }
                }
                "sh work" => self.leave(text),
                "sh stopped" => {
                    self.stop();
                    self.run(text);
                }
                "sh" => self.run(text),
                _ => panic!("{name}: expected toml, sh, sh serve, sh work or sh stopped, got {kind}"),
            }
        }
        self.stop();
    }
}

/// A server that has an answer for one path, until it is dropped.
struct Old {
    port: u16,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Old {
    fn start(port: u16, path: &'static str, body: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let thread = std::thread::spawn(move || {
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1_024];
                let read = stream.read(&mut request).unwrap();
                if read == 0 {
                    return;
                }
                let wanted = request.starts_with(format!("GET {path} ").as_bytes());
                let (status, body) = if wanted { ("200 OK", body.as_str()) } else { ("404 Not Found", "{}") };
                let head =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
                stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
            }
        });
        Self { port, thread: Some(thread) }
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        // A connection without a request is its end.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[test]
fn the_assistants_page_runs_from_its_first_command_to_its_last() {
    let guide = Guide::new(&["8000"]);
    let list = json!({"status": "success", "active_tasks_count": 1, "timestamp": AT, "active_tasks": [
        {"task_id": ID, "task": {"action": "reflect"}, "assigned_by": "ray", "timestamp": AT, "batch_id": null}]});
    let old = Old::start(guide.ports["8000"], "/task/list", list.to_string());
    guide.follow("assistant.md", Some(old));
}

#[test]
fn the_simulations_page_runs_from_its_first_command_to_its_last() {
    let guide = Guide::new(&["8000"]);
    let row = json!({"task_id": ID, "simulation_id": "s", "particle_count": 10, "parameters": {"time_horizon": 2}, "input_data": "",
        "priority": 1, "status": "assigned", "retry_count": 1, "created_at": AT, "assigned_client": "c-1", "result_data": null});
    std::fs::write(guide.path().join("tasks.jsonl"), format!("{row}\n")).unwrap();
    guide.follow("drift.md", None);
}

#[test]
fn the_orchestrators_page_runs_from_its_first_command_to_its_last() {
    let guide = Guide::new(&["8001"]);
    let db = rusqlite::Connection::open(guide.path().join("autodev.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE tasks (id TEXT, title TEXT, role TEXT, state TEXT, created_at TEXT);
         INSERT INTO tasks VALUES ('agent-task-1-aa', 'One', 'backend', 'running', '2026-01-31 08:15:00')",
    )
    .unwrap();
    drop(db);
    guide.follow("orchestrator.md", None);
}

#[cfg(feature = "postgres")]
mod tables {
    use super::Guide;
    use crate::support::postgres::Server;

    fn follow(name: &str, port: &'static str, database: &'static str, table: &str) {
        let Some(server) = Server::start() else { return };
        assert!(server.psql(table));
        let mut guide = Guide::new(&[port]);
        guide.words.push((database, server.url()));
        let mirrored = server.url().replace("/postgres", "/mirrored");
        guide.words.push(("postgres://ray@127.0.0.1:5432/mirrored", mirrored));
        guide.follow(name, None);
    }

    #[test]
    fn the_task_tables_page_runs_from_its_first_command_to_its_last() {
        let table = "CREATE TABLE tasks (id uuid, status text, type text, description text, domain text, drift_score float8, attempts int,
                locked_by text, locked_at timestamptz, run_after timestamptz, params json, result jsonb, error text,
                created_at timestamptz, updated_at timestamptz);
            INSERT INTO tasks VALUES ('01980a6e-5b7c-4cc3-98c4-dc0c0c07398f', 'running', 'dspy.plan', 'why', 'x', 0.9, 1, 'd-1', now(),
                NULL, '{\"n\": 1.50}', NULL, NULL, now(), now())";
        follow("task-table.md", "8002", "postgres://ray@127.0.0.1:5432/seedcore", table);
    }

    #[test]
    fn the_platforms_page_runs_from_its_first_command_to_its_last() {
        let table = "CREATE TABLE tasks (id uuid, task_type text, status text, project_id text, params jsonb, attempts int,
                worker_id text, dependant_on uuid[], created_at timestamptz, updated_at timestamptz, generation_started_at timestamptz);
            INSERT INTO tasks VALUES ('01980a6e-5b7c-4cc3-98c4-dc0c0c07398f', 'travel_segment', 'In Progress', 'film',
                '{\"segment_index\": 1}', 0, 'gpu-1', NULL, now(), now(), now())";
        follow("edge-functions.md", "54321", "postgres://postgres@127.0.0.1:5432/postgres", table);
    }
}
