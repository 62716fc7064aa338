//! `baton task graph`.

use std::collections::{BTreeMap, BTreeSet};

use baton_api::graph::GraphView;
use baton_client::Client;
use baton_model::TaskId;

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::when::Shown;
use crate::{names, text};

/// How many dependencies of a task are named in its row.
const NAMED: usize = 4;

pub(crate) async fn graph(
    context: &Context,
    client: &Client,
    id: TaskId,
    shown: Shown,
) -> Result<(), Failure> {
    let asked = client.graph(id).await;
    let graph = names::of_task(client, id, asked).await?;
    if context.out.is_json() {
        return context.out.json(&graph);
    }
    let times = shown.begin(context);
    let critical: BTreeSet<TaskId> = graph.critical_path.tasks.iter().copied().collect();
    let mut waits: BTreeMap<TaskId, Vec<TaskId>> = BTreeMap::new();
    for edge in &graph.edges {
        waits.entry(edge.to).or_default().push(edge.from);
    }
    let mut rows = Rows::of(&[
        Column::new("ID"),
        Column::new("TYPE").cut(),
        Column::new("QUEUE").cut(),
        Column::new("STATUS"),
        Column::new("CREATED"),
        Column::new("CRITICAL"),
        Column::new("WAITS FOR").cut(),
    ]);
    for node in in_order(&graph) {
        let of = waits.get(&node.id).map(Vec::as_slice).unwrap_or_default();
        let mut named: Vec<String> = of.iter().take(NAMED).map(ToString::to_string).collect();
        if of.len() > NAMED {
            named.push(format!("and {} more", of.len() - NAMED));
        }
        rows.add(vec![
            node.id.to_string(),
            node.task_type.to_string(),
            node.queue.to_string(),
            node.status.to_string(),
            times.ago(node.created_at),
            if critical.contains(&node.id) { "*".to_owned() } else { String::new() },
            named.join(", "),
        ]);
    }
    context.out.table(rows, "no tasks")?;
    let (tasks, age) = (graph.critical_path.tasks.len(), text::seconds(graph.critical_path.age_seconds));
    context.out.line(&format!("critical path: {tasks} tasks (*) in {age}"))?;
    if graph.more {
        let shown = graph.nodes.len();
        context.out.line(&format!("the {shown} nearest tasks are shown; there are more"))?;
    }
    Ok(())
}

/// The tasks, each after those that it waits for: in the order of their levels, and within one as they came.
fn in_order(graph: &GraphView) -> Vec<&baton_api::graph::NodeView> {
    let places: BTreeMap<TaskId, usize> = graph.nodes.iter().map(|node| node.id).zip(0..).collect();
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    for edge in &graph.edges {
        if let (Some(from), Some(to)) = (places.get(&edge.from), places.get(&edge.to)) {
            edges[*to].push(*from);
        }
    }
    match baton_model::dependency::order(&edges) {
        Ok(order) => order.into_iter().map(|place| &graph.nodes[place]).collect(),
        // No store has a circle; one that had would still be shown.
        Err(_) => graph.nodes.iter().collect(),
    }
}
