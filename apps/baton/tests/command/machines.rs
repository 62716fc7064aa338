//! Machines that are paid for: listed and judged by the workers that the server knows, and ended by their provider.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{World, program, stderr, stdout, until};

/// A server, and a provider whose machines a file has, and which notes whom it ended.
struct Rack {
    world: World,
    config: PathBuf,
}

impl Rack {
    fn new() -> Self {
        let world = World::with_file("baton.toml", "[leases]\nheartbeat_interval_seconds = 0.2\n");
        let script = |name: &str, text: &str| {
            let path = world.path(name);
            program(&path, &format!("#!/bin/sh\ncd \"$(dirname \"$0\")\"\n{text}\n"));
            path.display().to_string()
        };
        let list = script("list.sh", "cat machines");
        let end = script("end.sh", "printf '%s\\n' \"$1\" >> ended");
        let config = world.path("machines.toml");
        let text = format!(
            "[[machines]]\nname = \"rack\"\nlist = [{list:?}]\nterminate = [{end:?}, \"{{id}}\"]\nnames = [\"gpu-*\"]\n"
        );
        std::fs::write(&config, text).unwrap();
        let rack = Self { world, config };
        rack.has(
            r#"{"id":"a","name":"gpu-a","price_per_hour":0.74,"started_at":"2026-01-01T00:00:00Z"}
               {"id":"b","name":"gpu-b","price_per_hour":0.5,"started_at":"2026-01-01T00:00:00Z"}
               {"id":"c","name":"gpu-c","price_per_hour":0.25}
               {"id":"d","name":"somebody else's","price_per_hour":100}"#,
        );
        rack
    }

    fn has(&self, machines: &str) {
        std::fs::write(self.world.path("machines"), machines).unwrap();
    }

    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["machines"];
        all.extend_from_slice(arguments);
        all.extend(["--config", self.config.to_str().unwrap()]);
        all
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.world.json(&self.with(arguments))["providers"][0].clone()
    }

    fn ended(&self) -> String {
        std::fs::read_to_string(self.world.path("ended")).unwrap_or_default()
    }
}

fn ids(told: &Value) -> Vec<&str> {
    told["machines"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[test]
fn machines_without_a_live_worker_are_told_with_what_they_cost_and_ended() {
    let rack = Rack::new();
    let worker = rack.world.worker_named("w1", &["--machine", "b"], "sleep 60");
    until("the worker is known", || {
        (rack.json(&["list"])["machines"].as_array().unwrap().iter())
            .any(|one| one["is"] == "used")
            .then_some(())
    });
    let all = rack.json(&["list"]);
    assert_eq!(ids(&all), ["a", "c", "b"], "those first that cost most in vain: {all:#}");
    assert_eq!((&all["machines"][2]["workers"][0], &all["paid"]["per_hour"]), (&"w1".into(), &"1.49".into()));
    let orphans = rack.json(&["orphans"]);
    assert_eq!(ids(&orphans), ["a", "c"]);
    let costs = &orphans["orphans"];
    assert_eq!(
        (&costs["per_hour"], &costs["per_day"], &costs["per_month"]),
        (&"0.99".into(), &"23.76".into(), &"712.80".into())
    );
    let told = stdout(&rack.world.run(&rack.with(&["list"]), 0));
    assert!(
        told.contains("rack: 3 machines cost 1.49 an hour, 35.76 a day, 1072.80 a month of 30 days"),
        "{told}"
    );
    assert!(told.contains("nobody, since nobody knows when") && !told.contains("somebody else's"), "{told}");

    // Nobody is there to say so.
    let asked = stderr(&rack.world.run(&rack.with(&["terminate", "--orphans"]), 2));
    assert!(
        asked.contains("end 1 machine(s) for good, with all that lies on them: a (gpu-a)?")
            && asked.contains("add --yes"),
        "{asked}"
    );
    let used = stderr(&rack.world.run(&rack.with(&["terminate", "gpu-b", "--yes"]), 4));
    assert!(used.contains("gpu-b is used by w1") && used.contains("baton worker drain"), "{used}");
    rack.world.run(&rack.with(&["terminate", "nowhere", "--yes"]), 3);
    assert_eq!(rack.ended(), "");
    rack.world.run(&rack.with(&["terminate", "--orphans", "--yes"]), 0);
    assert_eq!(rack.ended(), "a\n", "of c it is not known when it was started");
    rack.world.run(&rack.with(&["terminate", "c", "--yes"]), 0);
    rack.world.run(&rack.with(&["terminate", "b", "--force", "--yes"]), 0);
    assert_eq!(rack.ended(), "a\nc\nb\n");
    drop(worker);
}

#[test]
fn what_is_wrong_with_a_provider_is_told_and_nothing_is_ended() {
    let rack = Rack::new();
    rack.has("{\"id\":\"a\",\"name\":\"gpu-a\"}");
    let told = stderr(&rack.world.run(&rack.with(&["list"]), 1));
    assert!(told.contains("rack: line 1, price_per_hour: expected a price an hour"), "{told}");
    let told = stderr(&rack.world.run(&rack.with(&["terminate", "a", "--yes"]), 1));
    assert!(told.contains("nothing was done"), "{told}");
    assert_eq!(rack.ended(), "");
    let told = stderr(&rack.world.run(&rack.with(&["list", "--provider", "other"]), 2));
    assert!(told.contains("--provider: expected one of rack, got other"), "{told}");
    let none = stderr(&rack.world.run(&["machines", "list"], 2));
    assert!(none.contains("expected a section [[machines]] in the settings, got none"), "{none}");
    std::fs::write(rack.world.path("pods.toml"), "[[machines]]\nname = \"pods\"\nprovider = \"runpod\"\n")
        .unwrap();
    let config = rack.world.path("pods.toml");
    let told = stderr(&rack.world.run(&["machines", "list", "--config", config.to_str().unwrap()], 2));
    assert!(
        told.contains("machines.pods: expected the account's key in key_file or RUNPOD_API_KEY, got none"),
        "{told}"
    );
}
