//! The programs under test, as processes of their own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

/// The `baton` of this very source, built if it is not: with all features, where this has them.
pub fn baton() -> &'static Path {
    static BATON: OnceLock<PathBuf> = OnceLock::new();
    BATON.get_or_init(|| {
        // One that was built before, for long runs beside other builds.
        if let Some(path) = std::env::var_os("BATON_CHAOS_PROGRAM") {
            return PathBuf::from(path);
        }
        built(if WITH_ALL { &["--all-features"] } else { &[] })
    })
}

/// The `baton` of this very source with the features that it has by default.
pub fn plain_baton() -> &'static Path {
    static BATON: OnceLock<PathBuf> = OnceLock::new();
    BATON.get_or_init(|| {
        if !WITH_ALL {
            return built(&[]);
        }
        // All others have theirs, so that it and its server alone are built.
        let output = cargo().args(["metadata", "--no-deps", "--format-version", "1"]).output();
        let output = output.expect("cargo runs");
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
        let packages = metadata["packages"].as_array().expect("cargo names the packages");
        let mut features = Vec::new();
        for package in packages {
            let name = package["name"].as_str().expect("a package has a name");
            let of_package = package["features"].as_object().expect("a package has features");
            if !["baton", "baton-server"].contains(&name) {
                features.extend(of_package.keys().map(|feature| format!("{name}/{feature}")));
            }
        }
        built(&["--features", &features.join(",")])
    })
}

/// Whether this was built with all features: its only one is on then.
const WITH_ALL: bool = cfg!(feature = "cold-start");

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo has told this test of its package is not for the build: build scripts that heed it would run anew, and
    // all that stands on them would be built again, now and by the next build.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    cargo
}

/// Builds `baton`, and says where it lies: another package's program has no path of its own here.
fn built(features: &[&str]) -> PathBuf {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    // Of the whole workspace, and with a test, so that what it depends on has the features that it has in the tests and is not
    // built again.
    let output = cargo()
        .args(["build", "--workspace", "--bin", "baton", "--test", "transitions"])
        .args(features)
        .args(["--message-format", "json", "--profile", profile])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "baton does not build");
    let lines = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "baton")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the program that it built")
}

/// A program that serves: how it is started, again and again, on the same tasks.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    /// Whether its statistics count exactly what was answered, also after it was killed.
    exact_counts: bool,
    faults: Option<Faults>,
    /// By how many milliseconds its clock is behind.
    behind: u64,
}

/// What a program is told of the faults that it is to meet.
#[derive(Debug)]
struct Faults {
    seed: u64,
    one_in: u64,
    /// How often it was started: each start has faults of its own.
    starts: AtomicU64,
}

impl Program {
    /// `baton serve` on a database file; its log goes to `server.log` beside it. `settings` are the environment
    /// variables of its settings.
    pub fn baton(database: &Path, settings: &[(&str, &str)]) -> Self {
        let arguments =
            ["serve", "--output", "json", "--listen", "127.0.0.1:0", "--store"].map(str::to_owned);
        let store = format!("sqlite:{}", database.display());
        Self {
            path: baton().to_owned(),
            arguments: arguments.into_iter().chain([store]).collect(),
            environment: owned(settings),
            log: database.with_file_name("server.log"),
            exact_counts: true,
            faults: None,
            behind: 0,
        }
    }

    /// The server over faults (`server-over-faults`, at `path`) on a table of an engine; its log goes to `server.log`
    /// in a folder. One of its requests in `one_in` meets a fault, drawn from the seed.
    pub fn over_faults(
        path: &Path,
        folder: &Path,
        (endpoint, table): (&str, &str),
        (seed, one_in): (u64, u64),
        settings: &[(&str, &str)],
    ) -> Self {
        let mut environment = owned(settings);
        let own =
            [("CHAOS_ENDPOINT", endpoint), ("CHAOS_TABLE", table), ("BATON_SERVER_LISTEN", "127.0.0.1:0")];
        environment.extend(owned(&own));
        Self {
            path: path.to_owned(),
            arguments: Vec::new(),
            environment,
            log: folder.join("server.log"),
            exact_counts: false,
            faults: Some(Faults { seed, one_in, starts: AtomicU64::new(0) }),
            behind: 0,
        }
    }

    /// The same, with a dialect; of `baton serve`.
    #[must_use]
    pub fn speaking(mut self, dialect: &str) -> Self {
        self.arguments.extend(["--dialect".to_owned(), dialect.to_owned()]);
        self
    }

    /// The same with more settings, as environment variables.
    #[must_use]
    pub fn with(mut self, settings: &[(&str, &str)]) -> Self {
        self.environment.extend(owned(settings));
        self
    }

    /// The same, with a clock that is behind by so many milliseconds; of the server over faults.
    #[must_use]
    pub fn behind(self, millis: u64) -> Self {
        Self { behind: millis, ..self }
    }

    /// Whether its statistics count exactly.
    pub fn counts_exactly(&self) -> bool {
        self.exact_counts
    }

    /// What all of its starts have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Starts it on a free port of the loopback and waits until it serves. `calm`: without faults, if it has any.
    pub fn start(&self, calm: bool) -> Server {
        let log = std::fs::File::options().create(true).append(true).open(&self.log);
        let mut command = Command::new(&self.path);
        // What it keeps beside its tasks goes with them.
        if let Some(folder) = self.log.parent() {
            command.current_dir(folder);
        }
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(Faults { seed, one_in, starts }) = &self.faults {
            let seed = seed.wrapping_mul(1_000).wrapping_add(starts.fetch_add(1, Ordering::Relaxed));
            command.env("CHAOS_SEED", seed.to_string());
            command.env("CHAOS_BEHIND_MS", self.behind.to_string());
            command.env("CHAOS_ONE_IN", if calm { "0".to_owned() } else { one_in.to_string() });
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("the log can be written"))
            .spawn()
            .expect("the program starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped"))
            .read_line(&mut ready)
            .expect("stdout is read");
        let ready: serde_json::Value = serde_json::from_str(&ready).unwrap_or_else(|error| {
            panic!("the server did not say that it is ready ({error}): {ready:?}\n{}", self.log())
        });
        let url = ready["url"].as_str().expect("the ready line has a url").to_owned();
        Server { child, url }
    }
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A server that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    url: String,
}

impl Server {
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
