//! `baton example`: a server, two workers and a folder of scenes to render; one worker is killed in the middle.

mod fleet;
mod story;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_api::create::CreateTask;
use baton_api::task::TaskDetailView;
use baton_client::Client;
use baton_example_scenes::{BROKEN_SCENE, SCENES, is_half_written};
use baton_model::{Backoff, Payload, State, TaskId};
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::exit::Failure;

use fleet::{Fleet, Killed};

/// The queue that the example's tasks wait in.
const QUEUE: &str = "scenes";
/// How long a worker is held still before it is killed: much longer than a request takes on this machine.
const SETTLE: Duration = Duration::from_millis(200);

/// So many pictures are waited for before a worker is killed.
const BEFORE_THE_KILL: usize = 3;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often the server is asked how things stand.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Args)]
#[command(after_help = "Writes into ./baton-example: the scenes, the pictures, the database, the
logs of server and workers. It can be run again and again, each time on a
fresh database.")]
pub(crate) struct Example {
    /// Render the scenes (*.json) of this folder instead of the built-in ones.
    #[arg(long, value_name = "FOLDER")]
    scenes: Option<PathBuf>,
    /// Where everything is put.
    #[arg(long, value_name = "FOLDER", default_value = "baton-example")]
    dir: PathBuf,
}

/// Where the example's things lie.
pub(crate) struct Places {
    pub(crate) root: PathBuf,
    pub(crate) pictures: PathBuf,
    pub(crate) database: PathBuf,
}

/// One scene, and the task that renders it.
pub(crate) struct Job {
    pub(crate) scene: String,
    pub(crate) picture: PathBuf,
    /// Whether its scene is the broken one, which must fail.
    pub(crate) broken: bool,
    pub(crate) task: TaskId,
}

impl Example {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let begun = Instant::now();
        let out = &context.out;
        let places = Places::new(&self.dir)?;
        if places.start_afresh()? {
            out.note(&format!(
                "{} of an earlier run is removed: each run starts afresh",
                places.database.display()
            ));
        }
        let scenes = self.scenes(&places)?;
        out.note(&format!("1. {} scenes are in {}", scenes.len(), scenes.folder.display()));

        let mut fleet = Fleet::start(&places).await?;
        out.note(&format!(
            "2. a server is up on {}, its tasks are in {}",
            fleet.url(),
            places.database.display()
        ));
        let told = work(context, &mut fleet, &places, &scenes, begun).await;
        let told = told.map_err(|failure| failure.of_own_server(&places.server_log()));
        let ended = fleet.end().await;
        let swept = places.sweep();
        told.and(ended).and(swept)
    }

    fn scenes(&self, places: &Places) -> Result<Scenes, Failure> {
        match &self.scenes {
            Some(folder) => Scenes::of(folder),
            None => Scenes::built_in(&places.root.join("scenes")),
        }
    }
}

/// Creates the tasks, lets the workers do them, kills one, and tells how it went.
async fn work(
    context: &Context,
    fleet: &mut Fleet,
    places: &Places,
    scenes: &Scenes,
    begun: Instant,
) -> Result<(), Failure> {
    let out = &context.out;
    let jobs = create(&fleet.client, scenes, places).await?;
    out.note(&format!("3. {} tasks are created, one for each scene", jobs.len()));
    fleet.hire(places)?;
    out.note("4. two worker processes render them: painter-1 and painter-2");

    let killed = kill_one(fleet, &jobs).await?;
    match &killed {
        Some(killed) => out.note(&format!(
            "5. {} is killed (kill -9) while it renders {}; nobody tells the server",
            killed.worker, killed.scene
        )),
        None => out.note("5. too few tasks to kill a worker over"),
    }
    let ended = all_ended(&fleet.client, &jobs).await?;
    out.note(&format!("6. all tasks have ended, {:.1} s after the start\n", begun.elapsed().as_secs_f64()));

    story::tell(context, &fleet.client, places, &jobs, &ended, killed.as_ref()).await
}

/// Removes a file. The answer is whether there was one.
fn removed(file: &Path) -> Result<bool, Failure> {
    match std::fs::remove_file(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(cannot("remove", file, &error)),
    }
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot {what} {}: {error}", path.display()))
}

impl Places {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let pictures = dir.join("pictures");
        std::fs::create_dir_all(&pictures).map_err(|error| cannot("make the folder", &pictures, &error))?;
        Ok(Self { root: dir.to_owned(), pictures, database: dir.join("baton.db") })
    }

    fn server_log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// Removes the database of an earlier run, which may be of another version, and what that run left half done. The
    /// answer is whether there was a database.
    fn start_afresh(&self) -> Result<bool, Failure> {
        self.sweep()?;
        let beside = |ending: &str| {
            let mut name = self.database.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        // A server that has the database open holds this lock.
        let lock = beside("-lock");
        let held = match File::options().write(true).open(&lock) {
            Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
            Err(_) => false,
        };
        if held {
            return Err(Failure::failed(format!(
                "a server has {} open; end it first, or name another folder with --dir",
                self.database.display()
            )));
        }
        // With --dir, this may be where a server of one's own keeps its tasks.
        if self.database.exists() && !self.root.join(format!("{}.log", fleet::VICTIM)).exists() {
            return Err(Failure::usage(format!(
                "{} is not of an earlier run of the example, and stays as it is; name another folder with --dir",
                self.database.display()
            )));
        }
        let mut found = false;
        for file in [self.database.clone(), beside("-wal"), beside("-shm"), lock] {
            found |= removed(&file)? && file == self.database;
        }
        Ok(found)
    }

    /// Removes the half pictures of renderers that were killed.
    fn sweep(&self) -> Result<(), Failure> {
        let entries = std::fs::read_dir(&self.pictures)
            .map_err(|error| cannot("read the folder", &self.pictures, &error))?;
        for entry in entries.filter_map(Result::ok) {
            if is_half_written(&entry.file_name().to_string_lossy()) {
                removed(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Scene files in a folder.
struct Scenes {
    folder: PathBuf,
    files: Vec<PathBuf>,
}

impl Scenes {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn built_in(folder: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder).map_err(|error| cannot("make the folder", folder, &error))?;
        let mut files = Vec::new();
        for (name, text) in SCENES.iter().chain([&BROKEN_SCENE]) {
            let file = folder.join(name);
            std::fs::write(&file, text).map_err(|error| cannot("write", &file, &error))?;
            files.push(file);
        }
        Ok(Self { folder: folder.to_owned(), files })
    }

    fn of(folder: &Path) -> Result<Self, Failure> {
        let entries = std::fs::read_dir(folder).map_err(|error| cannot("read the folder", folder, &error))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        match files.is_empty() {
            true => Err(Failure::usage(format!("there is no *.json in {}", folder.display()))),
            false => Ok(Self { folder: folder.to_owned(), files }),
        }
    }
}

async fn create(client: &Client, scenes: &Scenes, places: &Places) -> Result<Vec<Job>, Failure> {
    let mut jobs = Vec::new();
    for file in &scenes.files {
        let scene = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let broken = file.file_name().is_some_and(|name| name == BROKEN_SCENE.0);
        let picture = places.pictures.join(format!("{scene}.png"));
        // A picture of an earlier run must not pass for one of this.
        removed(&picture)?;
        let wrong = |problem: baton_model::Expected| Failure::failed(problem.to_string());
        let task = CreateTask {
            queue: Some(QUEUE.parse().map_err(wrong)?),
            params: Some(Payload::from_value(&json!({ "scene": file, "output": picture }))),
            description: Some(format!("Render {scene}")),
            domain: Some("example".parse().map_err(wrong)?),
            assigned_by: Some("baton example".parse().map_err(wrong)?),
            timeout: Some(Duration::from_secs(60)),
            max_attempts: Some(if broken { 2 } else { 3 }),
            backoff: Some(Backoff { base: Duration::from_millis(500), ..Backoff::default() }),
            ..CreateTask::new("render-scene".parse().map_err(wrong)?)
        };
        let created = client.create_task(&task).await?;
        jobs.push(Job { scene, picture, broken, task: created.id });
    }
    Ok(jobs)
}

/// Kills a worker that is in the middle of a task, once some pictures are done.
async fn kill_one(fleet: &mut Fleet, jobs: &[Job]) -> Result<Option<Killed>, Failure> {
    if jobs.len() < BEFORE_THE_KILL + 2 {
        return Ok(None);
    }
    let deadline = Instant::now() + PATIENCE;
    let mut before = None;
    while Instant::now() < deadline {
        let details = look(&fleet.client, jobs).await?;
        let done = details.iter().filter(|detail| detail.task.status.state() == State::Completed).count();
        let held = details.iter().zip(jobs).find_map(|(detail, job)| {
            let lease =
                detail.task.lease.as_ref().filter(|lease| lease.worker_id.as_str() == fleet::VICTIM)?;
            Some((job, detail.task.attempt, lease.worker_id.clone())).filter(|_| !job.broken)
        });
        // Seen twice, it is well under way.
        let now = held.map(|(job, attempt, worker)| {
            (job, Killed { task: job.task, attempt, worker, scene: job.scene.clone() })
        });
        if let Some((_, killed)) = now {
            if done >= BEFORE_THE_KILL && before.as_ref() == Some(&killed) {
                // A completion may be on its way: hold the worker still, and kill it only if none arrives.
                fleet.hold_victim()?;
                sleep(SETTLE).await;
                let detail = fleet.client.task(killed.task).await?;
                if detail.task.lease.is_some() && detail.task.attempt == killed.attempt {
                    fleet.kill_victim().await?;
                    return Ok(Some(killed));
                }
                fleet.let_victim_go()?;
            }
            before = Some(killed);
        }
        sleep(LOOK).await;
    }
    Err(Failure::failed("the workers did not get going; see the logs in the example's folder"))
}

async fn all_ended(client: &Client, jobs: &[Job]) -> Result<Vec<TaskDetailView>, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let details = look(client, jobs).await?;
        if details.iter().all(|detail| detail.task.status.state().is_final()) {
            return Ok(details);
        }
        if Instant::now() >= deadline {
            return Err(Failure::failed("the tasks did not all end; see the logs in the example's folder"));
        }
        sleep(LOOK).await;
    }
}

async fn look(client: &Client, jobs: &[Job]) -> Result<Vec<TaskDetailView>, Failure> {
    let mut details = Vec::new();
    for job in jobs {
        details.push(client.task(job.task).await?);
    }
    Ok(details)
}
