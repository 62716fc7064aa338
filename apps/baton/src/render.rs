//! `baton render-scene`: the command that the example's workers run, and a model of one of your own: the task comes in
//! on stdin, progress and result go out on stdout.

use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use baton_example_scenes::Scene;
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::exit::Failure;
use crate::text;

#[derive(Args)]
pub(crate) struct RenderScene {
    /// Rests this long after each twentieth of the picture, so that there is something to watch.
    #[arg(long, value_name = "SPAN", default_value = "0ms", value_parser = text::parse_span)]
    pace: Duration,
}

#[derive(Deserialize)]
struct Task {
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    scene: PathBuf,
    output: PathBuf,
}

impl RenderScene {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(|error| Failure::failed(error.to_string()))?;
        let task: Task = serde_json::from_str(&line).map_err(|error| {
            Failure::failed(format!("expected a task with params.scene and params.output on stdin: {error}"))
        })?;
        let Params { scene, output } = task.params;
        let text = std::fs::read_to_string(&scene)
            .map_err(|error| Failure::failed(format!("cannot read {}: {error}", scene.display())))?;
        let parsed =
            Scene::parse(&text).map_err(|error| Failure::failed(format!("{}: {error}", scene.display())))?;
        let image = baton_example_scenes::render(&parsed, |share| {
            say(&json!({ "progress": share, "message": format!("rendering {}", parsed.name()) }));
            std::thread::sleep(self.pace);
        });
        image.write_png(&output).map_err(|error| Failure::failed(error.to_string()))?;
        say(&json!({
            "location": output,
            "kind": "image/png",
            "metadata": { "width": image.width, "height": image.height, "luminance": image.mean_luminance() },
        }));
        Ok(())
    }
}

/// Says one thing to the worker.
fn say(what: &serde_json::Value) {
    // A worker that no longer listens is about to end this program.
    let _ = writeln!(io::stdout().lock(), "::baton {what}");
}
