//! `baton task create --from`: each line has its own outcome, and an import that broke off can be gone on with.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{QUICK, Running, World, run, stderr, stdout, told, tool};

fn import(world: &World, lines: impl AsRef<[u8]>, more: &[&str]) -> Command {
    let file = world.path("tasks.jsonl");
    std::fs::write(&file, lines).unwrap();
    world.command(&[&["task", "create", "--from", file.to_str().unwrap()], more].concat())
}

fn count(world: &World) -> usize {
    world.json(&["task", "list", "--limit", "5000"])["items"].as_array().unwrap().len()
}

#[test]
fn each_line_of_an_import_has_its_own_outcome_with_its_number() {
    let world = World::new(QUICK);
    let taken = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    world.create(&["--id", taken]);
    let long = format!("{{\"type\":\"a\",\"params\":\"{}\"}}", "x".repeat(17 << 20));
    let lines = format!(
        "\u{feff}{{\"type\":\"first\"}}\r\n\r\n{{\r\n{long}\r\n{{\"typ\":\"b\"}}\n{{\"type\":\"c\",\"id\":\"{taken}\"}}\n\
         {{\"type\":\"d\",\"max_attempts\":0}}\n{{\"type\":\"last\"}}"
    );
    for (key, before) in [(&[][..], 1), (&["--idempotency-key", "k"], 3)] {
        assert_eq!(count(&world), before);
        let output = run(import(&world, &lines, key), 1);
        assert_eq!(stdout(&output).lines().count(), 2, "{}", told(&output));
        let types: Vec<Value> =
            stdout(&output).lines().map(|id| world.task(id)["task"]["type"].clone()).collect();
        assert_eq!(types, ["first", "last"]);
        let error = stderr(&output);
        for part in [
            "line 3: malformed_json: column 1: it ends within an object".to_owned(),
            format!(
                "line 4: payload_too_large: expected a line of at most 16842752 bytes, got {}\n",
                long.len() + 1
            ),
            "line 5: invalid_fields: type: expected a value".to_owned(),
            format!("line 6: task_id_conflict: task {taken} exists"),
            "line 7: invalid_fields: max_attempts: expected a whole number from 1 to 1000, got 0".to_owned(),
            "2 tasks accepted, 5 refused".to_owned(),
            "error: 5 of 7 lines were refused".to_owned(),
        ] {
            assert!(error.contains(&part), "{part}\nnot in\n{error}");
        }
    }
}

#[test]
fn outcomes_of_an_import_are_lines_of_json() {
    let world = World::new(QUICK);
    let output = run(import(&world, "{\"type\":\"a\"}\n{\n{\"type\":\"b\"}\n", &["-o", "json"]), 1);
    let outcomes: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<&Value> = outcomes.iter().map(|outcome| &outcome["line"]).collect();
    assert_eq!(lines, [1, 2, 3]);
    assert_eq!(outcomes[0]["task"]["status"], "queued");
    assert_eq!(outcomes[1]["problem"]["code"], "malformed_json");
    assert_eq!(world.task(outcomes[2]["task"]["id"].as_str().unwrap())["task"]["type"], "b");
}

#[test]
fn an_import_tells_each_id_before_the_next_line_is_there() {
    let world = World::new(QUICK);
    for key in [&[][..], &["--idempotency-key", "k"]] {
        let mut command = world.command(&[&["task", "create", "--from", "-"], key].concat());
        let mut import = Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let mut lines = import.0.stdin.take().unwrap();
        let mut ids = BufReader::new(import.0.stdout.take().unwrap());
        for _ in 0..3 {
            lines.write_all(b"{\"type\":\"a\"}\n").unwrap();
            let mut id = String::new();
            ids.read_line(&mut id).unwrap();
            assert_eq!(world.task(id.trim())["task"]["id"], id.trim());
        }
        drop(lines);
        assert!(import.wait().success());
    }
}

#[test]
fn an_import_that_was_broken_off_goes_on_under_the_same_key() {
    let world = World::new(QUICK);
    let key = &["--idempotency-key", "import-1"];
    let mut command = world.command(&[&["task", "create", "--from", "-"], &key[..]].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut first = Running(command.spawn().unwrap());
    let mut lines = first.0.stdin.take().unwrap();
    let line = |n: usize| format!("{{\"type\":\"a\",\"params\":{n}}}\n");
    let file: String = (0..40).map(line).collect();
    // The last line is not whole: it waits for its end.
    lines.write_all(&file.as_bytes()[..file.len() - 3]).unwrap();
    let mut ids = BufReader::new(first.0.stdout.take().unwrap()).lines();
    let told: Vec<String> = (0..39).map(|_| ids.next().unwrap().unwrap()).collect();
    first.signal(Signal::SIGTERM);
    let mut error = String::new();
    first.0.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(first.wait().code(), Some(1), "{error}");
    assert!(
        error.contains("stdin is done up to line 39: 39 tasks accepted, 0 refused; run the same command"),
        "{error}"
    );

    let output = run(import(&world, &file, key), 0);
    let again: Vec<String> = stdout(&output).lines().map(str::to_owned).collect();
    assert_eq!((again.len(), &again[..39]), (40, &told[..]));
    assert_eq!(count(&world), 40);
}

#[test]
fn a_refused_line_is_mended_and_the_same_command_creates_it_alone() {
    let world = World::new(QUICK);
    let taken = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    world.create(&["--id", taken, "--queue", "other"]);
    let key = &["--idempotency-key", "import-1"];
    let file = |id: &str, attempts: u32| {
        format!(
            "{{\"type\":\"a\"}}\n{{\"type\":\"b\",\"max_attempts\":{attempts}}}\n{{\"type\":\"c\",\"id\":\"{id}\"}}\n"
        )
    };
    let output = run(import(&world, file(taken, 0), key), 1);
    assert!(stderr(&output).contains("mend them and run the same command again"), "{}", told(&output));
    assert_eq!(count(&world), 2);
    let output = run(import(&world, file("01980a6e-5b7c-7cc3-98c4-dc0c0c073990", 2), key), 0);
    assert_eq!((stdout(&output).lines().count(), count(&world)), (3, 4));
    // A line that was changed after its task was made is no repetition of it.
    let output = run(import(&world, file("01980a6e-5b7c-7cc3-98c4-dc0c0c073990", 5), key), 1);
    assert!(stderr(&output).contains("line 2: idempotency_conflict"), "{}", told(&output));
    assert_eq!(count(&world), 4);
}

#[test]
fn a_batch_larger_than_the_server_takes_is_sent_in_parts_and_one_line_is_refused_alone() {
    let world = World::new(&[("BATON_LIMITS_BATCH_BYTES", "65536")]);
    let line =
        |kibibytes: usize| format!("{{\"type\":\"a\",\"params\":\"{}\"}}\n", "x".repeat(kibibytes << 10));
    let lines: String = [20, 20, 20, 20, 100, 20, 20].map(line).concat();
    let output = run(import(&world, &lines, &[]), 1);
    assert_eq!((stdout(&output).lines().count(), count(&world)), (6, 6), "{}", told(&output));
    assert!(stderr(&output).contains("line 5: payload_too_large: "), "{}", told(&output));
}

#[test]
fn ten_thousand_lines_become_ten_thousand_tasks() {
    let world = World::new(QUICK);
    let lines = "{\"type\":\"a\"}\n".repeat(10_000);
    let output = run(import(&world, &lines, &[]), 0);
    assert_eq!(stdout(&output).lines().collect::<std::collections::BTreeSet<_>>().len(), 10_000);
    assert_eq!(world.json(&["stats"])["states"]["waiting"], 10_000);
}

#[test]
fn a_file_that_is_no_text_or_cannot_be_read_is_a_wrong_command_line() {
    let world = World::new(QUICK);
    let utf16: Vec<u8> = "\u{feff}{\"type\":\"a\"}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let output = run(import(&world, utf16, &[]), 2);
    assert!(stderr(&output).contains("expected UTF-8, got UTF-16"), "{}", told(&output));
    assert!(!stderr(&output).contains("go on from"), "nothing has begun: {}", told(&output));
    let long = "x".repeat(300);
    for (file, more) in [
        ("/no/such/file", &[][..]),
        ("/", &[]),
        ("-", &["--idempotency-key", "a b"]),
        ("-", &["--idempotency-key", &long]),
    ] {
        run(world.command(&[&["task", "create", "--from", file], more].concat()), 2);
    }
    // A blank file is no mistake.
    let output = run(import(&world, "\n\n", &[]), 0);
    assert!(stderr(&output).contains("0 tasks accepted, 0 refused"), "{}", told(&output));
}

#[test]
fn params_from_windows_are_taken_and_what_is_no_utf_8_is_named() {
    let world = World::new(QUICK);
    let file = world.path("params.json");
    let create = || {
        let params = format!("@{}", file.display());
        world.command(&["task", "create", "--type", "a", "--params", &params])
    };
    std::fs::write(&file, "\u{feff}{\r\n\"n\": 1\r\n}\r\n").unwrap();
    let id = stdout(&run(create(), 0));
    assert_eq!(world.task(id.trim())["task"]["params"], json!({"n": 1}));
    std::fs::write(&file, b"\xff\xfe{\0}\0").unwrap();
    assert!(stderr(&run(create(), 2)).contains("got UTF-16"));
    std::fs::write(&file, b"{\0}\0").unwrap();
    assert!(stderr(&run(create(), 2)).contains("got UTF-16"), "without a mark");
    std::fs::write(&file, b"{\"n\": \"\xe9\"}").unwrap();
    assert!(stderr(&run(create(), 2)).contains("another byte (0xe9) at offset 7"));
}

/// Answers the requests of one import, one after the other, each with a status and a body.
fn stub(answers: Vec<(u16, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(stated) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = stated.trim().parse().unwrap();
                }
                line.clear();
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            connection.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    url
}

#[test]
fn an_import_that_breaks_off_says_how_far_it_came_and_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.jsonl");
    std::fs::write(&file, "{\"type\":\"a\"}\n".repeat(2_000)).unwrap();
    let task = |n: usize| {
        json!({"id": format!("01980a6e-5b7c-7cc3-98c4-{n:012}"), "status": "queued",
               "created_at": "2026-01-31T08:15:00Z", "run_after": "2026-01-31T08:15:00Z"})
    };
    let internal = json!({"type": "/errors/internal", "title": "Something is wrong inside", "status": 500,
                          "code": "internal", "detail": "see the log"});
    let import = |url: &str, file: &Path, more: &[&str]| {
        let mut command = tool();
        command.args(["task", "create", "--server", url, "--from"]).arg(file).args(more);
        command
    };
    let items: Vec<Value> = (0..1_000).map(|n| json!({"index": n, "task": task(n)})).collect();
    let first = json!({"accepted": 1_000, "refused": 0, "items": items});
    let url = stub(vec![(200, first.to_string()), (500, internal.to_string())]);
    let output = run(import(&url, &file, &[]), 1);
    assert_eq!(stdout(&output).lines().count(), 1_000, "what is made is told");
    let error = stderr(&output);
    for part in [
        "tasks.jsonl is done up to line 1000: 1000 tasks accepted, 0 refused",
        "of lines 1001 to 2000 it is not known whether their tasks were created",
        "go on from line 2001 (tail -n +2001 FILE | baton task create --from -)",
        "with --idempotency-key NAME, the same command could just be run again",
    ] {
        assert!(error.contains(part), "{part}\nnot in\n{error}");
    }

    // A refused token ends it at once, instead of refusing each line.
    let denied = json!({"type": "/errors/unauthorized", "title": "A valid token is needed", "status": 401,
                        "code": "unauthorized", "detail": "no token"});
    let url = stub(vec![(401, denied.to_string())]);
    let output = run(import(&url, &file, &[]), 7);
    assert!(stderr(&output).contains("no line of "), "{}", told(&output));
}
