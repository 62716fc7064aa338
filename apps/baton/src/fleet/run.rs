//! `baton fleet run`.

use std::path::PathBuf;

use baton_runtime::telemetry;
use clap::Args;

use super::supervise::{Reload, start};
use crate::context::Context;
use crate::exit::Failure;
use crate::layers::{load, tell_passed_over};
use crate::signals::{Asked, Signals};

#[derive(Args)]
#[command(after_help = "Examples:
  baton fleet run --config workers.toml
  baton --server https://baton.example.org --token-file t fleet run

A group of workers in the file of settings:
  [[workers]]
  name = \"resize\"
  command = [\"./resize.sh\", \"--fast\"]
  queues = [\"images\"]
  count = 4
Each worker is a process that does as `baton worker run`. One that ends by
itself is started again, after pauses that grow; one that is silent is ended
and replaced. docs/fleet.md has all that a group may say.

SIGTERM or Ctrl-C: the workers finish what they run, and end; once more: they
give it back, and end. SIGHUP: reads the settings again, and touches only
groups that are otherwise than before.")]
pub(crate) struct Run {
    /// A file of settings; else that of BATON_CONFIG, or baton.toml in the working directory.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Run {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let settings = load(self.config.clone(), [])?;
        if settings.workers.is_empty() {
            let place = settings.file.as_ref().map_or_else(
                || "a file of settings, which --config names".to_owned(),
                |file| format!("the file {}", file.display()),
            );
            return Err(Failure::usage(format!(
                "expected at least one group of workers, [[workers]] in {place}, got none"
            )));
        }
        // Workers would ask the same again and again.
        context.token()?;
        let logs = telemetry::start(&settings.log).map_err(|error| Failure::failed(error.to_string()))?;
        tell_passed_over(&settings);
        let mut signals = Signals::listen()?;
        let fleet =
            start(&settings, context.server.clone(), context.token_file(), "baton-fleet".into(), &logs)?;
        let groups: Vec<&str> = settings.workers.iter().map(|group| group.name.as_str()).collect();
        if context.out.is_json() {
            let ready =
                serde_json::json!({ "pid": std::process::id(), "server": context.server, "groups": groups });
            context.out.json_line(&ready)?;
        } else {
            context.out.note(&format!("baton runs workers for {}: {}", context.server, groups.join(", ")));
        }
        let reload = Reload { file: self.config, flags: Vec::new() };
        let mut draining = false;
        loop {
            tokio::select! {
                () = fleet.ended() => break,
                asked = signals.next() => match asked {
                    Asked::HangUp if !draining => reload.run(&fleet).await,
                    Asked::HangUp => {}
                    Asked::Terminate | Asked::Interrupt if draining => fleet.hasten(),
                    Asked::Terminate | Asked::Interrupt => {
                        tracing::info!("the workers finish what they run, and end; once more to have them give it back");
                        draining = true;
                        fleet.drain();
                    }
                },
            }
        }
        drop(logs);
        Ok(())
    }
}
