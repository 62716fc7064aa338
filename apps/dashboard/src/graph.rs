//! The graph of tasks that wait for each other, laid out in columns: each task stands behind all that it waits for.

use std::collections::HashMap;

use baton_api::graph::GraphView;
use baton_model::TaskId;

use crate::words::{NAMES, plain};

/// How many tasks are drawn at most: the nearest to the one that was asked for.
const MOST: usize = 40;

const COLUMN: usize = 220;
const ROW: usize = 56;
const WIDE: usize = 176;
const HIGH: usize = 40;
const EDGE: usize = 8;

/// A task of the drawing.
pub(crate) struct Node {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) href: String,
    pub(crate) label: String,
    pub(crate) id: String,
    pub(crate) status: &'static str,
    /// Whether it is the one that was asked for.
    pub(crate) own: bool,
}

/// A line from a task to one that waits for it.
pub(crate) struct Line {
    pub(crate) path: String,
}

/// A drawing.
pub(crate) struct Drawing {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) nodes: Vec<Node>,
    pub(crate) lines: Vec<Line>,
    /// How many tasks are not drawn.
    pub(crate) left_out: usize,
    pub(crate) more: bool,
}

/// Draws a graph; none if the task stands alone.
pub(crate) fn draw(graph: &GraphView) -> Option<Drawing> {
    if graph.nodes.len() < 2 {
        return None;
    }
    let drawn = &graph.nodes[..graph.nodes.len().min(MOST)];
    let index: HashMap<TaskId, usize> = drawn.iter().enumerate().map(|(at, node)| (node.id, at)).collect();
    let edges = graph.edges.iter();
    let edges: Vec<(usize, usize)> =
        edges.filter_map(|edge| Some((*index.get(&edge.from)?, *index.get(&edge.to)?))).collect();
    let columns = columns(drawn.len(), &edges);
    let mut rows: Vec<usize> = Vec::new();
    let mut places = Vec::with_capacity(drawn.len());
    for &column in &columns {
        if rows.len() <= column {
            rows.resize(column + 1, 0);
        }
        places.push((EDGE + column * COLUMN, EDGE + rows[column] * ROW));
        rows[column] += 1;
    }
    let nodes = drawn.iter().zip(&places).enumerate().map(|(at, (node, &(x, y)))| Node {
        x,
        y,
        href: format!("/ui/tasks/{}", node.id),
        label: plain(node.task_type.as_str(), NAMES).chars().take(20).collect(),
        id: ending(&node.id),
        status: node.status.as_str(),
        own: at == 0,
    });
    let lines = edges.iter().map(|&(from, to)| {
        let (x1, y1) = (places[from].0 + WIDE, places[from].1 + HIGH / 2);
        let (x2, y2) = (places[to].0, places[to].1 + HIGH / 2);
        let bend = (x1 + x2) / 2;
        Line { path: format!("M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}") }
    });
    let tallest = rows.iter().copied().max().unwrap_or_default();
    Some(Drawing {
        width: 2 * EDGE + (rows.len().max(1) - 1) * COLUMN + WIDE,
        height: 2 * EDGE + tallest.max(1) * ROW - (ROW - HIGH),
        nodes: nodes.collect(),
        lines: lines.collect(),
        left_out: graph.nodes.len() - drawn.len(),
        more: graph.more,
    })
}

/// The end of an id, which tells those apart that were created together.
fn ending(id: &TaskId) -> String {
    let id = id.to_string();
    format!("…{}", id.get(id.len().saturating_sub(6)..).unwrap_or(&id))
}

/// The column of each task: one behind the last of those that it waits for.
fn columns(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut columns = vec![0; nodes];
    // A graph of tasks has no circle, so that this many rounds reach its end; of what is none, it ends as well.
    for _ in 0..nodes {
        let mut moved = false;
        for &(from, to) in edges {
            if columns[to] <= columns[from] && columns[from] + 1 < nodes {
                columns[to] = columns[from] + 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_stands_behind_all_that_it_waits_for() {
        let edges = [(0, 1), (1, 2), (0, 2), (3, 2), (2, 4)];
        let columns = columns(5, &edges);
        assert_eq!(columns, [0, 1, 2, 0, 3]);
    }

    #[test]
    fn a_circle_ends_too() {
        assert_eq!(columns(2, &[(0, 1), (1, 0)]).len(), 2);
    }
}
