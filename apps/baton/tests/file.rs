//! The database file of a server: who gets it, and what a start leaves behind that is refused.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in tests, but does not know their helpers")]

mod support;

use std::fs::{create_dir, hard_link, read_dir, write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use support::{World, told, tool};

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
    std::fs::remove_file(elsewhere.join("hard.db")).unwrap();
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
