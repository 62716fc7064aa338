//! Affinity on the command line: tasks that want something to be warm, and workers that have it.

use crate::support::{PATIENT, QUICK, World, stderr, stdout};

/// The types of all tasks in the order in which they ran.
fn ran(world: &World) -> Vec<String> {
    let text = std::fs::read_to_string(world.path("ran")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn an_affinity_is_given_and_shown_and_told_where_a_worker_is_missing() {
    let world = World::new(PATIENT);
    let id = world.create(&["--affinity", "sdxl", "--queue", "images"]);
    let shown = stdout(&world.run(&["task", "show", &id], 0));
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["affinity", "sdxl"])), "{shown}");
    let why = stdout(&world.run(&["task", "why", &id], 0));
    let told =
        "no live worker takes type test of queue images with affinity sdxl (to go on: baton worker run";
    assert!(why.contains(told), "{why}");
    let file = world.path("tasks.jsonl");
    std::fs::write(&file, "{\"type\": \"test\", \"affinity\": \"flux\"}\n").unwrap();
    let id = stdout(&world.run(&["task", "create", "--from", file.to_str().unwrap()], 0));
    assert_eq!(world.task(id.trim())["task"]["affinity"], "flux");
    let both = ["task", "create", "--from", file.to_str().unwrap(), "--affinity", "flux"];
    assert!(stderr(&world.run(&both, 2)).contains("--affinity"));
    let refused = stderr(&world.run(&["task", "create", "--type", "test", "--affinity", "*"], 1));
    assert!(refused.contains("--affinity: expected another text than *"), "{refused}");
}

#[test]
fn a_worker_takes_only_what_it_has_warm_if_it_is_told_so() {
    let world = World::new(QUICK);
    let [plain, flux, sdxl, other] = [&[][..], &["--affinity", "flux"], &["--affinity", "sdxl"], &[]]
        .map(|affinity| world.create(affinity));
    let last = world.create(&["--affinity", "llama 3"]);
    let flags = ["--warm", "sdxl", "--warm", "llama 3", "--affinity", "only"];
    let _worker = world.worker_with(&flags, "true");
    world.becomes(&last, "completed");
    world.becomes(&sdxl, "completed");
    let late = world.create(&["--affinity", "sdxl"]);
    world.becomes(&late, "completed");
    for id in [plain, flux, other] {
        assert_eq!(world.task(&id)["task"]["status"], "queued");
    }
}

#[test]
fn a_worker_that_prefers_what_is_warm_takes_that_first_and_learns_what_it_is() {
    let world = World::new(QUICK);
    let script = "echo $BATON_TASK_ID >> ran";
    let create = |affinity: &str| world.create(&["--affinity", affinity]);
    let mut all: Vec<String> = ["flux", "sdxl", "flux", "sdxl"].map(create).to_vec();
    {
        let _worker = world.worker_with(&["--affinity", "prefer"], script);
        all.iter().for_each(|id| drop(world.becomes(id, "completed")));
    }
    all.swap(1, 2);
    assert_eq!(ran(&world), all, "what it ran last counts as warm");
    let more: Vec<String> = ["flux", "sdxl", "flux"].map(create).to_vec();
    let flags = ["--affinity", "prefer", "--warm", "sdxl", "--pass-over", "10m"];
    let _worker = world.worker_named("w2", &flags, script);
    more.iter().for_each(|id| drop(world.becomes(id, "completed")));
    assert_eq!(ran(&world)[4..], [&*more[1], &more[0], &more[2]]);
}

#[test]
fn flags_that_do_not_go_together_are_refused_before_anything_is_claimed() {
    let world = World::new(PATIENT);
    for (flags, told) in [
        (&["--affinity", "only"][..], "--affinity only: expected at least one --warm NAME, got none"),
        (&["--warm", "sdxl"], "--affinity <HOW>"),
        (&["--pass-over", "5m"], "--affinity <HOW>"),
        (
            &["--warm", "a", "--affinity", "only", "--pass-over", "5m"],
            "expected --affinity prefer with it, got only",
        ),
        (&["--affinity", "always"], "expected one of any, prefer, only, got \"always\""),
        (&["--affinity", "prefer", "--pass-over", "soon"], "expected a duration"),
    ] {
        let arguments = [&["worker", "run"], flags, &["--", "true"]].concat();
        let error = stderr(&world.run(&arguments, 2));
        assert!(error.contains(told), "{flags:?}: {error}");
    }
}
