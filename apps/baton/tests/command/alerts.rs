//! `baton alert` and `baton webhook` against a server, and an alert that runs a command.

use serde_json::json;

use crate::support::{World, stderr, stdout, told, until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn rules_are_set_listed_shown_and_taken_away() {
    let world = World::new(&[]);
    assert!(stderr(&world.run(&["alert", "list"], 0)).contains("set one with `baton alert set`"));
    let set =
        ["alert", "set", "deep", "--kind", "queue_depth", "--queue", "gpu", "--above", "10", "--for", "5m"];
    let done = world.run(&set, 0);
    assert!(
        stderr(&done).contains("alert deep is set; it fires above 10, ends at 10 or less; after 300 s"),
        "{}",
        told(&done)
    );
    let shown = stdout(&world.run(&["alert", "list"], 0));
    assert!(shown.contains("deep") && shown.contains("quiet"), "{shown}");
    let one = world.json(&["alert", "show", "deep"]);
    assert_eq!(
        (&one["for_seconds"], &one["queue"], &one["fires"]),
        (&json!(300.0), &json!("gpu"), &json!(false))
    );
    let shown = stdout(&world.run(&["alert", "show", "deep"], 0));
    assert!(shown.contains("fires above 10"), "{shown}");
    let wrong = world.run(&["alert", "set", "a", "--kind", "queue_depth", "--above", "1", "--below", "2"], 1);
    assert!(stderr(&wrong).contains("--below"), "{}", told(&wrong));
    assert!(stderr(&world.run(&["alert", "set", "a", "--kind", "depth"], 2)).contains("queue_depth"));
    world.run(&["alert", "delete", "deep"], 0);
    world.run(&["alert", "show", "deep"], 3);
}

#[test]
fn webhooks_are_set_tried_shown_and_taken_away() {
    let world = World::new(&[]);
    // What nobody may be sent to is as good as a receiver that does not answer.
    let set = ["webhook", "set", "chat", "--url", "http://127.0.0.1:9/hunter2", "--event", "alert.fired"];
    let secret = stdout(&world.run(&set, 0));
    assert!(secret.starts_with("whsec_") && secret.lines().count() == 1, "{secret}");
    let file = world.path("secret");
    std::fs::write(&file, SECRET).unwrap();
    let again = [&set[..], &["--secret-file", file.to_str().unwrap()]].concat();
    assert_eq!(stdout(&world.run(&again, 0)), "");
    let id = stdout(&world.run(&["webhook", "test", "chat"], 0));
    until("the message to be tried", || {
        let one = world.json(&["webhook", "show", "chat"]);
        (one["waiting_messages"][0]["tries"] == 1).then_some(())
    });
    let shown = stdout(&world.run(&["webhook", "show", "chat"], 0));
    assert!(
        shown.contains(id.trim()) && shown.contains("failing since") && shown.contains("private"),
        "{shown}"
    );
    world.run(&["webhook", "redeliver", "chat", id.trim()], 0);
    world.run(&["webhook", "redeliver", "chat", "msg_9"], 3);
    world.run(&["webhook", "enable", "chat"], 0);
    let listed = stdout(&world.run(&["webhook", "list"], 0));
    assert!(listed.contains("http://127.0.0.1:9/…") && listed.contains("alert.fired"), "{listed}");
    world.run(&["webhook", "delete", "chat"], 0);
    world.run(&["webhook", "show", "chat"], 3);
    let log = world.server_log();
    assert!(!log.contains("hunter2") && !log.contains("whsec_") && !log.contains(SECRET), "{log}");
}

#[test]
fn an_alert_of_the_settings_runs_its_command_and_is_told_by_debug_health() {
    let settings = format!(
        "[[alerts]]\nname = \"disk\"\nkind = \"disk_low\"\nbelow = 1e17\nfor_seconds = 0\n\
         command = \"cat > fired; echo \\\"$BATON_ALERT $BATON_EVENT\\\" >> fired\"\ncommand_shell = true\n\
         [[webhooks]]\nname = \"chat\"\nurl = \"https://hooks.example/x\"\nsecret = \"{SECRET}\"\n"
    );
    let world = World::with_file("baton.toml", &settings);
    let fired = until("the command to run", || {
        let text = std::fs::read_to_string(world.path("fired")).unwrap_or_default();
        text.contains("disk alert.fired").then_some(text)
    });
    let message: serde_json::Value = serde_json::from_str(fired.lines().next().unwrap()).unwrap();
    assert_eq!((&message["type"], &message["data"]["kind"]), (&json!("alert.fired"), &json!("disk_low")));
    let health = stdout(&world.command(&["debug", "health"]).output().unwrap());
    assert!(
        health.contains("alert disk fires since") && health.contains("baton alert show disk"),
        "{health}"
    );
    let timeline = stdout(&world.run(&["timeline"], 0));
    assert!(timeline.contains("alert disk fires: the store has room for"), "{timeline}");
    let config = world.path("baton.toml");
    let shown = stdout(&world.run(&["debug", "config", "--config", config.to_str().unwrap()], 0));
    assert!(!shown.contains("whsec_"), "{shown}");
}
