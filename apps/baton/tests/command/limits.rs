//! `baton limit`: what is set, shown and taken away, whose projects are, and what is refused.

use serde_json::{Value, json};

use crate::support::{PATIENT, World, stderr, stdout, told};

/// The names of the limits that are set.
fn limits(world: &World) -> Vec<Value> {
    let listed = world.json(&["limit", "list"]);
    listed["items"].as_array().unwrap().iter().map(|limit| limit["on"].clone()).collect()
}

/// What the audit log tells of changes of limits and owners, the oldest first.
fn changes(world: &World) -> Vec<Value> {
    let audit = world.json(&["audit"]);
    let told = |entry: &Value| {
        let change = &entry["change"];
        json!([entry["action"], entry["by"], entry["reason"], change["from"], change["to"]])
    };
    audit["items"].as_array().unwrap().iter().rev().map(told).collect()
}

#[test]
fn a_limit_is_set_listed_shown_and_taken_away_and_the_audit_log_tells_of_it() {
    let world = World::new(PATIENT);
    assert!(stderr(&world.run(&["limit", "list"], 0)).contains("set one with `baton limit set`"));
    let said = ["--by", "ada", "--reason", "slow disk"];
    let set = |rules: &[&str]| world.run(&[&["limit", "set"], rules, &said[..]].concat(), 0);
    let first = set(&["queue/images", "--running", "20"]);
    assert!(stderr(&first).contains("limit queue/images is set; before: none"), "{}", told(&first));
    assert!(stdout(&first).contains("20 run"), "{}", told(&first));
    let again = set(&["queue/images", "--rate", "60/30", "--burst", "5", "--exempt", "wait,ask"]);
    assert!(stderr(&again).contains("before: 20 run"), "{}", told(&again));
    set(&["queue/ledger/key/*", "--running", "1", "--hold-retries"]);

    let list = stdout(&world.run(&["limit", "list", "--columns", "limit,says,running"], 0));
    let lines: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(
        lines,
        [
            vec!["LIMIT", "SAYS", "RUNNING"],
            vec!["queue/images", "60 start in 30 s, 5 at once; not wait, ask", "0"],
            vec!["queue/ledger/key/*", "1 run; retries hold", "-"],
        ]
    );
    let shown = world.json(&["limit", "show", "queue/images"]);
    assert_eq!(shown["rate"], json!({"starts": 60, "seconds": 30, "burst": 5}));
    assert_eq!((&shown["exempt_types"], &shown["max_running"]), (&json!(["wait", "ask"]), &Value::Null));
    assert_eq!((&shown["changed_by"], &shown["reason"]), (&json!("ada"), &json!("slow disk")));

    let gone = world.run(&["limit", "clear", "queue/images", "--by", "bob"], 0);
    assert!(stderr(&gone).contains("limit queue/images is gone"), "{}", told(&gone));
    let again = world.run(&["limit", "clear", "queue/images"], 0);
    assert!(stderr(&again).contains("limit queue/images was not set"), "{}", told(&again));
    let shown = world.run(&["limit", "show", "queue/images"], 1);
    assert!(stderr(&shown).contains("there is no limit queue/images; `baton limit list` shows all"));
    assert_eq!(limits(&world), ["queue/ledger/key/*"]);

    let told = changes(&world);
    assert_eq!(told[0], json!(["set_limit", "ada", "slow disk", null, "queue/images: at most 20 run"]));
    let (action, from, to) = (&told[1][0], &told[1][3], told[1][4].as_str().unwrap());
    assert_eq!((action, from), (&json!("set_limit"), &json!("queue/images: at most 20 run")));
    assert!(to.starts_with("queue/images: ") && to.contains("60"), "{to}");
    assert_eq!(told[3], json!(["clear_limit", "bob", null, to, null]));
    assert_eq!(told[4], json!(["clear_limit", null, null, null, null]));
}

#[test]
fn a_project_is_given_an_owner_listed_and_taken_back() {
    let world = World::new(PATIENT);
    assert!(stderr(&world.run(&["limit", "owners"], 0)).contains("no project has an owner"));
    let said = ["--by", "ada", "--reason", "sold"];
    let given = world.run(&[&["limit", "owner", "film", "acme"], &said[..]].concat(), 0);
    assert!(stderr(&given).contains("project film is of acme"), "{}", told(&given));
    world.run(&["limit", "owner", "game", "acme"], 0);
    let owners = stdout(&world.run(&["limit", "owners", "--columns", "project,owner"], 0));
    let lines: Vec<Vec<&str>> = owners.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [["PROJECT", "OWNER"], ["film", "acme"], ["game", "acme"]]);

    // What both run counts for their owner.
    world.run(&["limit", "set", "owner/acme", "--running", "1"], 0);
    for project in ["film", "game"] {
        world.create(&["--project", project]);
    }
    let claim = json!({"worker_id": "w1", "max_tasks": 5}).to_string();
    let (_, claimed) = world.ask("POST", "/v1/claims", &claim);
    assert_eq!(claimed["tasks"].as_array().unwrap().len(), 1, "{claimed}");
    assert_eq!(world.json(&["limit", "show", "owner/acme"])["running"], 1);

    let back = world.run(&["limit", "owner", "film"], 0);
    assert!(stderr(&back).contains("project film is nobody's"), "{}", told(&back));
    let owners = world.json(&["limit", "owners"]);
    let told: Vec<_> =
        owners["items"].as_array().unwrap().iter().map(|one| (&one["name"], &one["owner"])).collect();
    assert_eq!(told, [(&json!("game"), &json!("acme"))]);
    let told: Vec<_> = changes(&world).into_iter().filter(|change| change[0] == json!("set_owner")).collect();
    assert_eq!(told[0], json!(["set_owner", "ada", "sold", null, "acme"]));
    assert_eq!(told[2], json!(["set_owner", null, null, "acme", null]));
}

#[test]
fn what_a_limit_cannot_say_is_refused_by_its_flags_and_nothing_is_changed() {
    let world = World::new(PATIENT);
    for (arguments, code, says) in [
        (&["queue/x"][..], 2, &["--running", "--rate"][..]),
        (&["queue/x", "--exempt", "wait"], 2, &["--running", "--rate"]),
        (&["queue/x", "--running", "1", "--burst", "2"], 2, &["--rate"]),
        (&["queue/x", "--rate", "60"], 2, &["--rate", "STARTS/SECONDS", "60/60"]),
        (&["queue", "--running", "1"], 2, &["queue"]),
        (&["queue/x", "--running", "10001"], 1, &["--running", "10000"]),
        (&["project/x", "--rate", "1/1"], 1, &["--rate"]),
        (&["queue/x", "--running", "1", "--hold-retries"], 1, &["--hold-retries", "key"]),
    ] {
        let output = world.run(&[&["limit", "set"], arguments].concat(), code);
        let text = stderr(&output);
        assert!(says.iter().all(|word| text.contains(word)), "{arguments:?}: {text}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
    world.run(&["limit", "owner", "a b", "acme"], 2);
    assert_eq!(limits(&world), [""; 0]);
    assert_eq!(world.json(&["limit", "owners"])["items"], json!([]));
    assert!(changes(&world).iter().all(|change| change[3] == Value::Null && change[4] == Value::Null));
}
