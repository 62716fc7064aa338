//! Schedules over HTTP: what is set and shown, what is refused, and tasks that come at their times.

use std::time::Duration;

use baton_reap_stale_workers::scheduled;
use serde_json::{Value, json};

use crate::world::World;

fn nightly() -> Value {
    json!({
        "name": "nightly", "project": "film", "cron": "30 3 * * *", "time_zone": "Europe/Berlin", "if_missed": "all",
        "missed_at_most": 3, "if_running": "cancel", "late_after_seconds": 120.0,
        "task": {"type": "backup", "queue": "gpu", "params": {"day": "{{date}}", "at": "{{time}}"}, "max_attempts": 7,
                 "unique": {"key": "one"}, "expires_after_seconds": 3600}, "by": "ada", "reason": "each night"
    })
}

async fn set(world: &World, schedule: &Value) -> Value {
    world.post("/v1/schedules", schedule.clone()).await.json()
}

async fn round(world: &World) {
    scheduled(&world.app, Duration::from_secs(10), None).await.unwrap();
}

#[tokio::test]
async fn a_schedule_is_shown_as_it_was_set_with_its_next_five_times() {
    let world = World::new();
    let answer = world.post("/v1/schedules", nightly()).await;
    assert_eq!(answer.status, 201);
    let schedule = answer.json();
    for (field, value) in nightly().as_object().unwrap() {
        match field.as_str() {
            "task" | "by" => {}
            _ => assert_eq!(&schedule[field], value, "{field}"),
        }
    }
    assert_eq!((&schedule["changed_by"], &schedule["reason"]), (&json!("ada"), &json!("each night")));
    assert_eq!(
        (&schedule["paused"], &schedule["created"], &schedule["skipped"]),
        (&json!(false), &json!(0), &json!(0))
    );
    let task = &schedule["task"];
    assert_eq!(
        (&task["type"], &task["queue"], &task["max_attempts"]),
        (&json!("backup"), &json!("gpu"), &json!(7))
    );
    assert_eq!(task["params"], json!({"day": "{{date}}", "at": "{{time}}"}));
    let next: Vec<&str> =
        schedule["next"].as_array().unwrap().iter().map(|at| at.as_str().unwrap()).collect();
    assert_eq!(next.len(), 5);
    assert!(
        next.iter().all(|at| at.ends_with("T02:30:00.000Z") || at.ends_with("T01:30:00.000Z")),
        "{next:?}"
    );

    let again = world.post("/v1/schedules", nightly()).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, schedule.clone()), "the same changes nothing");
    assert_eq!(world.get("/v1/schedules/nightly?project=film").await.json(), schedule);
    let more = world.get("/v1/schedules/nightly?project=film&next=20").await.json();
    assert_eq!(more["next"].as_array().unwrap().len(), 20);
    assert_eq!(world.get("/v1/schedules").await.json()["items"], json!([schedule]));
    assert_eq!(world.get("/v1/schedules?project=game").await.json()["items"], json!([]));
    world.get("/v1/schedules/nightly").await.problem(404, "schedule_not_found");
    let audit = world.get("/v1/audit?action=set_schedule").await.json();
    let change = &audit["items"][1]["change"];
    assert_eq!(change["to"], "30 3 * * * (Europe/Berlin): backup in queue gpu", "{audit}");
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_told_by_field() {
    let world = World::new();
    let fields = async |change: Value| -> Vec<String> {
        let mut schedule = json!({"name": "s", "every_seconds": 60, "task": {"type": "a"}});
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(schedule.as_object_mut().unwrap().remove(name)),
                value => schedule[name] = value.clone(),
            }
        }
        let problem = world.post("/v1/schedules", schedule).await.problem(422, "invalid_fields");
        let errors = problem["errors"].as_array().unwrap();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(fields(json!({"name": "a b"})).await, ["name"]);
    assert_eq!(fields(json!({"every_seconds": null})).await, ["cron"]);
    assert_eq!(fields(json!({"cron": "@daily"})).await, ["every_seconds"]);
    assert_eq!(fields(json!({"every_seconds": null, "cron": "61 * * * *"})).await, ["cron"]);
    assert_eq!(
        fields(json!({"every_seconds": null, "cron": "@daily", "time_zone": "Mars"})).await,
        ["time_zone"]
    );
    assert_eq!(fields(json!({"time_zone": "UTC"})).await, ["time_zone"]);
    assert_eq!(fields(json!({"every_seconds": 0.5})).await, ["every_seconds"]);
    assert_eq!(fields(json!({"if_missed": "twice"})).await, ["if_missed"]);
    assert_eq!(fields(json!({"missed_at_most": 3})).await, ["missed_at_most"]);
    assert_eq!(fields(json!({"if_missed": "all", "missed_at_most": 33})).await, ["missed_at_most"]);
    assert_eq!(fields(json!({"late_after_seconds": 1})).await, ["late_after_seconds"]);
    assert_eq!(fields(json!({"if_running": "kill"})).await, ["if_running"]);
    let (start, end) = ("2031-01-01T00:00:00Z", "2030-01-01T00:00:00Z");
    assert_eq!(fields(json!({"starts_at": start, "ends_at": end})).await, ["ends_at"]);
    assert_eq!(fields(json!({"ends_at": "2001-01-01T00:00:00Z"})).await, ["ends_at"], "no time is left");
    assert_eq!(fields(json!({"every_seconds": null, "cron": "0 0 30 2 *"})).await, ["cron"], "no such day");
    assert_eq!(fields(json!({"task": null})).await, ["task"]);
    assert_eq!(fields(json!({"task": {}})).await, ["task.type"]);
    let own = json!({"type": "a", "id": "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f", "project": "p", "delay_seconds": 5,
        "expires_at": "2030-01-01T00:00:00Z", "depends_on": ["01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"], "ref": "r"});
    let told = fields(json!({"task": own})).await;
    assert_eq!(
        told,
        ["task.id", "task.project", "task.delay_seconds", "task.expires_at", "task.depends_on", "task.ref"]
    );
    assert_eq!(fields(json!({"oops": 1})).await, ["oops"]);
    assert_eq!(world.get("/v1/schedules").await.json()["items"], json!([]));
    world.get("/v1/schedules/s?next=101").await.problem(422, "invalid_fields");
}

#[tokio::test]
async fn each_time_gets_a_task_with_what_it_is_for() {
    let world = World::new();
    set(&world, &nightly()).await;
    let schedule = world.get("/v1/schedules/nightly?project=film").await.json();
    let first = schedule["next"][0].as_str().unwrap().to_owned();
    let at: baton_model::Timestamp = first.parse().unwrap();
    world.advance(at.since(world.app.now()));
    round(&world).await;
    round(&world).await;
    let tasks = world.get("/v1/tasks?project=film").await.json()["items"].clone();
    let task = &tasks[0];
    assert_eq!(tasks.as_array().unwrap().len(), 1, "{tasks}");
    let shown = (&task["type"], &task["queue"], &task["project"], &task["run_after"], &task["status"]);
    assert_eq!(shown, (&json!("backup"), &json!("gpu"), &json!("film"), &json!(first), &json!("queued")));
    assert_eq!(task["params"], json!({"day": &first[..10], "at": first}));
    let schedule = world.get("/v1/schedules/nightly?project=film").await.json();
    assert_eq!((&schedule["last"]["at"], &schedule["created"]), (&json!(first), &json!(1)));
    assert_eq!(schedule["last"]["task_id"], task["id"]);
    let history = world.get(&format!("/v1/tasks/{}/history", task["id"].as_str().unwrap())).await.json();
    assert_eq!(history["items"][0]["by"], "schedule nightly", "{history}");
}

#[tokio::test]
async fn another_of_the_name_is_in_the_way_unless_it_is_to_be_replaced() {
    let world = World::new();
    set(&world, &nightly()).await;
    let mut other = nightly();
    other["cron"] = json!("@hourly");
    let problem = world.post("/v1/schedules", other.clone()).await.problem(409, "schedule_exists");
    assert!(problem["detail"].as_str().unwrap().contains("film/nightly"), "{problem}");
    other["replace"] = json!(true);
    let replaced = world.post("/v1/schedules", other).await;
    assert_eq!((replaced.status.as_u16(), &replaced.json()["cron"]), (200, &json!("@hourly")));
}

#[tokio::test]
async fn it_is_paused_resumed_and_deleted() {
    let world = World::new();
    let every = json!({"name": "often", "every_seconds": 60, "task": {"type": "a"}});
    set(&world, &every).await;
    let paused =
        world.post("/v1/schedules/often/pause", json!({"by": "ada", "reason": "a holiday"})).await.json();
    assert_eq!((&paused["paused"], &paused["reason"]), (&json!(true), &json!("a holiday")));
    world.advance(Duration::from_secs(600));
    round(&world).await;
    assert_eq!(world.get("/v1/tasks").await.json()["items"], json!([]));
    world.act("/v1/schedules/often/resume").await;
    round(&world).await;
    assert_eq!(world.get("/v1/tasks").await.json()["items"], json!([]), "what passed meanwhile is left out");
    world.advance(Duration::from_secs(60));
    round(&world).await;
    assert_eq!(world.get("/v1/tasks").await.json()["items"].as_array().unwrap().len(), 1);
    let gone = world.act("/v1/schedules/often/delete").await.json();
    assert_eq!(gone["created"], 1);
    world.act("/v1/schedules/often/delete").await.problem(404, "schedule_not_found");
    world.advance(Duration::from_secs(600));
    round(&world).await;
    assert_eq!(world.get("/v1/tasks").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn every_answer_tells_the_next_five_times_and_none_that_passed_while_it_was_paused() {
    let world = World::new();
    let often = json!({"name": "often", "every_seconds": 60, "task": {"type": "a"}});
    let begun = world.app.now();
    // The minutes since then.
    let next = |schedule: &Value| -> Vec<u64> {
        let times = schedule["next"].as_array().unwrap().iter();
        times
            .map(|at| {
                at.as_str().unwrap().parse::<baton_model::Timestamp>().unwrap().since(begun).as_secs() / 60
            })
            .collect()
    };
    assert_eq!(next(&set(&world, &often).await), [1_u64, 2, 3, 4, 5]);
    let paused = world.act("/v1/schedules/often/pause").await.json();
    assert_eq!(next(&paused), [1_u64, 2, 3, 4, 5]);
    world.advance(Duration::from_secs(630));
    let ahead = [11_u64, 12, 13, 14, 15];
    assert_eq!(next(&world.get("/v1/schedules/often").await.json()), ahead);
    assert_eq!(next(&world.get("/v1/schedules").await.json()["items"][0]), ahead);
    let mut replacing = often.clone();
    (replacing["paused"], replacing["replace"], replacing["task"]["queue"]) =
        (json!(true), json!(true), json!("b"));
    assert_eq!(next(&set(&world, &replacing).await), ahead);
    assert_eq!(next(&world.act("/v1/schedules/often/pause").await.json()), ahead);
    assert_eq!(next(&world.act("/v1/schedules/often/resume").await.json()), ahead);
    assert_eq!(next(&world.get("/v1/schedules/often").await.json()), ahead);
    assert_eq!(next(&world.act("/v1/schedules/often/delete").await.json()), ahead);
}

#[tokio::test]
async fn a_token_sets_and_sees_schedules_within_its_bounds() {
    let world = World::new();
    set(&world, &nightly()).await;
    set(
        &world,
        &json!({"name": "cpu", "project": "film", "cron": "@daily", "task": {"type": "a", "queue": "cpu"}}),
    )
    .await;
    set(
        &world,
        &json!({"name": "other", "project": "game", "cron": "@daily", "task": {"type": "a", "queue": "gpu"}}),
    )
    .await;
    let token = json!({"scopes": ["producer"], "project": "film", "queues": ["gpu"]});
    let caller = world.with_token(token).await;
    let names = caller.get("/v1/schedules").await.json()["items"].clone();
    let names: Vec<&str> =
        names.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["nightly"]);
    caller.get("/v1/schedules/cpu").await.problem(404, "schedule_not_found");
    caller.get("/v1/schedules/other?project=game").await.problem(404, "schedule_not_found");
    caller.act("/v1/schedules/cpu/delete").await.problem(404, "schedule_not_found");
    // What a token's project and queue are is filled in; a name that is taken beyond its queues is taken.
    let own =
        caller.post("/v1/schedules", json!({"name": "own", "cron": "@daily", "task": {"type": "a"}})).await;
    assert_eq!((&own.json()["project"], &own.json()["task"]["queue"]), (&json!("film"), &json!("gpu")));
    let taken = json!({"name": "cpu", "cron": "@daily", "replace": true, "task": {"type": "a"}});
    caller.post("/v1/schedules", taken).await.problem(409, "schedule_exists");
    let beyond =
        json!({"name": "x", "project": "game", "cron": "@daily", "task": {"type": "a", "queue": "cpu"}});
    let problem = caller.post("/v1/schedules", beyond).await.problem(403, "outside_grant");
    let fields: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["project", "task.queue"]);
}
