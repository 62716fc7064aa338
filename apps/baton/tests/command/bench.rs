//! `baton bench`: each phase measures something, and leaves nothing behind.

use serde_json::Value;

use crate::support::{QUICK, World, run, stdout, told, tool};

#[test]
fn the_bench_measures_a_server_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tool();
    command.args(["bench", "--tasks", "60", "--connections", "6", "--fused", "--named-claims"]);
    command.args(["--backlog", "50,500", "-o", "json", "--dir"]).arg(folder.path());
    let output = run(command, 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<_> =
        report["phases"].as_array().unwrap().iter().map(|phase| phase["name"].clone()).collect();
    assert_eq!(names, ["ceiling", "create", "claim", "lifecycle", "fused", "backlog 50", "backlog 500"]);
    let lifecycle = &report["phases"][3];
    assert_eq!(lifecycle["lifecycles"], 60);
    assert_eq!(lifecycle["operations"].as_array().unwrap().len(), 3);
    assert!(lifecycle["server_memory"]["peak_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(report["summary"]["ratio"].as_f64().unwrap() > 0.0);
    assert!(report["backlogs"]["ratio"].as_f64().unwrap() > 0.0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the bench has left something behind");
}

#[test]
fn the_bench_measures_lifecycles_in_batches_beside_others() {
    let mut command = tool();
    command.args(["bench", "--tasks", "6", "--connections", "2", "--only", "endings", "-o", "json"]);
    let report: Value = serde_json::from_slice(&run(command, 0).stdout).unwrap();
    let told: Vec<_> = report["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| phase["lifecycles"].as_u64().unwrap())
        .collect();
    assert_eq!(told.len(), 6, "{report}");
    // What a client holds in the end is ended, too.
    assert!(told[0] == 6 && told[1] == 8 && told[2] > 600 && told[5] > 600, "{told:?}");
    assert!(report["batches"]["ratio"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_bench_measures_a_server_that_is_named() {
    let world = World::new(QUICK);
    let mut command = tool();
    command.args([
        "bench",
        "--server",
        &world.url,
        "--tasks",
        "20",
        "--connections",
        "2",
        "--only",
        "lifecycle",
    ]);
    let output = run(command, 0);
    assert!(stdout(&output).contains("lifecycle"), "{}", told(&output));
    assert_eq!(world.json(&["stats"])["states"]["completed"], 20);
}

#[test]
fn the_bench_measures_arrivals_a_drain_a_mixture_and_growth() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tool();
    command.args([
        "bench",
        "--connections",
        "4",
        "--duration",
        "1s",
        "--rate",
        "50",
        "--drain",
        "250",
        "--grow",
        "400,900",
    ]);
    command.args(["--only", "start,open,mixed,drain,grow", "-o", "json", "--dir"]).arg(folder.path());
    let report: Value = serde_json::from_slice(&run(command, 0).stdout).unwrap();
    let phases = report["phases"].as_array().unwrap();
    let names: Vec<_> = phases.iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    let mixed = ["alone 1", "beside others 1", "alone 2", "beside others 2"];
    assert_eq!(names, [&["start", "open"][..], &mixed, &["drain 250", "grow 400", "grow 900"]].concat());
    let count = |phase: usize, operation: &str| {
        let operations = phases[phase]["operations"].as_array().unwrap();
        let of = operations.iter().find(|of| of["operation"] == operation);
        of.map_or(0, |of| of["count"].as_u64().unwrap())
    };
    for phase in [0, 1] {
        // Each task that arrived was created, claimed and completed once.
        assert!(count(phase, "start") > 5, "{report}");
        for operation in ["create", "create from its time", "complete"] {
            assert_eq!(count(phase, operation), count(phase, "start"), "{operation}: {report}");
        }
    }
    for operation in ["look", "heartbeat", "listen", "claim"] {
        assert!(count(3, operation) > 0, "{operation}: {report}");
    }
    assert_eq!(phases[6]["lifecycles"], 250);
    assert!(phases[8]["file_bytes"].as_u64().unwrap() > 4_096, "{report}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the bench has left something behind");
}

#[test]
fn the_bench_measures_workers_that_wait_and_workers_that_beat() {
    let mut command = tool();
    command.args(["bench", "--connections", "3", "--duration", "1s", "--waiting", "40", "--beating", "70"]);
    command.args(["--only", "waiting,beating", "-o", "json"]);
    let report: Value = serde_json::from_slice(&run(command, 0).stdout).unwrap();
    let phases = report["phases"].as_array().unwrap();
    let names: Vec<_> = phases.iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["waiting 40", "beating 70"]);
    for phase in phases {
        assert!(phase["server_memory"]["resident_bytes"].as_u64().unwrap() > 1 << 20, "{report}");
        assert!(phase["server_processor_percent"].as_f64().unwrap() < 200.0, "{report}");
    }
    // 70 workers that each beat every 20 s: 3.5 a second.
    let beats = phases[1]["operations"][0]["count"].as_u64().unwrap();
    assert!((1..=9).contains(&beats), "{report}");
}
