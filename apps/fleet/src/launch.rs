//! How a worker's process is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use baton_model::WorkerId;
use baton_runtime::settings::WorkerGroup;
use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;

/// What the processes of all groups have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// The program that is a worker if it is given the arguments of `baton worker run`: its file, and what comes before them.
    pub program: Vec<OsString>,
    /// The address of the server.
    pub server: String,
    /// What the names of workers begin with.
    pub name: String,
    /// A file with the token that workers present; none for what the supervisor's environment says.
    pub token_file: Option<PathBuf>,
    /// What they have in their environment besides what the supervisor has.
    pub environment: Vec<(String, String)>,
}

/// As whom a group's workers run.
#[derive(Clone, Debug)]
struct Who {
    user: u32,
    group: u32,
    name: String,
    home: PathBuf,
}

/// How the workers of a group are started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) group: WorkerGroup,
    who: Option<Who>,
}

impl Launch {
    /// Looks up what the settings name.
    ///
    /// # Errors
    /// What does not fit this machine, each with its setting.
    pub(crate) fn of(group: WorkerGroup) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let of = &group.name;
        let who = match group.user.as_deref().map(who) {
            None => None,
            Some(Ok(who)) => who,
            Some(Err(problem)) => {
                wrong.push(format!("workers.{of}.user: {problem}"));
                None
            }
        };
        if let Some(folder) = group.working_directory.as_deref().filter(|folder| !folder.is_dir()) {
            wrong.push(format!(
                "workers.{of}.working_directory: expected a folder that there is, got {:?}",
                folder.display().to_string()
            ));
        }
        if wrong.is_empty() { Ok(Self { group, who }) } else { Err(wrong) }
    }

    /// Whether workers that run as `self` says need not be started anew to be as `other` says.
    pub(crate) fn keeps_processes(&self, other: &Self) -> bool {
        let (old, new) = (&self.group, &other.group);
        // All that the supervisor alone goes by is taken from the new one.
        let kept = WorkerGroup {
            count: new.count,
            restart: new.restart,
            restart_pause: new.restart_pause,
            longest_pause: new.longest_pause,
            healthy_after: new.healthy_after,
            max_restarts: new.max_restarts,
            restart_window: new.restart_window,
            recycle_tasks: new.recycle_tasks,
            recycle_after: new.recycle_after,
            recycle_bytes: new.recycle_bytes,
            ..old.clone()
        };
        kept == *new
    }

    /// The command of one worker, whose name's lock is this file.
    pub(crate) fn command(&self, common: &Common, worker: &WorkerId, lock: &Path) -> Command {
        let group = &self.group;
        let (program, before) =
            common.program.split_first().map_or((None, &[][..]), |(first, rest)| (Some(first), rest));
        let mut command = Command::new(program.map_or("baton".as_ref(), OsString::as_os_str));
        command.args(before).args(["worker", "run", "--id", worker.as_str()]);
        command.args(["--concurrency", &group.concurrency.to_string()]);
        for queue in &group.queues {
            command.args(["--queue", queue.as_str()]);
        }
        for of_type in &group.types {
            command.args(["--type", of_type.as_str()]);
        }
        command.arg("--supervised").arg(lock);
        command.args(["--beat-seconds", &group.health_interval.as_secs_f64().to_string()]);
        command.args(["--stop-grace-seconds", &group.stop_grace.as_secs_f64().to_string()]);
        command.arg("--").args(&group.command);
        command.env("BATON_URL", &common.server).envs(common.environment.iter().cloned());
        if let Some(file) = &common.token_file {
            command.env_remove("BATON_TOKEN").env("BATON_TOKEN_FILE", file);
        }
        if let Some(folder) = &group.working_directory {
            command.current_dir(folder);
        }
        if let Some(Who { user, group, name, home }) = &self.who {
            command.uid(*user).gid(*group).env("HOME", home).env("USER", name).env("LOGNAME", name);
        }
        command.envs(&group.environment);
        // A group of its own, so that what a terminal tells the supervisor (Ctrl-C) does not reach the workers past it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Who a user is; none if it is who this process is anyway.
fn who(user: &str) -> Result<Option<Who>, String> {
    let found = match user.parse::<u32>() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(user),
    };
    let found = found.map_err(|error| format!("{user:?} cannot be looked up: {error}"))?;
    let found =
        found.ok_or_else(|| format!("expected a user of this machine by name or number, got {user:?}"))?;
    if found.uid == geteuid() {
        return Ok(None);
    }
    if !geteuid().is_root() {
        return Err(format!(
            "expected this program's own user, as only root may start programs as another, got {user:?}"
        ));
    }
    let (user, group) = (found.uid.as_raw(), found.gid.as_raw());
    Ok(Some(Who { user, group, name: found.name, home: found.dir }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use baton_runtime::{Settings, Sources};

    use super::*;

    fn groups(text: &str) -> Vec<WorkerGroup> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baton.toml");
        std::fs::write(&file, text).unwrap();
        Settings::load(&Sources { file: Some(file), ..Sources::default() }).unwrap().workers
    }

    fn group(more: &str) -> Launch {
        let text = format!("[[workers]]\nname = \"g\"\ncommand = [\"./a\", \"--b\"]\n{more}\n");
        Launch::of(groups(&text).remove(0)).unwrap()
    }

    #[test]
    fn a_worker_is_started_as_its_group_says() {
        let launch = group(
            "queues = [\"x\", \"y\"]\nconcurrency = 3\nenvironment = { A = \"b\" }\nworking_directory = \"/\"",
        );
        let common = Common {
            program: vec!["/bin/baton".into()],
            server: "http://127.0.0.1:1".to_owned(),
            name: "h".to_owned(),
            token_file: Some("/t".into()),
            environment: vec![("BATON_LOG_FORMAT".to_owned(), "json".to_owned())],
        };
        let command = launch.command(&common, &"h-g-1".parse().unwrap(), Path::new("/l"));
        let command = command.as_std();
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_str().unwrap()).collect();
        let expected = "worker run --id h-g-1 --concurrency 3 --queue x --queue y --supervised /l --beat-seconds 5 \
                        --stop-grace-seconds 30 -- ./a --b";
        assert_eq!(arguments.join(" "), expected);
        let variables: BTreeMap<_, _> = command
            .get_envs()
            .map(|(name, value)| (name.to_str().unwrap(), value.and_then(|value| value.to_str())))
            .collect();
        assert_eq!(variables["BATON_URL"], Some("http://127.0.0.1:1"));
        assert_eq!((variables["BATON_TOKEN"], variables["BATON_TOKEN_FILE"]), (None, Some("/t")));
        assert_eq!((variables["A"], variables["BATON_LOG_FORMAT"]), (Some("b"), Some("json")));
        assert_eq!(command.get_current_dir(), Some(Path::new("/")));
    }

    #[test]
    fn only_what_a_process_was_started_with_needs_another_start() {
        let old = group("");
        for kept in [
            "count = 7",
            "restart = \"never\"",
            "max_restarts = 1",
            "recycle_tasks = 5",
            "healthy_seconds = 9",
        ] {
            assert!(old.keeps_processes(&group(kept)), "{kept}");
        }
        for anew in [
            "concurrency = 2",
            "queues = \"q\"",
            "environment = { A = \"b\" }",
            "cpus = 2",
            "stop_grace_seconds = 1",
        ] {
            assert!(!old.keeps_processes(&group(anew)), "{anew}");
        }
    }

    #[test]
    fn what_this_machine_does_not_have_is_told_by_its_setting() {
        let text = "[[workers]]\nname = \"g\"\ncommand = \"a\"\nuser = \"no-such-user\"\nworking_directory = \"/no/such\"\n";
        let wrong = Launch::of(groups(text).remove(0)).unwrap_err();
        assert!(wrong[0].starts_with("workers.g.user: expected a user of this machine"), "{wrong:?}");
        assert!(
            wrong[1].starts_with(
                "workers.g.working_directory: expected a folder that there is, got \"/no/such\""
            )
        );
    }
}
