//! How many machines should run workers, of each pool.

use axum::extract::State;
use baton_api::scaling::ScalingView;
use baton_http::{ApiResult, App, Caller, QueryFields, ok, scaling};

pub(crate) async fn show(State(app): State<App>, caller: Caller, query: QueryFields) -> ApiResult {
    caller.reach_everything()?;
    query.finish()?;
    let now = app.now();
    ok(&ScalingView { at: now, items: scaling::pools(&app, now).await? })
}
