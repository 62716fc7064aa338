use super::*;
use crate::{Settings, Sources};

fn load(text: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("baton.toml");
    std::fs::write(&file, text).unwrap();
    let sources = Sources { file: Some(file), ..Sources::default() };
    Settings::load(&sources).map_err(|error| error.to_string())
}

#[test]
fn a_group_of_a_name_and_a_command_has_the_defaults() {
    let settings = load("[[workers]]\nname = \"resize\"\ncommand = \"./resize.sh\"\n").unwrap();
    let [group] = &settings.workers[..] else { panic!("{:?}", settings.workers) };
    assert_eq!((group.name.as_str(), &group.command[..]), ("resize", &["./resize.sh".to_owned()][..]));
    assert_eq!((group.concurrency, group.count, group.restart), (1, 1, RestartWhen::Always));
    assert!(group.queues.is_empty() && group.types.is_empty() && group.environment.is_empty());
    assert_eq!(
        (group.memory_bytes, group.cpus, &group.user, &group.working_directory),
        (None, None, &None, &None)
    );
    assert_eq!((group.recycle_tasks, group.recycle_after, group.recycle_bytes), (None, None, None));
    assert_eq!(
        (group.restart_pause, group.longest_pause),
        (Duration::from_millis(500), Duration::from_secs(60))
    );
    let fleet = FleetSettings { with_server: true, ..FleetSettings::default() };
    assert_eq!(settings.fleet, fleet);
    assert!(Settings::defaults().unwrap().workers.is_empty());
}

#[test]
fn a_group_is_as_its_settings_say() {
    let text = r#"
[fleet]
with_server = false
name = "gpu-box"
directory = "/run/baton"
[[workers]]
name = "paint"
command = ["./paint.sh", "--fast"]
queues = ["gpu", "images"]
types = "paint"
concurrency = 2
count = 3
environment = { MODEL = "sdxl", path_of = "" }
working_directory = "/srv"
user = "nobody"
memory_mebibytes = 512
cpus = 1.5
restart = "on-failure"
recycle_tasks = 100
recycle_hours = 0.5
recycle_mebibytes = 64
health_seconds = 0.5
stop_grace_seconds = 0
[[workers]]
name = "other"
command = "true"
count = 0
"#;
    let settings = load(text).unwrap();
    assert_eq!(settings.fleet.name.as_deref(), Some("gpu-box"));
    assert!(!settings.fleet.with_server && settings.fleet.folder == Some("/run/baton".into()));
    let [paint, other] = &settings.workers[..] else { panic!("{:?}", settings.workers) };
    assert_eq!((paint.command.len(), paint.queues.len(), paint.types[0].as_str()), (2, 2, "paint"));
    let pairs = [("MODEL", "sdxl"), ("path_of", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(paint.environment, BTreeMap::from(pairs));
    assert_eq!((paint.memory_bytes, paint.cpus), (Some(512 << 20), Some(1.5)));
    assert_eq!((paint.recycle_tasks, paint.recycle_bytes), (Some(100), Some(64 << 20)));
    assert_eq!(paint.recycle_after, Some(Duration::from_secs(1_800)));
    assert_eq!((paint.restart, paint.health_interval), (RestartWhen::OnFailure, Duration::from_millis(500)));
    assert_eq!((other.count, paint.stop_grace), (0, Duration::ZERO));
}

#[test]
fn all_that_does_not_fit_in_groups_is_told_at_once() {
    let text = r#"
[fleet]
name = "a b"
[[workers]]
name = "paint"
command = []
comand = "x"
count = 1001
environment = { BATON_URL = "x" }
memory_mebibytes = 3
restart_pause_seconds = 70
[[workers]]
command = ["a", 7]
queues = ["no queue"]
[[workers]]
name = "paint"
command = "true"
restart = "sometimes"
[[workers]]
name = "ok"
command = "true"
[[workers]]
name = "ok"
command = "true"
"#;
    let error = load(text).unwrap_err();
    for part in [
        "fleet.name: expected up to 64 letters, digits or . _ : @ -, or nothing, got \"a b\"",
        "workers.paint.command: expected a program and up to 999 arguments, got none (from the file ",
        "workers.paint.comand: expected one of command, ",
        "the nearest is command",
        "workers.paint.count: expected a whole number of workers from 0 to 1000, got 1001",
        "workers.paint.environment: expected a variable that Baton does not set itself, got \"BATON_URL\"",
        "workers.paint.memory_mebibytes: expected 0, or 16 to 16777216 MiB, got 3",
        "workers.paint.restart_pause_seconds: expected at most longest_pause_seconds, which is 60, got 70",
        "workers[2].name: expected 1 to 48 letters",
        "workers[2].command: expected text in quotes, got 7",
        "workers[2].queues: expected ",
        "workers.paint.restart: expected always, on-failure or never, got \"sometimes\"",
        "workers.ok.name: expected a name that no other one has, got \"ok\"",
    ] {
        assert!(error.contains(part), "{part}\nnot in\n{error}");
    }
    assert_eq!(error.lines().count(), 14, "{error}");
}

#[test]
fn what_is_no_list_of_groups_is_refused() {
    for text in ["workers = 7\n", "[workers]\nname = \"a\"\n"] {
        let error = load(text).unwrap_err();
        assert!(
            error.contains("workers: expected groups of workers, each under a line [[workers]], got"),
            "{error}"
        );
    }
    assert!(load("workers = [7]\n").unwrap_err().contains("workers[1]: expected a section under a line"));
    let error = load("[[worker]]\nname = \"a\"\n").unwrap_err();
    assert!(error.contains("the nearest is workers"), "{error}");
}
