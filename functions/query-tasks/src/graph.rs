//! A task's graph: all that it waits for, and all that waits for it.

use axum::extract::State;
use baton_api::graph::{CriticalPathView, EdgeView, GraphView, NodeView};
use baton_http::{ApiResult, App, Caller, PathId, QueryFields, ok};
use baton_model::{Status, TaskId, limits};
use baton_store::{Graph, Linked};

/// Show a task's graph
///
/// All tasks that it waits for and all that wait for it, however far, the nearest first, up to 1,000; with the path that the
/// time goes by. Tasks that the token does not reach are left out.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/graph",
    tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    responses(
        (status = 200, description = "The graph", body = GraphView),
        (status = "default", description = "A problem", body = baton_api::Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get_graph(
    State(app): State<App>,
    caller: Caller,
    PathId(id): PathId<TaskId>,
    query: QueryFields,
) -> ApiResult {
    query.finish()?;
    let now = app.now();
    let seen = |one: &Linked| caller.covers(&one.queue, &one.project);
    let graph = Graph::around(&*app.store, id, limits::GRAPH_TASKS, seen, now).await?;
    let shown: std::collections::BTreeSet<TaskId> = graph.tasks.iter().map(|one| one.id).collect();
    let edges = graph.tasks.iter().flat_map(|task| {
        let known = task.depends_on.iter().filter(|from| shown.contains(from));
        known.map(|from| EdgeView { from: *from, to: task.id })
    });
    let edges = edges.collect();
    let nodes = graph.tasks.into_iter().map(|task| NodeView {
        id: task.id,
        queue: task.queue,
        task_type: task.task_type,
        status: Status::derive(task.state, task.attempt, task.run_after, now),
        attempt: task.attempt,
        if_dependency_fails: task.if_dependency_fails,
        created_at: task.created_at,
        claimed_at: task.claimed_at,
        finished_at: task.finished_at,
    });
    ok(&GraphView {
        nodes: nodes.collect(),
        edges,
        more: graph.more,
        critical_path: CriticalPathView { tasks: graph.critical_path, age_seconds: graph.age.as_secs_f64() },
    })
}
