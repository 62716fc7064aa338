//! `baton scale`: how many machines should run workers, and having as many.

mod leader;
pub(crate) mod look;
mod run;

use baton_api::scaling::PoolView;
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::when::Paged;

#[derive(Subcommand)]
pub(crate) enum Scale {
    /// Start and end machines of the settings' pools by what waits, until it is asked to end.
    Run(run::Run),
    /// How many machines each pool of the server's settings should have, and has, and who scales.
    Status(Status),
}

#[derive(Args)]
pub(crate) struct Status {
    /// Only these columns, with commas, in this order.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    shown: Paged,
}

impl Scale {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Run(run) => run.run(context).await,
            Self::Status(status) => status.run(context).await,
        }
    }
}

impl Status {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut rows = Rows::of(&[
            Column::new("POOL").cut(),
            Column::new("WANTED"),
            Column::new("HAVE"),
            Column::new("WHY"),
            Column::new("BOUND"),
            Column::new("CLAIMABLE"),
            Column::new("RUNNING"),
            Column::new("KEPT"),
            Column::new("QUEUES").cut().spare(),
        ]);
        rows.choose(&self.columns).map_err(Failure::usage)?;
        let client = context.client()?;
        let scaling = client.scaling().await?;
        let leaders = leader::leaders(&client).await?;
        if context.out.is_json() {
            let pools = &scaling.items;
            return context
                .out
                .json(&serde_json::json!({ "at": scaling.at, "items": pools, "leaders": leaders }));
        }
        self.shown.begin(context);
        scaling.items.iter().for_each(|pool| rows.add(row(pool)));
        context.out.table(rows, "no pool: name some as [[scaling]] in the server's settings")?;
        match leaders.is_empty() {
            true => context.out.line("nobody scales: start `baton scale run`"),
            false => context.out.line(&format!("scaled by {}", leaders.join(", "))),
        }
    }
}

fn row(pool: &PoolView) -> Vec<String> {
    let kept = pool.at_limit + pool.paused + pool.blocked + pool.later;
    let queues: Vec<&str> = pool.queues.iter().map(baton_model::QueueName::as_str).collect();
    vec![
        pool.name.to_string(),
        pool.wanted.to_string(),
        pool.have.to_string(),
        pool.why.replace('_', " "),
        pool.bound.clone().unwrap_or_else(|| "-".to_owned()),
        pool.claimable.to_string(),
        pool.running.to_string(),
        kept.to_string(),
        queues.join(", "),
    ]
}
