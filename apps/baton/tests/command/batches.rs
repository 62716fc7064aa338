//! `baton batch`, over a server that is killed while the last tasks of a batch end; and `baton queue set`.

use serde_json::{Value, json};

use crate::support::{QUICK, World, stderr, stdout, told};

fn hand_in(world: &World, body: &Value) -> Value {
    let (status, answer) = world.ask("POST", "/v1/tasks/batch", &body.to_string());
    assert_eq!(status, 201, "{answer}");
    answer
}

fn claimed(world: &World, worker: &str) -> Value {
    let (_, answer) = world.ask("POST", "/v1/claims", &json!({"worker_id": worker}).to_string());
    answer["tasks"][0].clone()
}

fn end(world: &World, task: &Value, how: &str, body: Value) {
    let path = format!("/v1/tasks/{}/{how}", task["id"].as_str().unwrap());
    let mut body = body;
    (body["worker_id"], body["attempt"]) = (json!("w"), task["attempt"].clone());
    let (status, answer) = world.ask("POST", &path, &body.to_string());
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn a_batch_is_listed_shown_and_sealed_and_outlives_its_server() {
    let mut world = World::new(QUICK);
    assert!(stderr(&world.run(&["batch", "list"], 0)).contains("no batch"));
    let body = json!({
        "batch": {"name": "frames of scene 7", "seal": false, "then": {"task": {"type": "report", "queue": "reports"}}},
        "tasks": [{"type": "render"}, {"type": "render"}]
    });
    let id = hand_in(&world, &body)["batch_id"].as_str().unwrap().to_owned();
    let first = claimed(&world, "w");
    end(&world, &first, "fail", json!({"retryable": false, "error": {"message": "no light\nat all"}}));
    let list = stdout(&world.run(&["batch", "list", "--columns", "name,state,tasks,unfinished,failed"], 0));
    let line = list.lines().last().unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(line[line.len() - 4..], ["open", "2", "1", "1"], "{list}");
    let shown = stdout(&world.run(&["batch", "show", &id], 0));
    assert!(shown.contains("1 queued, 0 running, 0 blocked"), "{shown}");
    assert!(shown.contains("once ended: report in queue reports (not yet)"), "{shown}");
    assert!(shown.contains(first["id"].as_str().unwrap()) && shown.contains("no light"), "{shown}");
    let sealed = world.run(&["batch", "seal", &id], 0);
    assert!(stderr(&sealed).contains("is sealed: 2 tasks, 1 unfinished"), "{}", told(&sealed));

    world.kill_server();
    world.restart_server();
    let second = claimed(&world, "w");
    end(&world, &second, "complete", json!({}));
    let batch = world.json(&["batch", "show", &id]);
    assert_eq!(
        (&batch["state"], &batch["completed"], &batch["failed"]),
        (&json!("failed"), &json!(1), &json!(1))
    );
    let then = world.task(batch["then"]["task_id"].as_str().unwrap());
    assert_eq!(then["task"]["params"]["batch"]["name"], "frames of scene 7");
    world.run(&["batch", "show", "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"], 3);
}

#[test]
fn a_queue_is_told_what_to_give_to_tasks_that_do_not_say() {
    let world = World::new(QUICK);
    world.create(&["--queue", "images"]);
    let set = |flags: &[&str]| stderr(&world.run(&[&["queue", "set", "images"], flags].concat(), 0));
    let told = set(&["--max-attempts", "5", "--timeout", "10m", "--by", "ada", "--reason", "patience"]);
    assert!(
        told.contains("images gives to tasks that do not say: 5 attempts, timeout 10m (before: nothing)"),
        "{told}"
    );
    let told = set(&["--retention", "7d", "--priority", "low", "--backoff", "30s"]);
    assert!(
        told.contains(
            "5 attempts, timeout 10m, backoff 30s, times 2 up to 10m, priority low, kept for 7d (before: 5 a"
        ),
        "{told}"
    );
    let task = world.task(&world.create(&["--queue", "images"]))["task"].clone();
    assert_eq!((&task["max_attempts"], &task["priority"]), (&json!(5), &json!("low")));
    assert_eq!((&task["timeout_seconds"], &task["retention_seconds"]), (&json!(600.0), &json!(604_800.0)));
    let own = world.create(&["--queue", "images", "--max-attempts", "1", "--retention", "1h"]);
    assert_eq!(world.task(&own)["task"]["max_attempts"], 1);
    assert!(stdout(&world.run(&["task", "show", &own], 0)).contains("kept for"));
    let shown = stdout(&world.run(&["queue", "show", "images"], 0));
    assert!(shown.contains("5 attempts, timeout 10m, backoff 30s"), "{shown}");
    assert!(set(&["--unset", "timeout,backoff,priority,retention"]).contains("say: 5 attempts (before"));
    let change = world.json(&["queue", "set", "images", "--unset", "max-attempts"]);
    assert_eq!(change, json!({"queue": "images", "from": {"max_attempts": 5}, "to": {}}));
    let both = world.run(&["queue", "set", "images", "--timeout", "1m", "--unset", "timeout"], 2);
    assert!(stderr(&both).contains("expected --timeout or --unset timeout, got both"), "{}", stderr(&both));
    let none = world.run(&["queue", "set", "images"], 1);
    assert!(stderr(&none).contains("--max-attempts: expected one of"), "{}", stderr(&none));
    let new = set_new(&world);
    assert!(new.contains("queue imagse is new: no task has ever named it (the nearest is images)"), "{new}");
}

fn set_new(world: &World) -> String {
    stderr(&world.run(&["queue", "set", "imagse", "--priority", "high"], 0))
}
