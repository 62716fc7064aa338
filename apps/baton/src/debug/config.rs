//! `baton debug config`.

use std::path::PathBuf;

use baton_runtime::settings::Explained;
use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::exit::Failure;
use crate::layers;
use crate::out::{Column, Rows};

#[derive(Args)]
pub(crate) struct Config {
    /// What each setting does, too.
    #[arg(long)]
    explain: bool,
    /// Only those that are not as by default.
    #[arg(long)]
    changed: bool,
    /// The file of settings; else that of BATON_CONFIG, or baton.toml in the working directory.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Config {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let mut settings = layers::load(self.config, [])?.explain();
        settings.retain(|one| !self.changed || one.origin.is_some());
        if context.out.is_json() {
            let items: Vec<_> = settings.iter().map(|one| document(one, self.explain)).collect();
            return context.out.json(&json!({ "items": items }));
        }
        if self.explain {
            return settings.iter().try_for_each(|one| {
                context.out.line(&format!("{} = {}  ({})", one.key, one.value, origin(one)))?;
                context.out.lines(&format!("    {}", one.what), 4)?;
                match one.running {
                    true => context.out.line(RUNNING),
                    false => Ok(()),
                }
            });
        }
        let mut rows =
            Rows::of(&[Column::new("SETTING"), Column::new("VALUE").cut(), Column::new("FROM").cut()]);
        for one in &settings {
            rows.add(vec![one.key.clone(), one.value.clone(), origin(one).to_owned()]);
        }
        context.out.table(rows, "every setting is as by default")
    }
}

/// What is told of each that may change while servers run.
const RUNNING: &str = "    May change while servers run, where nothing here sets it: baton config";

fn document(one: &Explained, explain: bool) -> serde_json::Value {
    let mut document =
        json!({"key": one.key, "value": one.value, "from": origin(one), "running": one.running});
    if explain {
        document["what"] = json!(one.what);
    }
    document
}

fn origin(one: &Explained) -> &str {
    one.origin.as_deref().unwrap_or("the default")
}
