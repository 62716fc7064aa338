//! Tasks of the systems that Baton replaces: their dialects find them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use super::{changed, import, tasks};
use crate::support::World;

const AT: &str = "2026-01-31T08:15:00.250000+00:00";
const ID: &str = "01980a6e-5b7c-4cc3-98c4-dc0c0c07398f";

#[test]
fn an_orchestrators_tasks_are_found_by_their_own_ids() {
    let folder = tempfile::tempdir().unwrap();
    let db = rusqlite::Connection::open(folder.path().join("autodev.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT, description TEXT, role TEXT, state TEXT, created_at TEXT,
            updated_at TEXT, started_at TEXT, completed_at TEXT, provider TEXT, model TEXT, branch TEXT, commit_hash TEXT,
            last_error TEXT, error_count INTEGER, full_access BOOLEAN, target_dir TEXT);
         INSERT INTO tasks VALUES
            ('agent-task-1-aa', 'One', 'does one', 'backend', 'running', '2026-01-31 08:15:00', '2026-01-31 08:16:00', NULL, NULL,
                'claude', 'm', 'auto/backend/agent-task-1-aa', NULL, NULL, 0, 1, '.'),
            ('agent-task-2-bb', 'Two', 'does two', 'data analyst', 'passed', '2026-01-31 08:15:00', '2026-01-31 08:16:00', NULL,
                '2026-01-31 08:16:00', 'claude', 'm', 'b', 'abc123', NULL, 0, 0, '.'),
            ('agent-task-3-cc', 'Three', 'does three', 'ml', 'timeout', '2026-01-31 08:15:00', '2026-01-31 08:16:00', NULL,
                NULL, 'claude', 'm', 'b', NULL, 'it took too long', 1, 0, '.')",
    )
    .unwrap();
    drop(db);
    let report = import(folder.path(), &["autodev.db", "--as", "orchestrator"], 0);
    assert_eq!((&report["new"], changed(&report, "queued again")), (&3.into(), 1), "{report}");
    assert_eq!((changed(&report, "kept as a name"), changed(&report, "one more")), (3, 1), "{report}");
    let world = World::on(folder, &["--dialect", "orchestrator"]);
    let (code, one) = world.get("/tasks/agent-task-1-aa");
    assert_eq!((code, &one["state"], &one["role"]), (200, &json!("queued"), &json!("backend")), "{one}");
    let (_, two) = world.get("/tasks/agent-task-2-bb");
    assert_eq!(
        (&two["state"], &two["role"], &two["id"]),
        (&json!("passed"), &json!("data analyst"), &json!("agent-task-2-bb"))
    );
    let (_, three) = world.get("/tasks/agent-task-3-cc");
    assert_eq!((&three["state"], &three["last_error"]), (&json!("timeout"), &json!("it took too long")));
    let (_, history) = world.get("/api/tasks/history/agent-task-2-bb");
    assert_eq!(history["history"][0]["state_to"], "queued", "{history}");
}

#[test]
fn the_task_table_is_read_as_psql_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "id,status,type,description,domain,drift_score,attempts,locked_by,locked_at,run_after,params,result,error,created_at,updated_at\n\
         {ID},running,dspy.plan,why,x,0.9,1,d-1,2026-01-31 08:16:00+00,,\"{{\"\"n\"\": 1.50}}\",,,2026-01-31 08:15:00.25+00,2026-01-31 08:16:00+00\n\
         01980a6e-5b7c-4cc3-98c4-dc0c0c073990,created,general_query,,,0.1,0,,,,{{}},,,2026-01-31 08:15:00.25+00,2026-01-31 08:15:00.25+00\n\
         01980a6e-5b7c-4cc3-98c4-dc0c0c073991,completed,general_query,,,0.1,1,,,,{{}},\"{{\"\"a\"\":1}}\",,2026-01-31 08:15:00.25+00,2026-01-31 08:17:00+00\n"
    );
    std::fs::write(folder.path().join("tasks.csv"), text).unwrap();
    let report = import(folder.path(), &["tasks.csv", "--as", "task-table"], 0);
    assert_eq!((changed(&report, "queued again"), changed(&report, "nobody had asked")), (1, 1), "{report}");
    // Both have a route for their own readiness.
    std::fs::write(folder.path().join("baton.toml"), "[dialects.task-table]\non = true\nprefix = \"/old\"\n")
        .unwrap();
    let world = World::on(folder, &[]);
    let (code, ran) = world.get(&format!("/old/api/v1/tasks/{ID}"));
    assert_eq!(
        (code, &ran["status"], &ran["domain"], &ran["drift_score"]),
        (200, &json!("queued"), &json!("x"), &json!(0.9))
    );
    let (_, created) = world.get("/old/api/v1/tasks/01980a6e-5b7c-4cc3-98c4-dc0c0c073990");
    assert_eq!(created["status"], "created");
    let (_, done) = world.get("/old/api/v1/tasks/01980a6e-5b7c-4cc3-98c4-dc0c0c073991");
    assert_eq!((&done["status"], &done["result"]["a"]), (&json!("completed"), &json!(1)), "{done}");
}

#[test]
fn a_platforms_tasks_keep_their_order_and_their_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let row = |id: &str, status: &str, more: Value| {
        let mut row = json!({"id": id, "task_type": "travel_segment", "status": status, "project_id": "p1", "params": {"segment_index": 1},
            "attempts": 0, "created_at": AT, "updated_at": AT});
        for (key, value) in more.as_object().unwrap() {
            row[key] = value.clone();
        }
        format!("{row}\n")
    };
    let text = row(
        ID,
        "Complete",
        json!({"output_location": "http://x/a.mp4", "generation_processed_at": AT, "worker_id": "gpu-1"}),
    ) + &row("seg-2", "Queued", json!({"dependant_on": [ID]}))
        + &row("seg-3", "In Progress", json!({"worker_id": "gpu-1", "generation_started_at": AT}))
        + &row("seg-4", "Failed", json!({"output_location": "out of memory", "attempts": 2}));
    std::fs::write(folder.path().join("tasks.jsonl"), text).unwrap();
    let report = import(folder.path(), &["tasks.jsonl", "--as", "edge-functions"], 0);
    assert_eq!((&report["new"], changed(&report, "queued again")), (&4.into(), 1), "{report}");
    let world = World::on(folder, &["--dialect", "edge-functions"]);
    let row = |id: &str| {
        let (code, rows) = world.get(&format!("/rest/v1/tasks?id=eq.{id}"));
        assert_eq!(code, 200, "{rows}");
        rows[0].clone()
    };
    assert_eq!(
        (&row(ID)["status"], &row(ID)["output_location"]),
        (&json!("Complete"), &json!("http://x/a.mp4"))
    );
    assert_eq!((&row("seg-3")["status"], &row("seg-3")["attempts"]), (&json!("Queued"), &json!(1)));
    assert_eq!(
        (&row("seg-4")["status"], &row("seg-4")["error_message"]),
        (&json!("Failed"), &json!("out of memory"))
    );
    // The one that waited is let go of, as what it waited for is done.
    let claim = r#"{"worker_id": "gpu-2", "run_type": "gpu"}"#;
    let claimed: Vec<Value> =
        (0..2).map(|_| world.ask("POST", "/functions/v1/claim-next-task", claim).1).collect();
    let ids: Vec<_> = claimed.iter().map(|one| one["task_id"].as_str().unwrap_or("none")).collect();
    assert!(ids.contains(&"seg-2"), "{claimed:?}");
}

#[test]
fn a_running_assistant_server_is_asked_for_its_list() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let list = json!({"status": "success", "active_tasks_count": 2, "timestamp": AT, "active_tasks": [
        {"task_id": ID, "task": {"action": "reflect", "n": 1.5}, "assigned_by": "ray", "timestamp": AT, "batch_id": null},
        {"task_id": "01980a6e-5b7c-4cc3-98c4-dc0c0c073990", "task": {}, "assigned_by": "kim", "timestamp": AT, "batch_id": "b"},
    ]});
    std::thread::spawn(move || {
        for answer in ["HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}".to_owned(), {
            let body = list.to_string();
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }] {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1_024]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let report = import(folder.path(), &[&url, "--as", "assistant"], 0);
    assert_eq!(report["new"], 2, "{report}");
    let world = World::on(folder, &["--dialect", "assistant"]);
    let (code, one) = world.get(&format!("/task/{ID}"));
    assert_eq!(
        (code, &one["task"]["assigned_by"], &one["task"]["task"]["n"]),
        (200, &json!("ray"), &json!(1.5)),
        "{one}"
    );
    assert_eq!(world.get("/task/list").1["active_tasks_count"], 2);
}

#[test]
fn a_simulations_tasks_have_their_retries_and_results() {
    let folder = tempfile::tempdir().unwrap();
    let row = |id: &str, status: &str, result: Value| {
        format!(
            "{}\n",
            json!({"task_id": id, "simulation_id": "s", "particle_count": 10, "parameters": {"time_horizon": 2},
            "input_data": "", "priority": 1, "status": status, "retry_count": 1, "created_at": AT, "assigned_client": "c-1", "result_data": result})
        )
    };
    let text = row(ID, "completed", json!("7b2261223a317d")) + &row("t 2", "assigned", Value::Null);
    std::fs::write(folder.path().join("tasks.jsonl"), text).unwrap();
    let report = import(folder.path(), &["tasks.jsonl", "--as", "drift"], 0);
    assert_eq!((&report["new"], changed(&report, "queued again")), (&2.into(), 1), "{report}");
    let tasks = tasks(folder.path());
    assert_eq!(tasks[0]["generation"]["output"]["result"], json!({"a": 1}));
    assert_eq!(
        (&tasks[1]["task"]["head"]["attempt"], &tasks[1]["task"]["queue"]),
        (&json!(2), &json!("drift"))
    );
    assert_eq!(tasks[1]["task"]["head"]["timeout"]["secs"], 7_200);
}
