//! A PostgreSQL server that a test starts itself.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};

use super::{Running, free_port, not_tested, told, until};

/// Where Debian, and others, put the programs.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut folders: Vec<PathBuf> = debian.flatten().map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH")?));
    folders.into_iter().rev().find(|folder| folder.join("initdb").exists())
}

/// A server of its own, until the test ends.
pub(crate) struct Server {
    port: u16,
    programs: PathBuf,
    user: Option<User>,
    running: Running,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // A quick shutdown, which ends its processes as well.
        self.running.signal(Signal::SIGINT);
        self.running.wait();
    }
}

/// Its main process.
fn serve(programs: &Path, user: Option<&User>, folder: &Path, port: u16) -> Running {
    let running = command(&programs.join("postgres"), user)
        .args(["-F", "-c", "listen_addresses=127.0.0.1", "-p", &port.to_string(), "-k"])
        .arg(folder)
        .arg("-D")
        .arg(folder.join("data"))
        .spawn()
        .unwrap();
    Running(running)
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
    pub(crate) fn start() -> Option<Self> {
        let user = Uid::effective().is_root().then(|| User::from_name("postgres").ok().flatten());
        let (Some(programs), Some(user)) = (programs(), user.map_or(Some(None), |user| user.map(Some)))
        else {
            not_tested(
                "what reads from PostgreSQL, as it is not installed (Debian: apt-get install postgresql)",
            );
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
        let port = free_port();
        let running = serve(&programs, user.as_ref(), folder.path(), port);
        let server = Self { port, programs, user, running, folder };
        until("PostgreSQL answers", || server.psql("SELECT 1").then_some(()));
        Some(server)
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn stop(&mut self) {
        self.running.signal(Signal::SIGQUIT);
        self.running.wait();
    }

    /// Starts it again, at the same port.
    pub(crate) fn go_on(&mut self) {
        self.running = serve(&self.programs, self.user.as_ref(), self.folder.path(), self.port);
        until("PostgreSQL answers", || self.psql("SELECT 1").then_some(()));
    }

    /// What a query gives: a row a line, its columns apart by `|`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let mut psql = Command::new("psql");
        let output =
            psql.args(["-v", "ON_ERROR_STOP=1", "-q", "-A", "-t", "-c", sql, &self.url()]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// The single value that a query gives.
    pub(crate) fn value(&self, sql: &str) -> String {
        self.rows(sql).join("\n")
    }

    pub(crate) fn psql(&self, sql: &str) -> bool {
        let mut psql = Command::new("psql");
        psql.args(["-v", "ON_ERROR_STOP=1", "-q", "-c", sql, &self.url()]);
        psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://ray:secret@127.0.0.1:{}/postgres", self.port)
    }
}
