//! What surrounds the programs: proxies that the environment names, and the variables of a cluster.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::{PATIENT, Running, World, told, tool, until};

/// A proxy that answers everything with an error; what it was asked for can be received.
fn proxy() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked) = channel();
    std::thread::spawn(move || {
        while let Ok((mut connection, _)) = listener.accept() {
            let mut first = [0; 256];
            let length = connection.read(&mut first).unwrap_or(0);
            let _ = connection
                .write_all(b"HTTP/1.1 418 A proxy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            if tell.send(String::from_utf8_lossy(&first[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    (format!("http://{address}"), asked)
}

fn by(mut command: Command, proxy: &str) -> Command {
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, proxy);
    }
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    command
}

#[test]
fn a_server_on_this_machine_is_reached_past_all_proxies() {
    let world = World::new(PATIENT);
    let (proxy, asked) = proxy();
    let port = world.url.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let server = format!("http://{host}:{port}");
        let output = by(world.command(&["task", "create", "--type", "a", "--server", &server]), &proxy)
            .output()
            .unwrap();
        // `localhost` may first mean ::1, where nobody listens; then 127.0.0.1 is tried.
        assert!(output.status.success(), "{host}: {}", told(&output));
    }
    // A worker has a client of its own, and so has the bench.
    let mut worker = by(world.command(&["worker", "run", "--id", "w1", "--", "true"]), &proxy);
    let _worker = Running(worker.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    until("the worker has done both tasks", || {
        (world.json(&["stats"])["states"]["completed"] == 2).then_some(())
    });
    let bench =
        ["bench", "--server", &world.url, "--tasks", "2", "--connections", "1", "--only", "lifecycle"];
    let output = by(world.command(&bench), &proxy).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert!(asked.try_recv().is_err(), "the proxy was asked");
}

#[test]
fn a_server_elsewhere_is_reached_by_the_proxy_unless_no_proxy_names_it() {
    let (proxy, asked) = proxy();
    let stats = || {
        let mut command = tool();
        command.args(["stats", "--server", "http://baton.invalid:7410"]);
        by(command, &proxy)
    };
    let output = stats().output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let request = asked.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(request.starts_with("GET http://baton.invalid:7410/v1/stats "), "{request}");
    for name in ["NO_PROXY", "no_proxy"] {
        let output = stats().env(name, "example.org, .invalid").output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    }
    assert!(asked.try_recv().is_err(), "the proxy was asked");
}

#[test]
fn server_and_worker_start_among_the_variables_that_kubernetes_sets_for_services() {
    let variables = [
        ("BATON_SERVER_PORT", "tcp://10.96.0.12:7410"),
        ("BATON_STORE_SERVICE_HOST", "10.96.0.12"),
        ("BATON_LOG_PORT_7410_TCP_ADDR", "10.96.0.12"),
        ("BATON_QUEUES_SERVICE_PORT", "7410"),
        ("BATON_SERVICE_HOST", "10.96.0.12"),
        ("BATON_PORT", "tcp://10.96.0.12:7410"),
    ];
    let world = World::new(&[
        ("BATON_SERVER_PORT", "tcp://10.96.0.12:7410"),
        ("BATON_STORE_SERVICE_HOST", "10.96.0.12"),
        ("BATON_LOG_PORT_7410_TCP_ADDR", "10.96.0.12"),
    ]);
    let log = std::fs::read_to_string(world.path("server.log")).unwrap();
    let notices: Vec<_> = log.lines().filter(|line| line.contains("passed over")).collect();
    assert_eq!(notices.len(), 1, "{log}");
    for name in ["BATON_SERVER_PORT", "BATON_STORE_SERVICE_HOST", "BATON_LOG_PORT_7410_TCP_ADDR"] {
        assert!(notices[0].contains(name), "{log}");
    }
    let id = world.create(&[]);
    let mut worker = world.command(&["worker", "run", "--id", "w1", "--", "true"]);
    let log = std::fs::File::create(world.path("worker.log")).unwrap();
    let _worker = Running(worker.envs(variables).stdin(Stdio::null()).stderr(log).spawn().unwrap());
    world.becomes(&id, "completed");
    assert_eq!(world.worker_log().matches("passed over").count(), 1, "{}", world.worker_log());
}
