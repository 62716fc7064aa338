//! The program under test, as its users run it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The `baton` of this very source, built if it is not.
pub fn baton() -> &'static Path {
    static BATON: OnceLock<PathBuf> = OnceLock::new();
    BATON.get_or_init(|| {
        // Another package's program has no path of its own here: cargo is asked for it, and says where it lies.
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let output = Command::new(env!("CARGO"))
            .args([
                "build",
                "--package",
                "baton",
                "--bin",
                "baton",
                "--message-format",
                "json",
                "--profile",
                profile,
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "baton does not build");
        let lines = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
        lines
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "baton")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .expect("cargo names the program that it built")
    })
}

/// A running `baton serve`. Dropping it kills it.
pub struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// Starts a server on a free port of the loopback and waits until it serves. `settings` are the environment
    /// variables of its settings; its log goes to `server.log` beside the database.
    pub fn start(database: &Path, settings: &[(&str, &str)]) -> Self {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(database.with_file_name("server.log"))
            .expect("the log can be written");
        let mut child = Command::new(baton())
            .args(["serve", "--output", "json", "--listen", "127.0.0.1:0", "--store"])
            .arg(format!("sqlite:{}", database.display()))
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("baton starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped"))
            .read_line(&mut ready)
            .expect("stdout is read");
        let ready: serde_json::Value = serde_json::from_str(&ready)
            .unwrap_or_else(|error| panic!("the server did not say that it is ready ({error}): {ready:?}"));
        let url = ready["url"].as_str().expect("the ready line has a url").to_owned();
        Self { child, url }
    }

    /// Where it serves.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does, in the middle of whatever it does.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended by itself, which the caller finds out by what it left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
