//! Groups of workers that a supervisor starts, and how it does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use baton_model::{Expected, GroupName, QueueName, TaskType, limits};
use config::{Map, Value, ValueKind};

use super::SettingError;
use super::layers::parse_toml;
use super::read::{Reader, describe};

/// Every setting of a group with its default, as TOML with comments.
pub const GROUP_DEFAULTS: &str = include_str!("../../workers.toml");

/// The most groups.
const GROUPS: usize = 100;
/// The most words of a command, and variables of an environment.
const WORDS: usize = 1_000;
const VARIABLES: usize = 200;
/// The most bytes of one of them.
const WORD_BYTES: usize = 32 * 1024;
/// What Baton itself sets for workers and their commands.
const OWN_VARIABLES: [&str; 8] = [
    "BATON_URL",
    "BATON_TASK_ID",
    "BATON_TASK_TYPE",
    "BATON_QUEUE",
    "BATON_ATTEMPT",
    "BATON_WORKER_ID",
    "BATON_SESSION_ID",
    "BATON_PARAMS",
];

/// How workers are supervised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetSettings {
    /// Whether a server starts the groups with itself.
    pub with_server: bool,
    /// What the names of workers begin with; none for the host's name.
    pub name: Option<String>,
    /// The folder of the locks of their names; none for one beside the store, or where the program runs.
    pub folder: Option<PathBuf>,
    /// The file with the token that they present; none for that of the environment.
    pub token_file: Option<PathBuf>,
}

/// Workers that are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerGroup {
    /// Its name.
    pub name: GroupName,
    /// The program to run for each task, and its arguments.
    pub command: Vec<String>,
    /// The queues to take from.
    pub queues: Vec<QueueName>,
    /// The types to take; all if empty.
    pub types: Vec<TaskType>,
    /// How many tasks each runs at once.
    pub concurrency: u32,
    /// How many there are.
    pub count: u32,
    /// What they have in their environment besides.
    pub environment: BTreeMap<String, String>,
    /// Where they run; none for where the supervisor does.
    pub working_directory: Option<PathBuf>,
    /// As whom they run, by name or number; none for who the supervisor is.
    pub user: Option<String>,
    /// The most bytes of memory of a worker and its commands.
    pub memory_bytes: Option<u64>,
    /// The most processors of a worker and its commands.
    pub cpus: Option<f64>,
    /// When one that ends by itself is started again.
    pub restart: RestartWhen,
    /// The first pause before that.
    pub restart_pause: Duration,
    /// The longest such pause.
    pub longest_pause: Duration,
    /// How long one must live for its pauses to begin anew.
    pub healthy_after: Duration,
    /// How often one may be started again within the window.
    pub max_restarts: u32,
    /// The window.
    pub restart_window: Duration,
    /// After how many tasks another start takes its place.
    pub recycle_tasks: Option<u64>,
    /// After how long.
    pub recycle_after: Option<Duration>,
    /// With how many bytes in its memory.
    pub recycle_bytes: Option<u64>,
    /// How often it tells that it lives.
    pub health_interval: Duration,
    /// How long one that is to end may finish what it runs.
    pub stop_grace: Duration,
}

/// When a worker that ends by itself is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartWhen {
    /// However it ended.
    Always,
    /// If it did not exit with 0.
    OnFailure,
    /// Never.
    Never,
}

/// The sections of `[fleet]` and `[[workers]]`.
pub(super) fn read(reader: &mut Reader<'_>) -> (FleetSettings, Vec<WorkerGroup>) {
    let text = |text: &str| Ok(Some(text.to_owned()).filter(|text| !text.is_empty()));
    let path = |text: &str| Ok(Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty()));
    let fleet = FleetSettings {
        with_server: reader.flag("fleet.with_server"),
        name: reader.text("fleet.name", text).flatten(),
        folder: reader.text("fleet.directory", path).flatten(),
        token_file: reader.text("fleet.token_file", path).flatten(),
    };
    // What a worker's name may hold, with the group's and a number behind it.
    let fits =
        |name: &String| name.len() <= 64 && format!("{name}-x-1").parse::<baton_model::WorkerId>().is_ok();
    if let Some(name) = fleet.name.as_ref().filter(|name| !fits(name)) {
        let problem = Expected::text("up to 64 letters, digits or . _ : @ -, or nothing", name);
        reader.refuse("fleet.name", problem);
    }
    (fleet, groups(reader))
}

fn groups(reader: &mut Reader<'_>) -> Vec<WorkerGroup> {
    let Some(elements) = reader.elements("workers", "groups of workers, each under a line [[workers]]")
    else {
        return Vec::new();
    };
    // The built-in file is read by a test, too.
    let defaults = parse_toml("the defaults", GROUP_DEFAULTS).map(|layer| layer.values());
    let defaults = defaults.unwrap_or_default();
    let mut groups = Vec::new();
    let mut names = BTreeSet::new();
    let mut errors = Vec::new();
    if elements.len() > GROUPS {
        let problem = Expected::new(format!("at most {GROUPS} groups"), elements.len().to_string());
        reader.refuse("workers", problem);
    }
    for (at, element) in elements.iter().take(GROUPS).enumerate() {
        let place = format!("workers[{}]", at + 1);
        let origin = element.origin().map(str::to_owned);
        let ValueKind::Table(table) = &element.kind else {
            let problem = Expected::new("a group under a line [[workers]]", describe(&element.kind));
            errors.push(SettingError { key: place, problem, origin });
            continue;
        };
        let merged = Value::new(None, ValueKind::Table(over(&defaults, table)));
        let named = match table.get("name").map(|name| &name.kind) {
            Some(ValueKind::String(name)) => name.parse::<GroupName>().ok(),
            _ => None,
        };
        let prefix = named.as_ref().map_or(place, |name| format!("workers.{name}"));
        let mut reader = Reader::within(&merged, format!("{prefix}."));
        let group = group(&mut reader);
        if let Some(name) = named.filter(|name| !names.insert(name.clone())) {
            reader.refuse("name", Expected::text("a name that no other group has", name.as_str()));
        }
        let wrong = reader.finish();
        groups.extend(group.filter(|_| wrong.is_empty()));
        errors.extend(wrong);
    }
    reader.absorb(errors);
    groups
}

fn over(defaults: &Map<String, Value>, table: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = defaults.clone();
    merged.extend(table.iter().map(|(key, value)| (key.clone(), value.clone())));
    merged
}

fn group(reader: &mut Reader<'_>) -> Option<WorkerGroup> {
    let name = reader.text("name", str::parse);
    let command =
        reader.list("command", "a program and its arguments, such as [\"./resize.sh\", \"--fast\"]", word);
    if let Some(command) = &command
        && (command.is_empty() || command.len() > WORDS || command[0].is_empty())
    {
        let got = if command.len() > WORDS { format!("{} words", command.len()) } else { "none".to_owned() };
        let problem = Expected::new(format!("a program and up to {} arguments", WORDS - 1), got);
        reader.refuse("command", problem);
    }
    let queues = reader.list("queues", "a list of queues", str::parse::<QueueName>);
    let types = reader.list("types", "a list of types of tasks", str::parse::<TaskType>);
    for (key, many) in [("queues", queues.as_ref().map(Vec::len)), ("types", types.as_ref().map(Vec::len))] {
        if let Some(many) = many.filter(|many| *many > limits::CLAIM_NAMES) {
            let problem = Expected::new(format!("at most {}", limits::CLAIM_NAMES), many.to_string());
            reader.refuse(key, problem);
        }
    }
    let environment = reader.pairs("environment", VARIABLES, variable);
    let path = |text: &str| Ok(Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty()));
    let working_directory = reader.text("working_directory", path);
    let user = reader.text("user", |text| Ok(Some(text.to_owned()).filter(|text| !text.is_empty())));
    let restart = reader.text("restart", |text| match text {
        "always" => Ok(RestartWhen::Always),
        "on-failure" => Ok(RestartWhen::OnFailure),
        "never" => Ok(RestartWhen::Never),
        other => Err(Expected::text("always, on-failure or never", other)),
    });
    let restart_pause = reader.seconds("restart_pause_seconds", 0.1..=3_600.0);
    let longest_pause = reader.seconds("longest_pause_seconds", 1.0..=86_400.0);
    if !reader.refused("restart_pause_seconds") && restart_pause > longest_pause {
        let most = longest_pause.as_secs_f64();
        let problem = Expected::new(
            format!("at most longest_pause_seconds, which is {most}"),
            restart_pause.as_secs_f64().to_string(),
        );
        reader.refuse("restart_pause_seconds", problem);
    }
    let memory = reader.whole("memory_mebibytes", "MiB", 0..=16 << 20);
    if (1..16).contains(&memory) {
        reader.refuse("memory_mebibytes", Expected::new("0, or 16 to 16777216 MiB", memory.to_string()));
    }
    let cpus = reader.number("cpus", "processors", 0.0..=4_096.0);
    if cpus > 0.0 && cpus < 0.01 {
        reader.refuse("cpus", Expected::new("0, or 0.01 to 4096 processors", cpus.to_string()));
    }
    let mebibytes = |many: u32| (many > 0).then(|| u64::from(many) << 20);
    let recycle_hours = reader.number("recycle_hours", "hours", 0.0..=8_760.0);
    let recycle_tasks = reader.whole("recycle_tasks", "tasks", 0..=1_000_000_000);
    let recycle_mebibytes = reader.whole("recycle_mebibytes", "MiB", 0..=16 << 20);
    let concurrency = reader.whole("concurrency", "tasks", 1..=limits::WORKER_CAPACITY);
    let count = reader.whole("count", "workers", 0..=limits::GROUP_WORKERS);
    let healthy_after = reader.seconds("healthy_seconds", 1.0..=86_400.0);
    let max_restarts = reader.whole("max_restarts", "restarts", 0..=100_000);
    let restart_window = reader.seconds("restart_window_seconds", 1.0..=604_800.0);
    let health_interval = reader.seconds("health_seconds", 0.1..=600.0);
    let stop_grace = reader.seconds("stop_grace_seconds", 0.0..=86_400.0);
    Some(WorkerGroup {
        name: name?,
        command: command?,
        queues: queues?,
        types: types?,
        concurrency,
        count,
        environment: environment?,
        working_directory: working_directory?,
        user: user?,
        memory_bytes: mebibytes(memory),
        cpus: (cpus > 0.0).then_some(cpus),
        restart: restart?,
        restart_pause,
        longest_pause,
        healthy_after,
        max_restarts,
        restart_window,
        recycle_tasks: (recycle_tasks > 0).then_some(u64::from(recycle_tasks)),
        recycle_after: (recycle_hours > 0.0).then(|| Duration::from_secs_f64(recycle_hours * 3_600.0)),
        recycle_bytes: mebibytes(recycle_mebibytes),
        health_interval,
        stop_grace,
    })
}

/// What the system can hand to a program.
fn word(text: &str) -> Result<String, Expected> {
    if text.len() > WORD_BYTES || text.contains('\0') {
        return Err(Expected::text("up to 32 KiB without a zero byte", text));
    }
    Ok(text.to_owned())
}

fn variable(name: &str, value: &str) -> Result<(), Expected> {
    if name.is_empty() || name.contains(['=', '\0']) || name.len() > 200 {
        return Err(Expected::text("the name of a variable, without =", name));
    }
    if OWN_VARIABLES.contains(&name) {
        return Err(Expected::text("a variable that Baton does not set itself", name));
    }
    word(value).map(drop)
}

#[cfg(test)]
mod tests;
