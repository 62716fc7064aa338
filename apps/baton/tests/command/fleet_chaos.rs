//! Many supervised workers whose processes are killed at random: no task is lost, no attempt doubled, no process left.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fleet::{at_work_in, fleet_run, group};
use crate::support::{QUICK, World, alive, until};

/// How long, and with how many workers: `BATON_FLEET_CHAOS_SECONDS` and `BATON_FLEET_CHAOS_WORKERS` set more.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// Numbers by chance from a seed that is told, so that a run can be repeated as far as a scheduler allows.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Of a supervisor, by the kernel's word: how many KiB it holds for itself (a debug build's program alone fills much of what is resident),
/// and how many of its children have ended and not been waited for.
fn own_kibibytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

fn zombies_of(process: u32) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let is_one = |stat: &String| {
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.first() == Some(&"Z") && fields.get(1) == Some(&process.to_string().as_str())
    };
    stats.filter(is_one).count()
}

#[test]
fn random_kills_lose_no_task_double_no_attempt_and_leave_no_process() {
    let workers = setting("BATON_FLEET_CHAOS_WORKERS", 20);
    let seconds = setting("BATON_FLEET_CHAOS_SECONDS", 20);
    let seed = setting("BATON_FLEET_CHAOS_SEED", u64::from(std::process::id()));
    println!("{workers} workers, {seconds} s, seed {seed}");
    let mut chance = Chance(seed);
    let world = World::new(QUICK);
    let more =
        format!("count = {workers}\nlongest_pause_seconds = 1\nmax_restarts = 100000\nhealthy_seconds = 1");
    let script = "echo \"$BATON_TASK_ID $BATON_ATTEMPT\" >> begun; sleep 0.2";
    let mut fleet = fleet_run(&world, &["[fleet]\nname = \"h\"\n", &group("a", script, &more)].concat());
    let lock = |number: u64| world.path(&format!("baton-fleet/h-a-{number}.lock"));
    let process = |number: u64| std::fs::read_to_string(lock(number)).ok()?.trim().parse::<i32>().ok();

    let begun = Instant::now();
    let (mut made, mut kills) = (0usize, 0u32);
    while begun.elapsed() < Duration::from_secs(seconds) {
        if made < 20 * usize::try_from(seconds).unwrap() {
            let body =
                r#"{"tasks": [{"type": "t", "max_attempts": 1000}, {"type": "t", "max_attempts": 1000}]}"#;
            let (status, answer) = world.ask("POST", "/v1/tasks/batch", body);
            assert_eq!(status, 201, "{answer:#}");
            made += 2;
        }
        let number = 1 + chance.below(workers);
        // As many as can come back: one in five rounds.
        if chance.below(5) == 0
            && let Some(process) = process(number).filter(|process| alive(*process))
        {
            let by = if chance.below(4) == 0 { Signal::SIGTERM } else { Signal::SIGKILL };
            // It may just have ended.
            kills += u32::from(kill(Pid::from_raw(process), by).is_ok());
        }
        std::thread::sleep(Duration::from_millis(20 + chance.below(60)));
    }
    let held = own_kibibytes(fleet.0.id());
    let begun = Instant::now();
    loop {
        let (_, stats) = world.get("/v1/stats");
        let completed = stats["states"]["completed"].as_u64().unwrap_or_default();
        if completed == made as u64 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{completed} of {made}: {stats:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let zombies = until("no zombie is left", || (zombies_of(fleet.0.id()) == 0).then_some(0));
    println!("{made} tasks, {kills} kills, the supervisor held {held} KiB");
    assert_eq!(zombies, 0);
    assert!(kills > 10, "{kills}");
    assert!(held < 30 * 1_024, "{held} KiB");

    // Each attempt has begun once.
    let text = std::fs::read_to_string(world.path("begun")).unwrap();
    let attempts: BTreeSet<&str> = text.lines().collect();
    assert_eq!(attempts.len(), text.lines().count(), "an attempt was given twice");
    let tasks: BTreeSet<&str> = attempts.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(tasks.len(), made);

    fleet.signal(Signal::SIGTERM);
    assert!(fleet.wait().success());
    assert_eq!(at_work_in(&world.path("baton-fleet")), Vec::<i32>::new());
}
