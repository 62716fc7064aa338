//! `baton scale` against a server, and a provider that is a folder of machines.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Running, World, program, stderr, stdout, until};

/// A server with a pool, and a provider whose machines are files in a folder: `spawn` makes one, `terminate` removes it.
struct Site {
    world: World,
    config: PathBuf,
}

fn script(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    program(&path, &format!("#!/bin/sh\ncd \"$(dirname \"$0\")\"\n{text}\n"));
    path.display().to_string()
}

const QUICK: &str = "[leases]\nheartbeat_timeout_seconds = 5\nheartbeat_interval_seconds = 0.2\n\
                     [reaper]\ninterval_seconds = 0.2\n";

const POOL: &str = "[[scaling]]\nname = \"gpu\"\nqueues = [\"default\"]\nprovider = \"rack\"\nmost = 2\n\
                    idle_seconds = 0.5\nspawn_timeout_seconds = 10\nfailure_pause_seconds = 60\n";

impl Site {
    fn new() -> Self {
        let settings = format!("{QUICK}{POOL}");
        let world = World::with_file("baton.toml", &settings);
        let folder = world.folder.path();
        std::fs::create_dir(folder.join("machines")).unwrap();
        let list = script(folder, "list.sh", "cat machines/* 2>/dev/null || true");
        let spawn = script(
            folder,
            "spawn.sh",
            "test -e refuse && { echo no room >&2; exit 1; }\n\
             line=\"{\\\"id\\\":\\\"id-$1\\\",\\\"name\\\":\\\"$1\\\",\\\"price_per_hour\\\":0.5,\\\"started_at\\\":\\\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\\\"}\"\n\
             echo \"$line\" > \"machines/id-$1\"\necho \"$line\"\necho \"$1\" >> spawned",
        );
        let end = script(folder, "end.sh", "rm -f \"machines/$1\"\necho \"$1\" >> ended");
        let config = world.path("scaling.toml");
        let text = format!(
            "[[machines]]\nname = \"rack\"\nlist = [{list:?}]\nspawn = [{spawn:?}, \"{{name}}\"]\nterminate = [{end:?}, \"{{id}}\"]\n\
             names = [\"gpu-*\"]\n{POOL}"
        );
        std::fs::write(&config, text).unwrap();
        Self { world, config }
    }

    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["scale", "run"];
        all.extend_from_slice(arguments);
        all.extend(["--config", self.config.to_str().unwrap()]);
        all
    }

    fn scaler(&self) -> Running {
        let log =
            std::fs::File::options().create(true).append(true).open(self.world.path("scaler.log")).unwrap();
        let mut command = self.world.command(&self.with(&["--every", "200ms"]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Running(command.spawn().unwrap())
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.world.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn leaders(&self) -> Value {
        self.world.json(&["scale", "status"])["leaders"].clone()
    }
}

#[test]
fn machines_come_with_the_work_and_go_with_it() {
    let site = Site::new();
    let world = &site.world;
    let dry = stdout(&world.run(&site.with(&["--dry-run", "--once"]), 0));
    assert_eq!(dry, "gpu: 0 wanted, 0 there, 0 paid for (0.00 an hour): nothing\n");
    let tasks: Vec<String> = (0..3).map(|_| world.create(&[])).collect();
    let dry = stdout(&world.run(&site.with(&["--dry-run", "--once"]), 0));
    assert!(
        dry.contains("gpu: would start 2 machines: 2 wanted, 0 there: queued only (3 to claim, 0 running), bounded by most"),
        "{dry}"
    );
    assert!(site.lines("spawned").is_empty(), "a dry run does nothing");
    assert_eq!(site.leaders().as_array().unwrap().len(), 0, "and leads nobody");

    let mut scaler = site.scaler();
    let spawned = until("two machines are started", || {
        let spawned = site.lines("spawned");
        (spawned.len() == 2).then_some(spawned)
    });
    // What the machines do that come up.
    let machines: Vec<String> = spawned.iter().map(|name| format!("id-{name}")).collect();
    let workers: Vec<Running> = (machines.iter().zip(["w1", "w2"]))
        .map(|(machine, worker)| world.worker_named(worker, &["--machine", machine], "sleep 0.3"))
        .collect();
    tasks.iter().for_each(|task| drop(world.becomes(task, "completed")));
    let mut ended = until("both are ended", || {
        let ended = site.lines("ended");
        (ended.len() == 2).then_some(ended)
    });
    ended.sort_unstable();
    let mut expected = machines.clone();
    expected.sort_unstable();
    assert_eq!(ended, expected);
    for mut worker in workers {
        assert!(worker.wait().success(), "it was drained, and ended by itself");
    }
    let leaders = site.leaders();
    let leader = leaders[0].as_str().unwrap().to_owned();
    scaler.signal(Signal::SIGTERM);
    assert!(scaler.wait().success());
    assert_eq!(site.leaders().as_array().unwrap().len(), 0, "the lead is given up");
    let logs = world.json(&["logs", "--worker", &leader]).to_string();
    let (_, timeline) = world.get(&format!("/v1/timeline?worker={leader}"));
    for part in ["start 2 machines: 2 wanted, 0 there", "it has run nothing for", "its workers have drained"]
    {
        assert!(logs.contains(part), "{part} not in {logs}");
        assert!(timeline.to_string().contains(part), "{part} not in {timeline:#}");
    }
    let status = stdout(&world.run(&["scale", "status"], 0));
    assert!(status.contains("gpu") && status.contains("nobody scales"), "{status}");
}

#[test]
fn one_leads_and_another_takes_over() {
    let site = Site::new();
    let mut first = site.scaler();
    let leader = until("one leads", || Some(site.leaders()).filter(|all| all[0].is_string()));
    let mut second = site.scaler();
    until("two are there", || {
        let workers = site.world.json(&["worker", "list"])["items"].as_array().unwrap().clone();
        (workers.iter().filter(|one| one["labels"]["role"] == "scaler" && one["status"] == "active").count()
            == 2)
            .then_some(())
    });
    assert_eq!(site.leaders(), leader, "the first one stays");
    site.world.create(&[]);
    until("one machine is started", || (!site.lines("spawned").is_empty()).then_some(()));
    first.signal(Signal::SIGTERM);
    assert!(first.wait().success());
    let next = until("the other one leads", || Some(site.leaders()).filter(|all| all[0].is_string()));
    assert_ne!(next, leader);
    assert_eq!(site.lines("spawned").len(), 1, "what was started is known to who takes over");
    second.signal(Signal::SIGTERM);
    assert!(second.wait().success());
}

#[test]
fn a_leader_that_is_killed_is_followed_once_its_lease_is_lost() {
    let site = Site::new();
    let mut first = site.scaler();
    let leader = until("one leads", || Some(site.leaders()).filter(|all| all[0].is_string()));
    let mut second = site.scaler();
    first.signal(Signal::SIGKILL);
    first.wait();
    let next = until("the other one leads", || {
        Some(site.leaders()).filter(|all| all[0].is_string() && *all != leader)
    });
    assert_eq!(next.as_array().unwrap().len(), 1);
    site.world.create(&[]);
    until("a machine is started", || (!site.lines("spawned").is_empty()).then_some(()));
    second.signal(Signal::SIGTERM);
    assert!(second.wait().success());
}

#[test]
fn a_provider_that_refuses_is_left_alone_for_a_while() {
    let site = Site::new();
    std::fs::write(site.world.path("refuse"), "").unwrap();
    site.world.create(&[]);
    let told = stderr(&site.world.run(&site.with(&["--once"]), 1));
    assert!(told.contains("no room") && told.contains("1 of what was decided could not be done"), "{told}");
    let mut scaler = site.scaler();
    until("it is said", || {
        site.lines("scaler.log").iter().any(|line| line.contains("starts in a row have failed")).then_some(())
    });
    scaler.signal(Signal::SIGTERM);
    scaler.wait();
    let log = site.lines("scaler.log").join("\n");
    assert_eq!(log.matches("no room").count(), 1, "{log}");
}

#[test]
fn what_does_not_fit_is_told_by_its_setting() {
    let site = Site::new();
    let told = |text: &str| {
        let config = site.world.path("wrong.toml");
        std::fs::write(&config, text).unwrap();
        stderr(&site.world.run(&["scale", "run", "--once", "--config", config.to_str().unwrap()], 2))
    };
    assert!(told("").contains("expected a section [[scaling]] in the settings, got none"));
    let alone = told("[[scaling]]\nname = \"gpu\"\nqueues = [\"q\"]\n");
    assert!(alone.contains("scaling.gpu.provider: expected a section [[machines]]"), "{alone}");
    let rack = "[[machines]]\nname = \"rack\"\nlist = [\"true\"]\nnames = [\"cpu-*\"]\n";
    let misnamed =
        told(&format!("{rack}[[scaling]]\nname = \"gpu\"\nqueues = [\"q\"]\nprovider = \"rack\"\n"));
    assert!(misnamed.contains("machines.rack.names: expected \"gpu-*\" among them"), "{misnamed}");
}
