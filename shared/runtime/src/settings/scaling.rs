//! Pools of queues that machines are scaled for.

use std::collections::BTreeSet;

use baton_model::{Expected, GroupName, Money, QueueName, limits};
use baton_scaling::Policy;

use super::read::Reader;

/// Every setting of a pool with its default, as TOML with comments.
pub const SCALING_DEFAULTS: &str = include_str!("../../scaling.toml");

/// The most pools.
const POOLS: usize = 100;
/// The most machines of a pool.
const MACHINES: u32 = 10_000;

pub(super) fn read(reader: &mut Reader<'_>) -> Vec<Policy> {
    let pools = reader.sections("scaling", "pools of queues", (SCALING_DEFAULTS, POOLS), pool);
    // What two pools count or end would be counted or ended twice.
    let (mut queues, mut providers) = (BTreeSet::new(), BTreeSet::new());
    for pool in &pools {
        for queue in &pool.queues {
            if !queues.insert(queue.clone()) {
                let problem = Expected::text("queues that are of one pool each", queue.as_str());
                reader.refuse("scaling", problem);
            }
        }
        if let Some(provider) = pool.provider.clone()
            && !providers.insert(provider.clone())
        {
            reader
                .refuse("scaling", Expected::text("providers that are of one pool each", provider.as_str()));
        }
    }
    pools
}

fn pool(reader: &mut Reader<'_>) -> Option<Policy> {
    let name = reader.text("name", str::parse);
    let queues = reader.list("queues", "a list of queues", str::parse::<QueueName>);
    if let Some(many) = queues.as_ref().map(Vec::len).filter(|many| !(1..=limits::CLAIM_NAMES).contains(many))
    {
        let problem = Expected::new(format!("1 to {} queues", limits::CLAIM_NAMES), many.to_string());
        reader.refuse("queues", problem);
    }
    let provider = reader.text("provider", |text| match text {
        "" => Ok(None),
        name => name.parse::<GroupName>().map(Some),
    });
    let least = reader.whole("least", "machines", 0..=MACHINES);
    let most = reader.whole("most", "machines", 0..=MACHINES);
    if !reader.refused("least") && !reader.refused("most") && least > most {
        reader.refuse("least", Expected::new(format!("at most most, which is {most}"), least.to_string()));
    }
    let tasks_per_machine = reader.whole("tasks_per_machine", "tasks", 1..=limits::WORKER_CAPACITY);
    let idle = reader.seconds("idle_seconds", 0.0..=86_400.0);
    let spawn_timeout = reader.seconds("spawn_timeout_seconds", 10.0..=86_400.0);
    let failure_pause = reader.seconds("failure_pause_seconds", 1.0..=3_600.0);
    let longest_pause = reader.seconds("longest_pause_seconds", 1.0..=86_400.0);
    if !reader.refused("failure_pause_seconds") && failure_pause > longest_pause {
        let expected = format!("at most longest_pause_seconds, which is {}", longest_pause.as_secs_f64());
        reader.refuse(
            "failure_pause_seconds",
            Expected::new(expected, failure_pause.as_secs_f64().to_string()),
        );
    }
    let budget = money(reader, "budget_per_hour");
    let price = money(reader, "price_per_hour");
    if budget > Money::default() && price == Money::default() {
        let expected = "what a new machine costs an hour, as there is a budget_per_hour";
        reader.refuse("price_per_hour", Expected::new(expected, "0"));
    }
    Some(Policy {
        name: name?,
        queues: queues?,
        provider: provider?,
        least,
        most,
        tasks_per_machine,
        idle,
        spawn_timeout,
        failure_pause,
        longest_pause,
        budget_per_hour: (budget > Money::default()).then_some(budget),
        price_per_hour: price,
    })
}

/// An amount, to the billionth.
fn money(reader: &mut Reader<'_>, key: &'static str) -> Money {
    let amount = reader.number(key, "an amount of money", 0.0..=1_000_000.0);
    format!("{amount:.9}").parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Settings, Sources};

    fn load(text: &str) -> Result<Vec<Policy>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baton.toml");
        std::fs::write(&file, text).unwrap();
        let sources = Sources { file: Some(file), ..Sources::default() };
        Settings::load(&sources).map(|settings| settings.scaling).map_err(|error| error.to_string())
    }

    #[test]
    fn pools_are_as_their_settings_say() {
        let text = r#"
[[scaling]]
name = "gpu"
queues = ["images", "thumbs"]
provider = "pods"
most = 5
tasks_per_machine = 2
budget_per_hour = 2.5
price_per_hour = "0.74"
[[scaling]]
name = "cpu"
queues = "mail"
"#;
        let [gpu, cpu] = &load(text).unwrap()[..] else { panic!("two") };
        assert_eq!((gpu.queues.len(), gpu.most, gpu.tasks_per_machine), (2, 5, 2));
        assert_eq!(gpu.budget_per_hour.map(|budget| budget.to_string()), Some("2.50".to_owned()));
        assert_eq!((gpu.price_per_hour.to_string(), gpu.bound().0), ("0.74".to_owned(), 3));
        assert_eq!((cpu.least, cpu.most, cpu.idle), (0, 1, Duration::from_secs(300)));
        assert_eq!((&cpu.provider, cpu.budget_per_hour), (&None, None));
        assert!(load("").unwrap().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let text = "[[scaling]]\nname = \"a\"\nqueues = []\nleast = 3\nbudget_per_hour = 1\nmosst = 1\n\
                    [[scaling]]\nname = \"b\"\nqueues = [\"q\"]\nfailure_pause_seconds = 9\nlongest_pause_seconds = 8\n\
                    tasks_per_machine = 0\n";
        let told = load(text).unwrap_err();
        for part in [
            "scaling.a.queues: expected 1 to 32 queues, got 0",
            "scaling.a.least: expected at most most, which is 1, got 3",
            "scaling.a.price_per_hour: expected what a new machine costs an hour, as there is a budget_per_hour, got 0",
            "scaling.a.mosst: expected one of",
            "scaling.b.failure_pause_seconds: expected at most longest_pause_seconds, which is 8, got 9",
            "scaling.b.tasks_per_machine: expected a whole number of tasks from 1 to 10000, got 0",
        ] {
            assert!(told.contains(part), "{part}\nnot in\n{told}");
        }
        let text = "[[scaling]]\nname = \"a\"\nqueues = [\"q\"]\nprovider = \"p\"\n\
                    [[scaling]]\nname = \"b\"\nqueues = [\"q\"]\nprovider = \"p\"\n";
        let told = load(text).unwrap_err();
        assert!(told.contains("scaling: expected queues that are of one pool each, got \"q\""), "{told}");
        assert!(told.contains("scaling: expected providers that are of one pool each, got \"p\""), "{told}");
    }

    #[test]
    fn the_environment_sets_them_as_json_over_those_of_the_file() {
        let load = |text: &str| {
            let environment = vec![("BATON_SCALING".to_owned(), text.to_owned())];
            let loaded = Settings::load(&Sources { environment, ..Sources::default() });
            loaded.map(|settings| settings.scaling).map_err(|error| error.to_string())
        };
        let pools = r#"[{"name": "gpu", "queues": ["images", "thumbs"], "most": 5, "tasks_per_machine": 2}]"#;
        let pools = load(pools).unwrap();
        assert_eq!((pools[0].name.as_str(), pools[0].most, pools[0].queues.len()), ("gpu", 5, 2));
        assert_eq!(load(" ").unwrap(), []);
        for (text, told) in [
            ("gpu", "scaling: expected pools of queues"),
            (r#"[{"name": "gpu"}]"#, "scaling.gpu.queues"),
            (
                r#"[{"name": "gpu", "queues": ["q"], "most": "many"}]"#,
                "scaling.gpu.most: expected a whole number of machines",
            ),
            (r#"[{"name": "gpu", "queues": ["q"], "mosst": 1}]"#, "scaling.gpu.mosst: expected one of"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
