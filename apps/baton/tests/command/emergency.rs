//! `baton fleet stop --all`: what it does step by step, and how it is called off.

use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::support::{QUICK, Running, World, program, stderr, stdout, until};

fn directive(world: &World, worker: &str) -> String {
    world.json(&["worker", "show", worker])["directive"].as_str().unwrap().to_owned()
}

#[test]
fn all_workers_drain_then_give_back_and_nothing_is_held() {
    let world = World::new(QUICK);
    let mut idle = world.worker_named("idle", &["--queue", "other"], "true");
    let mut busy = world.worker_named("busy", &[], "sleep 60");
    let id = world.create(&[]);
    world.becomes(&id, "running");
    until("the idle one is known", || {
        (world.json(&["worker", "list"])["items"].as_array().unwrap().len() == 2).then_some(())
    });
    let told = stderr(&world.run(&["fleet", "stop", "--all", "--after", "1s", "--reason", "fire"], 0));
    for step in [
        "idle drains; it holds 0",
        "busy drains; it holds 1",
        "1 workers have not finished: they give back what they run, and end",
        "busy stops; it holds 1",
        "no worker is left, and none holds anything",
    ] {
        assert!(told.contains(step), "{step} not in\n{told}");
    }
    idle.wait();
    busy.wait();
    let task = world.becomes(&id, "queued");
    assert_eq!(task["task"]["attempts_used"], 0, "what is given back costs no attempt: {task:#}");
    let life = world.json(&["worker", "show", "busy"])["life"]["state"].clone();
    assert_eq!(life, "gone");
    let again = stderr(&world.run(&["fleet", "resume", "--all"], 0));
    assert!(again.contains("nothing was done"), "{again}");
}

#[test]
fn it_is_called_off_until_it_has_happened() {
    let world = World::new(QUICK);
    let worker = world.worker_named("w", &[], "until test -e finish; do sleep 0.1; done");
    let id = world.create(&[]);
    world.becomes(&id, "running");
    let stop = || {
        let mut command = world.command(&["fleet", "stop", "--all"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let stop = Running(command.spawn().unwrap());
        until("it drains", || (directive(&world, "w") == "drain").then_some(()));
        stop
    };
    let mut stopping = stop();
    let life = world.json(&["worker", "show", "w"])["life"].clone();
    assert_eq!((&life["state"], &life["why"]), (&"draining".into(), &"it was asked to drain".into()));
    assert!(life["since"].is_string(), "{life}");
    stopping.signal(Signal::SIGINT);
    assert_eq!(stopping.wait().code(), Some(1));
    assert_eq!(directive(&world, "w"), "run");
    // Whether it had heard of it or not, it finishes what it runs, and goes on.
    std::fs::write(world.path("finish"), "").unwrap();
    world.becomes(&id, "completed");
    let next = world.create(&[]);
    world.becomes(&next, "completed");
    drop(worker);
}

#[test]
fn what_others_have_asked_stands_when_it_is_called_off() {
    let world = World::new(QUICK);
    let names = ["mine", "before", "since"];
    let program = "until test -e finish; do sleep 0.1; done";
    let workers = names.map(|name| world.worker_named(name, &["--queue", name], program));
    for name in names {
        let id = world.create(&["--queue", name]);
        world.becomes(&id, "running");
    }
    world.run(&["worker", "drain", "before", "--by", "ada"], 0);
    let mut command = world.command(&["fleet", "stop", "--all"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut stopping = Running(command.spawn().unwrap());
    for name in ["mine", "since"] {
        until("it drains", || (directive(&world, name) == "drain").then_some(()));
    }
    world.run(&["worker", "drain", "since", "--by", "ada"], 0);
    stopping.signal(Signal::SIGINT);
    assert_eq!(stopping.wait().code(), Some(1));
    assert_eq!(names.map(|name| directive(&world, name)), ["run", "drain", "drain"]);
    for name in ["before", "since"] {
        assert_eq!(world.json(&["worker", "show", name])["directed"]["by"], "ada", "{name}");
    }
    drop(workers);
}

#[test]
fn a_drain_is_shown_with_who_and_why_and_taken_back_until_the_worker_has_ended() {
    let world = World::new(QUICK);
    let mut worker = world.worker_named("w", &[], "until test -e finish; do sleep 0.1; done");
    let id = world.create(&[]);
    world.becomes(&id, "running");
    let drain = ["worker", "drain", "w", "--by", "ada", "--reason", "a new card"];
    let told = stderr(&world.run(&drain, 0));
    assert!(told.contains("until it has ended, `baton worker resume w` takes that back"), "{told}");
    let shown = stdout(&world.run(&["worker", "show", "w"], 0));
    assert!(
        shown.contains("draining since ") && shown.contains(": it was asked to drain by ada: a new card"),
        "{shown}"
    );
    let directed = world.json(&["worker", "show", "w"])["directed"].clone();
    assert_eq!((&directed["by"], &directed["reason"]), (&"ada".into(), &"a new card".into()));
    // Long enough for a heartbeat.
    let beats = || world.json(&["worker", "show", "w"])["last_beat_at"].clone();
    for _ in 0..2 {
        let before = beats();
        until("it has beaten", || (beats() != before).then_some(()));
    }
    world.run(&["fleet", "resume", "--all"], 0);
    std::fs::write(world.path("finish"), "").unwrap();
    world.becomes(&id, "completed");
    let next = world.create(&[]);
    world.becomes(&next, "completed");
    world.run(&drain, 0);
    assert!(worker.wait().success());
    let late = stderr(&world.run(&["worker", "resume", "w"], 1));
    assert!(late.contains("worker w had ended before, at 2"), "{late}");
}

#[test]
fn machines_follow_if_asked_and_confirmed() {
    let world = World::new(QUICK);
    let script = |name: &str, text: &str| {
        let path = world.path(name);
        program(&path, &format!("#!/bin/sh\ncd \"$(dirname \"$0\")\"\n{text}\n"));
        path.display().to_string()
    };
    let list =
        script("list.sh", r#"echo '{"id":"m1","price_per_hour":1}'; echo '{"id":"m2","price_per_hour":1}'"#);
    let end = script("end.sh", "echo \"$1\" >> ended");
    let config = world.path("machines.toml");
    let text =
        format!("[[machines]]\nname = \"rack\"\nlist = [{list:?}]\nterminate = [{end:?}, \"{{id}}\"]\n");
    std::fs::write(&config, text).unwrap();
    let mut worker = world.worker_named("w", &["--machine", "m1"], "true");
    until("it is known", || {
        (world.json(&["worker", "list"])["items"].as_array().unwrap().len() == 1).then_some(())
    });
    let config = config.to_str().unwrap();
    let asked = ["fleet", "stop", "--all", "--machines", "--config", config];
    let told = stderr(&world.run(&asked, 2));
    assert!(told.contains("end all machines of rack for good") && told.contains("add --yes"), "{told}");
    assert_eq!(directive(&world, "w"), "run", "nothing was done");
    let told = stderr(&world.run(&[&asked[..], &["--yes"]].concat(), 0));
    assert!(told.contains("rack: m1 is ended") && told.contains("rack: m2 is ended"), "{told}");
    worker.wait();
    assert_eq!(std::fs::read_to_string(world.path("ended")).unwrap(), "m1\nm2\n");
}
