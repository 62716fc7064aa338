//! `baton debug config`.

use std::path::PathBuf;
use std::time::Duration;

use baton_model::{StoredSetting, StoredSettings};
use baton_runtime::settings::{Explained, PassedOver};
use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::exit::Failure;
use crate::layers;
use crate::out::{Column, Rows};

/// How long the server may take to tell what the store keeps.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Args)]
#[command(
    after_help = "Values are those that a server with this file, this environment and its store would go
by: flags win over the environment, that over the file, that over what the store keeps
(`baton config set`), that over the defaults. What the store keeps is asked of the server
that --server names; where it cannot be asked, that is said, and the rest is told."
)]
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
    /// Without what the store keeps: no server is asked.
    #[arg(long)]
    local: bool,
}

impl Config {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let here = layers::load(self.config, [])?;
        let nothing = (StoredSettings::default(), Vec::new());
        let (store, (stored, mut passed_over)) = match self.local {
            true => (json!("not asked"), nothing),
            false => match kept(context).await {
                Ok(kept) => (json!("asked"), kept),
                Err(why) => {
                    context.out.note(&format!("what the store keeps is not told here: {why}"));
                    (json!(why), nothing)
                }
            },
        };
        let (whole, over) = here.with_stored(&stored);
        passed_over.extend(over);
        let mut settings = whole.explain();
        let note = |one: &Explained| whole.not_in_force(&one.key, stored.values.get(&one.key)?);
        settings.retain(|one| !self.changed || one.origin.is_some() || note(one).is_some());
        if context.out.is_json() {
            let item = |one: &Explained| {
                let mut document = document(one, self.explain);
                if let Some(kept) = stored.values.get(&one.key) {
                    document["stored"] = json!(kept);
                    document["not_in_force"] = json!(note(one));
                }
                document
            };
            let items: Vec<_> = settings.iter().map(item).collect();
            let over =
                |PassedOver { key, value, why }: &PassedOver| json!({"key": key, "value": value, "why": why});
            let over: Vec<_> = passed_over.iter().map(over).collect();
            return context.out.json(&json!({ "items": items, "store": store, "passed_over": over }));
        }
        for PassedOver { key, value, why } in &passed_over {
            context.out.note(&format!("the store keeps {key} = {value}, which is passed over: {why}"));
        }
        if self.explain {
            return settings.iter().try_for_each(|one| {
                context.out.line(&format!("{} = {}  ({})", one.key, one.value, origin(one)))?;
                context.out.lines(&format!("    {}", one.what), 4)?;
                if let Some(reason) = stored.values.get(&one.key).and_then(|kept| kept.reason.as_ref()) {
                    context.out.lines(&format!("    Set in the store: {reason}"), 4)?;
                }
                if let Some(note) = note(one) {
                    context.out.lines(&format!("    {note}"), 4)?;
                }
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

/// What the store keeps, by the word of the server that is asked. Why it cannot be asked, a token that cannot be read among it, is told
/// beside what this machine sets, which is looked for when something is wrong.
async fn kept(context: &Context) -> Result<(StoredSettings, Vec<PassedOver>), String> {
    let client = context.client_builder().and_then(|client| Ok(client.deadline(Duration::ZERO).build()?));
    let client = client.map_err(|failure| match failure {
        Failure::Request(error) => error.to_string(),
        Failure::Usage(why) | Failure::Failed(why) => why,
        other => format!("{other:?}"),
    })?;
    let told = tokio::time::timeout(PATIENCE, client.config()).await;
    let told = told.map_err(|_| format!("{} has not answered within 2 s", context.server))?;
    let told = told.map_err(|error| error.to_string())?;
    let mut stored = StoredSettings { version: told.version, ..StoredSettings::default() };
    let kept = told.items.into_iter().filter_map(|one| Some((one.key, one.stored?)));
    stored.values.extend(kept.map(|(key, one)| {
        let (set_at, set_by, reason) = (one.set_at, one.set_by, one.reason);
        (key, StoredSetting { value: one.value, set_at, set_by, reason })
    }));
    let over = told.passed_over.into_iter();
    let over = over.map(|one| PassedOver { key: one.key, value: one.value, why: one.why });
    Ok((stored, over.collect()))
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
