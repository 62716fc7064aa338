//! The database file of a server: who gets it, and what a start leaves behind that is refused.

use std::fs::{Permissions, create_dir, hard_link, read_dir, remove_file, rename, set_permissions, write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{QUICK, World, not_tested, told, tool, until};

/// A start that must be refused with exit code `code`; what it says.
fn refused(folder: &Path, arguments: &[&str], code: i32) -> String {
    let mut command = tool();
    command.arg("serve").args(arguments).env("BATON_SERVER_LISTEN", "127.0.0.1:0").current_dir(folder);
    let output: Output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
    String::from_utf8(output.stderr).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn one_server_has_a_file_whatever_name_another_finds_it_by() {
    let mut world = World::new(&[]);
    let folder = world.folder.path();
    let elsewhere = folder.join("elsewhere");
    create_dir(&elsewhere).unwrap();
    symlink(world.path("baton.db"), elsewhere.join("link.db")).unwrap();
    symlink(folder, elsewhere.join("folder")).unwrap();
    for name in ["baton.db", "elsewhere/link.db", "elsewhere/folder/baton.db", "elsewhere/../baton.db"] {
        let said = refused(folder, &["--store", &format!("sqlite:{name}")], 1);
        assert!(said.contains("another baton has it open; stop that one"), "{name}: {said}");
    }
    hard_link(world.path("baton.db"), elsewhere.join("hard.db")).unwrap();
    let said = refused(folder, &["--store", "sqlite:elsewhere/hard.db"], 1);
    assert!(
        said.contains("got one with 2 (hard links)") && said.contains("remove the other names"),
        "{said}"
    );
    remove_file(elsewhere.join("hard.db")).unwrap();
    assert_eq!(names(&elsewhere), ["folder", "link.db"]);
    assert!(world.end_server().success());
    world.restart_server();
}

#[test]
fn a_start_that_is_refused_leaves_no_file_behind() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused(folder.path(), &["--listen", &address], 1);
    assert!(said.contains("cannot listen on"), "{said}");
    assert_eq!(names(folder.path()), [""; 0]);

    write(folder.path().join("wrong.toml"), "[reaper]\ninterval_seconds = -1\n").unwrap();
    refused(folder.path(), &["--config", "wrong.toml"], 2);
    refused(folder.path(), &["--store", "sqlite:"], 2);
    assert_eq!(names(folder.path()), ["wrong.toml"]);

    let said = refused(folder.path(), &["--store", "sqlite:wrong.toml"], 1);
    assert!(said.contains("it is not a Baton database; name another file"), "{said}");
    assert_eq!(names(folder.path()), ["wrong.toml"]);
}

#[test]
fn a_server_without_room_says_so_and_how_much_is_left() {
    let world = World::new(&[("BATON_STORE_MAX_MEBIBYTES", "1")]);
    let (status, ready) = world.get("/readyz");
    let store = &ready["store"];
    assert_eq!(
        (status, &store["read"]["status"], &store["write"]["status"]),
        (200, &json!("ok"), &json!("ok"))
    );
    let used = store["file_bytes"].as_u64().unwrap() - store["free_bytes"].as_u64().unwrap();
    assert_eq!(used + store["room_bytes"].as_u64().unwrap(), 1024 * 1024);
    assert_eq!(store["tasks"], 0);

    let params = serde_json::to_string(&"x".repeat(100_000)).unwrap();
    let create = ["task", "create", "--type", "test", "--params", &params];
    until("the file is full", || {
        let output = world.command(&create).output().unwrap();
        (!output.status.success()).then(|| assert!(told(&output).contains("is full"), "{}", told(&output)))
    });
    let (status, problem) = world.get("/readyz");
    assert_eq!((status, &problem["code"]), (503, &json!("storage_full")), "{problem:#}");
    let store = &problem["store"];
    assert_eq!((&store["read"]["status"], &store["write"]["status"]), (&json!("ok"), &json!("full")));
    assert!(store["room_bytes"].as_u64().unwrap() < 128 * 1024, "{store}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("store.max_mebibytes; free space, or raise the limit; the task store can be read")
    );
}

#[test]
fn a_server_whose_file_is_gone_ends_loudly_and_confirms_nothing() {
    for how in ["removed", "replaced"] {
        let mut world = World::new(&[("BATON_REAPER_INTERVAL_SECONDS", "3600")]);
        world.create(&[]);
        let path = world.path("baton.db");
        if how == "removed" {
            remove_file(&path).unwrap();
        } else {
            std::fs::copy(&path, world.path("copy.db")).unwrap();
            rename(world.path("copy.db"), &path).unwrap();
        }
        let (status, problem) = world.ask("POST", "/v1/tasks", r#"{"type": "test"}"#);
        assert_eq!((status, &problem["code"]), (503, &json!("outcome_unknown")), "{how}: {problem:#}");
        assert_eq!(world.server_ends().code(), Some(1), "{how}");
        let log = world.server_log();
        let told = format!("{} was {how}", path.canonicalize().unwrap_or(path).display());
        assert!(log.contains(&told) && log.contains("put it back and start again"), "{how}: {log}");
        assert!(log.contains(r#""level":"ERROR""#), "{how}: {log}");
    }
}

#[test]
fn a_server_with_nothing_to_do_notices_that_its_file_is_gone() {
    let mut world = World::new(&[("BATON_REAPER_INTERVAL_SECONDS", "0.2")]);
    remove_file(world.path("baton.db")).unwrap();
    assert_eq!(world.server_ends().code(), Some(1));
}

/// A start of a user who may not do everything, in a folder of that user's own; what it says.
fn refused_to_a_user(folder: &Path) -> String {
    let mut command = tool();
    command.arg("serve").env("BATON_SERVER_LISTEN", "127.0.0.1:0").current_dir(folder);
    if nix::unistd::geteuid().is_root() {
        // "nobody", by the number that it has on all systems.
        chown(folder, Some(65_534), Some(65_534)).unwrap();
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_start_on_a_file_or_folder_that_may_not_be_written_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baton.db");
    write(&path, "").unwrap();
    set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    let said = refused_to_a_user(folder.path());
    assert!(said.contains("give it that right (`chown` or `chmod u+rw`), or name another file"), "{said}");
    remove_file(&path).unwrap();
    set_permissions(folder.path(), Permissions::from_mode(0o555)).unwrap();
    let said = refused_to_a_user(folder.path());
    set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    assert!(said.contains("`chmod u+rwx`), or name a file elsewhere"), "{said}");
}

/// A small disk in memory, while it is mounted.
struct Disk(tempfile::TempDir);

impl Disk {
    /// None where mounting is not allowed.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A folder that stays mounted is all that comes of a failure.
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_start_on_a_full_or_a_read_only_disk_says_what_to_do() {
    let Some(disk) = Disk::mount() else {
        not_tested("a start on a full or a read-only disk, as none may be mounted");
        return;
    };
    let folder = disk.0.path();
    let said = refused(folder, &[], 1);
    assert!(said.contains("free space on it, or name a file on another disk"), "{said}");
    assert_eq!(names(folder), [""; 0]);
    let made = Command::new("mount").args(["-o", "remount,ro"]).arg(folder).output().unwrap();
    assert!(made.status.success(), "{}", told(&made));
    let said = refused(folder, &[], 1);
    assert!(said.contains("is read-only; mount it for writing, or name a file elsewhere"), "{said}");
}

#[test]
fn a_server_logs_how_large_its_file_is_and_how_far_removing_is_behind() {
    let world = World::new(QUICK);
    world.create(&[]);
    let line = until("the sizes are told", || {
        world.server_log().lines().find(|line| line.contains("the size of the task store")).map(str::to_owned)
    });
    let sizes: Value = serde_json::from_str(&line).unwrap();
    for name in ["file_bytes", "room_bytes"] {
        assert!(sizes[name].as_u64().unwrap() > 0, "{name}: {sizes}");
    }
    for name in ["free_bytes", "log_bytes", "tasks"] {
        assert!(sizes[name].is_u64(), "{name}: {sizes}");
    }
    assert_eq!(sizes["oldest_overdue_seconds"], 0.0, "{sizes}");
}
