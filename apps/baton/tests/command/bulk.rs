//! `baton task cancel|retry|change` with filters, and `baton bulk`.

use serde_json::json;

use crate::support::{QUICK, World, run, stderr, stdout, told};

#[test]
fn many_tasks_are_changed_cancelled_and_retried_by_filters() {
    let world = World::new(QUICK);
    let ids: Vec<_> = (0..3).map(|_| world.create(&["--queue", "gpu"])).collect();
    let other = world.create(&["--queue", "cpu"]);
    let change = ["task", "change", "--queue", "gpu", "--priority", "high", "--yes", "--by", "ana"];
    let bulk = world.json(&change);
    assert_eq!((&bulk["state"], &bulk["changed"], &bulk["by"]), (&json!("done"), &json!(3), &json!("ana")));
    assert_eq!(world.task(&ids[1])["task"]["priority"], "high");
    let output = run(world.command(&["task", "cancel", "--queue", "gpu", "--yes"]), 0);
    assert!(stderr(&output).contains("is done: 3 tasks changed"), "{}", told(&output));
    let output =
        run(world.command(&["task", "cancel", "--queue", "gpu", "--status", "cancelled", "--yes"]), 0);
    assert!(stderr(&output).contains("0 tasks changed, 3 skipped (3 already)"), "{}", told(&output));
    run(world.command(&["task", "retry", "--queue", "gpu", "--yes"]), 0);
    for id in &ids {
        assert_eq!(world.task(id)["task"]["status"], "queued");
    }
    assert_eq!(world.task(&other)["task"]["priority"], "normal");
    let list = world.json(&["bulk", "list"]);
    let made: Vec<_> = list["items"].as_array().unwrap().iter().map(|bulk| bulk["do"].clone()).collect();
    assert_eq!(made, ["retry", "cancel", "cancel", "change"]);
    let id = bulk["id"].as_str().unwrap();
    assert_eq!(world.json(&["bulk", "show", id]), bulk);
    assert_eq!(world.json(&["bulk", "abort", id]), bulk, "it has ended");
    assert!(stdout(&run(world.command(&["bulk", "list"]), 0)).contains("3 tasks changed"));
    run(world.command(&["bulk", "show", "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"]), 3);
}

#[test]
fn nothing_is_done_to_many_tasks_unasked_or_without_a_filter() {
    let world = World::new(QUICK);
    let id = world.create(&["--queue", "gpu"]);
    let output = run(world.command(&["task", "cancel", "--queue", "gpu"]), 2);
    assert!(stderr(&output).contains("cancel 1 task(s)?"), "{}", told(&output));
    assert!(stderr(&output).contains("--yes"), "{}", told(&output));
    let output = run(world.command(&["task", "cancel", "--yes"]), 2);
    assert!(stderr(&output).contains("a task's id, or a filter"), "{}", told(&output));
    let output = run(world.command(&["task", "cancel", &id, "--queue", "gpu"]), 2);
    assert!(stderr(&output).contains("got both"), "{}", told(&output));
    let output = run(world.command(&["task", "cancel", "--queue", "gpu", "--with-dependants", "--yes"]), 2);
    assert!(stderr(&output).contains("--with-dependants"), "{}", told(&output));
    assert_eq!(world.task(&id)["task"]["status"], "queued");
}

#[test]
fn only_ended_tasks_are_deleted() {
    let world = World::new(QUICK);
    let ids: Vec<_> = (0..3).map(|_| world.create(&["--queue", "gpu"])).collect();
    run(world.command(&["task", "cancel", &ids[0]]), 0);
    run(world.command(&["task", "cancel", &ids[1]]), 0);
    let output = run(world.command(&["task", "delete", &ids[0], &ids[2], "--yes"]), 0);
    assert!(stderr(&output).contains("1 tasks changed, 1 skipped (1 queued)"), "{}", told(&output));
    run(world.command(&["task", "show", &ids[0]]), 3);
    let bulk = world.json(&["task", "delete", "--queue", "gpu", "--yes"]);
    assert_eq!((&bulk["do"], &bulk["changed"]), (&json!("delete"), &json!(1)));
    assert_eq!(world.task(&ids[2])["task"]["status"], "queued");
}
