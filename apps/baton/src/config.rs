//! `baton config`.

use baton_api::config::{ConfigView, PastSettingView, SetSetting, SettingChangeView, SettingView};
use baton_api::manage::ActionRequest;
use baton_client::Client;
use baton_model::Label;
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::when::Times;

#[derive(Subcommand)]
pub(crate) enum Config {
    /// The settings that may change while servers run, and which layer sets each.
    List(List),
    /// One of them, with its latest changes.
    Get(Get),
    /// Set one: the server goes by it at once, all others of its store within 5 seconds.
    Set(Set),
    /// Unset one: what is under it holds again.
    Unset(Unset),
}

#[derive(Args)]
#[command(after_help = "Examples:
  baton config list
  baton config list --explain
  baton config list --changed -o json

Layers, a later one wins: default, store (`baton config set`), file, environment,
flag. They are those of the server that answers. `baton debug config` tells all
settings of this machine's file and environment, without a server.")]
pub(crate) struct List {
    /// What each does, what it may be and its default, too.
    #[arg(long)]
    explain: bool,
    /// Only those that are not as by default.
    #[arg(long)]
    changed: bool,
}

#[derive(Args)]
pub(crate) struct Get {
    /// Its key, such as log.level.
    key: String,
    /// What it does, what it may be and its default, too.
    #[arg(long)]
    explain: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:
  baton config set log.level info,baton_http=debug
  baton config set retention.finished_days 7 --by ada --reason 'the disk is full'

The last one who sets a setting wins, whoever set it before; `baton config get`
tells what it was. Where the server's file, environment or flags set it, these
win, and the answer says so.")]
pub(crate) struct Set {
    /// Its key, such as log.level.
    key: String,
    /// Its value, as the settings' file has it.
    #[arg(allow_hyphen_values = true)]
    value: String,
    #[command(flatten)]
    said: Said,
}

#[derive(Args)]
pub(crate) struct Unset {
    /// Its key, such as log.level.
    key: String,
    #[command(flatten)]
    said: Said,
}

#[derive(Args)]
struct Said {
    /// Who asks, for the record.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Config {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Self::List(list) => list.run(context, client.config().await?),
            Self::Get(Get { key, explain }) => get(context, &client, &key, explain).await,
            Self::Set(Set { key, value, said }) => {
                let set = SetSetting { value, by: said.by, reason: said.reason };
                let flags = [("key", "the setting"), ("value", "the value")];
                let changed = client.set_setting(&key, &set).await;
                tell(context, &changed.map_err(|error| Failure::from(error).by_flags(&flags))?)
            }
            Self::Unset(Unset { key, said }) => {
                let action = ActionRequest { by: said.by, reason: said.reason };
                tell(context, &client.unset_setting(&key, &action).await?)
            }
        }
    }
}

impl List {
    fn run(self, context: &Context, mut config: ConfigView) -> Result<(), Failure> {
        config.items.retain(|one| !self.changed || one.layer != "default" || one.stored.is_some());
        if context.out.is_json() {
            return context.out.json(&config);
        }
        for one in &config.passed_over {
            let why = &one.why;
            context.out.note(&format!(
                "the store keeps {} = {}, and the server passes it over: {why}; `baton config unset {}` removes it",
                one.key, one.value, one.key
            ));
        }
        if self.explain {
            let times = Times::new(context.now(), false);
            return config.items.iter().try_for_each(|one| explain(context, one, &times));
        }
        let mut rows = Rows::of(&[
            Column::new("SETTING"),
            Column::new("VALUE").cut(),
            Column::new("LAYER"),
            Column::new("STORE").cut(),
            Column::new("FROM").cut().spare(),
        ]);
        for one in &config.items {
            let stored = one.stored.as_ref().map_or("-", |stored| stored.value.as_str());
            let stored = match one.not_in_force {
                Some(_) => format!("{stored} (not in force)"),
                None => stored.to_owned(),
            };
            let from = one.from.clone().unwrap_or_else(|| "the default".to_owned());
            rows.add(vec![one.key.clone(), one.value.clone(), one.layer.clone(), stored, from]);
        }
        context.out.table(rows, "every setting that may change while the server runs is as by default")
    }
}

async fn get(context: &Context, client: &Client, key: &str, explained: bool) -> Result<(), Failure> {
    let detail = client.setting(key).await?;
    if context.out.is_json() {
        return context.out.json(&detail);
    }
    let one = &detail.setting;
    let times = Times::new(context.now(), false);
    if explained {
        explain(context, one, &times)?;
    } else {
        context.out.line(&one.value)?;
        context.out.note(&format!("from {}", one.from.as_deref().unwrap_or("the default")));
        if let Some(why) = &one.not_in_force {
            context.out.note(why);
        }
    }
    for past in &detail.history {
        context.out.note(&told(past, &times));
    }
    Ok(())
}

/// A change, in words.
fn told(past: &PastSettingView, times: &Times) -> String {
    let by = past.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let why = past.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let from = past.from.as_deref().unwrap_or("unset");
    let to = past.to.as_deref().unwrap_or("unset");
    format!("{}{by}: {from} -> {to}{why}", times.ago(past.at))
}

fn explain(context: &Context, one: &SettingView, times: &Times) -> Result<(), Failure> {
    let from = one.from.as_deref().unwrap_or("the default");
    context.out.line(&format!("{} = {}  ({from})", one.key, one.value))?;
    context.out.lines(&format!("    {}", one.what), 4)?;
    context.out.lines(&format!("    Expects {}; by default {}.", one.expects, one.default), 4)?;
    if let Some(stored) = &one.stored {
        let by = stored.set_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let why = stored.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        context.out.lines(&format!("    Set in the store {}{by}{why}.", times.ago(stored.set_at)), 4)?;
    }
    match &one.not_in_force {
        Some(why) => context.out.lines(&format!("    {why}"), 4),
        None => Ok(()),
    }
}

fn tell(context: &Context, change: &SettingChangeView) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(change);
    }
    let SettingChangeView { key, from, to, .. } = change;
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "unset".to_owned());
    let changed = match from == to {
        true => format!("{key} is {} in the store as before", shown(to)),
        false => format!("{key} is {} in the store; before: {}", shown(to), shown(from)),
    };
    context.out.note(&changed);
    match change.setting.as_ref() {
        Some(SettingView { not_in_force: Some(why), .. }) => context.out.note(why),
        Some(SettingView { value, from, .. }) => {
            let from = from.as_deref().unwrap_or("the default");
            context.out.note(&format!("in force: {value}, from {from}"));
        }
        None => {}
    }
    Ok(())
}
