//! `baton bulk`.

use baton_api::bulk::BulkView;
use baton_model::BulkId;
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::pages;
use crate::task::bulk::{counts, told};
use crate::when::{Paged, Times};

#[derive(Subcommand)]
pub(crate) enum Bulk {
    /// Commands for many tasks, the newest first.
    List(List),
    /// How far one is.
    Show(One),
    /// Call one off; what it has done stands.
    Abort(One),
}

#[derive(Args)]
pub(crate) struct List {
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    shown: Paged,
}

#[derive(Args)]
pub(crate) struct One {
    /// Its id.
    id: BulkId,
}

impl Bulk {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Self::List(list) => {
                let (bulks, more) = pages::first(list.limit as usize, async |cursor, most| {
                    client.bulks(cursor.as_deref(), Some(most)).await
                })
                .await?;
                if context.out.is_json() {
                    return context.out.json(&serde_json::json!({ "items": bulks, "more": more }));
                }
                table(context, &bulks, &list.shown.begin(context))
            }
            Self::Show(One { id }) => told(context, &client.get_bulk(id).await?),
            Self::Abort(One { id }) => told(context, &client.abort_bulk(id).await?),
        }
    }
}

fn table(context: &Context, bulks: &[BulkView], times: &Times) -> Result<(), Failure> {
    let mut rows = Rows::of(&[
        Column::new("ID"),
        Column::new("DO"),
        Column::new("STATE"),
        Column::new("TASKS").cut(),
        Column::new("CREATED"),
        Column::new("BY").cut().spare(),
        Column::new("REASON").cut().spare(),
    ]);
    for bulk in bulks {
        rows.add(vec![
            bulk.id.to_string(),
            bulk.action.clone(),
            bulk.state.as_str().to_owned(),
            counts(bulk),
            times.ago(bulk.created_at),
            bulk.by.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            bulk.reason.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    context.out.table(rows, "no bulk commands")
}
