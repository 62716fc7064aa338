//! Nobody reads what the programs say.

use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _, pipe};
use std::net::TcpStream;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{PATIENT, Running, World, tool};

/// A pipe that takes nothing more, and nobody reads: what is written to it waits. It is held up by its reading end.
fn full_pipe() -> (Stdio, PipeReader) {
    let (reader, mut writer) = pipe().unwrap();
    // What a pipe of Linux holds (pipe(7)).
    writer.write_all(&[b'x'; 65_536]).unwrap();
    (Stdio::from(writer), reader)
}

/// Asks a server on one connection, again and again.
fn ask(url: &str, times: usize) {
    let mut connection = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    for _ in 0..times {
        connection.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut answer = [0; 1024];
        let length = connection.read(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn a_server_whose_stderr_nobody_reads_answers_and_ends_when_it_is_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let (stderr, reader) = full_pipe();
    let mut command = tool();
    command.args(["serve", "-o", "json", "--listen", "127.0.0.1:0", "--store", "sqlite:baton.db"]);
    command.env("BATON_LOG_LEVEL", "trace").current_dir(folder.path());
    let mut server = Running(command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap());
    let mut ready = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let ready: Value = serde_json::from_str(&ready).unwrap();
    ask(ready["url"].as_str().unwrap(), 200);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    drop(reader);
}

#[test]
fn a_worker_whose_stderr_nobody_reads_works_and_ends_when_it_is_asked_to() {
    let world = World::new(PATIENT);
    let (stderr, reader) = full_pipe();
    let mut command = world.command(&["worker", "run", "--id", "w1", "--", "true"]);
    let mut worker = Running(command.env("BATON_LOG_LEVEL", "trace").stderr(stderr).spawn().unwrap());
    let id = world.create(&[]);
    world.becomes(&id, "completed");
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.wait().code(), Some(0));
    drop(reader);
}

#[test]
fn a_command_whose_stderr_nobody_reads_says_by_its_exit_code_how_it_went() {
    let (stderr, reader) = full_pipe();
    let mut command = tool();
    command.args(["task", "list", "--server", "http://127.0.0.1:1"]);
    let mut running = Running(command.stderr(stderr).stdout(Stdio::null()).spawn().unwrap());
    assert_eq!(running.wait().code(), Some(5), "the server cannot be reached");
    drop(reader);
}

#[test]
fn a_server_whose_stdout_is_closed_serves() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, stdout) = pipe().unwrap();
    drop(reader);
    let mut command = tool();
    command.args(["serve", "-o", "json", "--listen", "127.0.0.1:0", "--store", "sqlite:baton.db"]);
    command.current_dir(folder.path()).stdout(stdout).stderr(Stdio::piped());
    let mut server = Running(command.spawn().unwrap());
    let mut log = BufReader::new(server.0.stderr.take().unwrap()).lines();
    let addr = log.by_ref().find_map(|line| {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        (line["message"] == "server started").then(|| line["addr"].as_str().unwrap().to_owned())
    });
    ask(&format!("http://{}", addr.unwrap()), 1);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}
