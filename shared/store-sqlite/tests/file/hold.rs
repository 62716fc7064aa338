//! One store for one file: whatever names lead to it, and whatever becomes of them while it is open.

use std::fs::{File, create_dir, hard_link, read_dir, rename, write};
use std::os::unix::fs::symlink;
use std::sync::{Arc, Barrier};

use super::*;

/// Why a second store is refused that would have the same file.
fn refused(path: &Path) -> String {
    let refused = open(path, Options::default()).map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::CannotOpen { .. }), "{refused}");
    refused.to_string()
}

/// The names of what is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const TAKEN: &str = "another baton has it open; stop that one, or name another file";

#[test]
fn a_file_is_open_in_one_store_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(&at(&folder), Options::default()).unwrap();
    assert!(refused(&at(&folder)).ends_with(TAKEN));
    drop(first);
    open(&at(&folder), Options::default()).unwrap();
}

#[tokio::test]
async fn a_symbolic_link_leads_to_the_same_file_and_log() {
    let folder = tempfile::tempdir().unwrap();
    let (real, linked) = (folder.path().join("real"), folder.path().join("linked"));
    create_dir(&real).unwrap();
    symlink(&real, &linked).unwrap();
    symlink("real/baton.db", folder.path().join("link.db")).unwrap();
    symlink("../link.db", real.join("link-to-link.db")).unwrap();
    // The first opening makes the file where the link leads.
    let ways =
        ["link.db", "real/baton.db", "linked/baton.db", "linked/link-to-link.db", "real/../real/baton.db"];
    for (n, way) in ways.iter().enumerate() {
        let store = open(&folder.path().join(way), Options::default()).unwrap();
        store.create(task(n as u128 + 1, 10)).await.unwrap();
        store.task(id(1)).await.unwrap();
        for way in ways {
            assert!(refused(&folder.path().join(way)).ends_with(TAKEN), "{way}");
        }
        drop(store);
        assert_eq!(names(&real), ["baton.db", "link-to-link.db"]);
    }
    assert_eq!(names(folder.path()), ["link.db", "linked", "real"]);
}

#[test]
fn a_file_with_a_second_name_is_refused_as_its_log_lies_beside_one_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let second = folder.path().join("second.db");
    let store = open(&at(&folder), Options::default()).unwrap();
    hard_link(at(&folder), &second).unwrap();
    assert!(refused(&second).contains("expected a file with one name, got one with 2 (hard links)"));
    drop(store);
    for path in [&at(&folder), &second] {
        assert!(refused(path).contains("remove the other names"));
    }
    std::fs::remove_file(&second).unwrap();
    open(&at(&folder), Options::default()).unwrap();
}

#[test]
fn a_file_that_was_renamed_under_an_open_store_is_not_opened_by_its_new_name() {
    let folder = tempfile::tempdir().unwrap();
    let renamed = folder.path().join("renamed.db");
    let store = open(&at(&folder), Options::default()).unwrap();
    rename(at(&folder), &renamed).unwrap();
    assert!(refused(&renamed).ends_with(TAKEN));
    // A new file under the old name would be given the log of the one that is open.
    assert!(refused(&at(&folder)).ends_with(TAKEN));
    assert!(!at(&folder).exists());
    drop(store);
    open(&renamed, Options::default()).unwrap();
}

/// As a server in another container has it, which sees the file by a mount of its own: its name's lock is elsewhere.
#[test]
#[cfg(target_os = "linux")]
fn a_file_that_another_process_holds_by_a_name_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&at(&folder), Options::default()).unwrap());
    let elsewhere = File::open(at(&folder)).unwrap();
    elsewhere.try_lock().unwrap();
    assert!(refused(&at(&folder)).ends_with(TAKEN));
    drop(elsewhere);
    open(&at(&folder), Options::default()).unwrap();
}

/// Whether a file is locked as SQLite locks what it has open: the bytes that readers share (the SQLite file format, "file
/// locking").
#[cfg(target_os = "linux")]
fn has_sqlites_lock(path: &Path) -> bool {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    let file = File::open(path).unwrap();
    let mut wanted = libc::flock {
        l_type: libc::F_WRLCK as _,
        l_whence: libc::SEEK_SET as _,
        l_start: 0x4000_0002,
        l_len: 510,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut wanted)).unwrap();
    // To close it would take the lock away.
    std::mem::forget(file);
    i32::from(wanted.l_type) != libc::F_UNLCK
}

/// SQLite loses its locks on a file when its process closes a descriptor of it; another program then takes itself for the
/// last one, and removes the log under the store.
#[test]
#[cfg(target_os = "linux")]
fn a_refused_second_store_takes_no_locks_from_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&at(&folder), Options::default()).unwrap();
    let moved = folder.path().join("moved.db");
    refused(&at(&folder));
    rename(at(&folder), &moved).unwrap();
    refused(&moved);
    assert!(has_sqlites_lock(&moved));
    drop(store);
    assert!(!has_sqlites_lock(&moved));
}

#[test]
fn of_many_stores_that_are_opened_at_once_one_gets_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let (path, together) = (Arc::new(at(&folder)), Arc::new(Barrier::new(4)));
        let attempts: Vec<_> = (0..4)
            .map(|_| {
                let (path, together) = (Arc::clone(&path), Arc::clone(&together));
                std::thread::spawn(move || {
                    together.wait();
                    let opened = open(&path, Options::default()).map_err(|error| error.to_string());
                    together.wait();
                    opened.map(drop)
                })
            })
            .collect();
        let outcomes: Vec<_> = attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect();
        let lost: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert!(lost.len() == 3 && lost.iter().all(|why| why.ends_with(TAKEN)), "{outcomes:?}");
        assert_eq!(names(folder.path()), ["baton.db"]);
        std::fs::remove_file(at(&folder)).unwrap();
    }
}

#[test]
fn a_closed_store_leaves_one_file() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&at(&folder), Options::default()).unwrap());
    assert_eq!(names(folder.path()), ["baton.db"]);
}

#[test]
fn a_refused_opening_leaves_nothing_that_it_made() {
    let folder = tempfile::tempdir().unwrap();
    // A new file whose log cannot be made.
    let in_the_way = folder.path().join("baton.db-wal");
    create_dir(&in_the_way).unwrap();
    refused(&at(&folder));
    assert_eq!(names(folder.path()), ["baton.db-wal"]);
    std::fs::remove_dir(in_the_way).unwrap();
    // Files that are not Baton's.
    write(folder.path().join("plan.txt"), "the plan for next week\n").unwrap();
    Connection::open(folder.path().join("recipes.db")).unwrap().execute_batch("CREATE TABLE t (n)").unwrap();
    for name in ["plan.txt", "recipes.db"] {
        assert!(refused(&folder.path().join(name)).contains("not a Baton database"));
        assert_eq!(names(folder.path()), ["plan.txt", "recipes.db"]);
    }
    // A file that another store has.
    let store = open(&at(&folder), Options::default()).unwrap();
    let before = names(folder.path());
    refused(&at(&folder));
    assert_eq!(names(folder.path()), before);
    drop(store);
    assert_eq!(names(folder.path()), ["baton.db", "plan.txt", "recipes.db"]);
}

#[test]
fn what_is_no_regular_file_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    nix::unistd::mkfifo(&at(&folder), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [&at(&folder), Path::new("/dev/null")] {
        assert!(refused(path).ends_with("it is no regular file; name another"));
    }
}

#[test]
fn a_file_in_a_missing_folder_and_a_folder_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refused(&folder.path().join("nowhere/baton.db")).contains("nowhere does not exist; make it"));
    assert!(refused(folder.path()).ends_with("it is a folder; name a file"));
}

/// A program that has crashed left its database half changed, with what makes that good beside it. Whoever opens such a file
/// makes it good; Baton leaves it to whom it belongs to.
#[test]
fn another_programs_half_changed_database_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(at(&folder)).unwrap();
    db.execute_batch(
        "PRAGMA application_id = 7; CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000))",
    )
    .unwrap();
    db.execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE t SET x = randomblob(200000)").unwrap();
    let (copy, journal) = (folder.path().join("copy.db"), folder.path().join("copy.db-journal"));
    std::fs::copy(at(&folder), &copy).unwrap();
    std::fs::copy(folder.path().join("baton.db-journal"), &journal).unwrap();
    let before = (std::fs::read(&copy).unwrap(), std::fs::read(&journal).unwrap());
    assert!(refused(&copy).contains("not a Baton database"));
    assert_eq!((std::fs::read(&copy).unwrap(), std::fs::read(&journal).unwrap()), before);
}
