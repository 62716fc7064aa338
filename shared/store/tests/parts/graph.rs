use std::time::Duration;

use baton_model::{IfDependencyFails, ProjectId, QueueName, State, TaskId, Timestamp};
use baton_store::{Graph, Linked};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(seconds))
}

fn id(n: u8) -> TaskId {
    TaskId::from_bytes([n; 16])
}

fn task(n: u8, depends_on: &[u8], created: u64, finished: Option<u64>) -> Linked {
    Linked {
        id: id(n),
        project: ProjectId::default(),
        queue: QueueName::default(),
        task_type: "render".parse().unwrap(),
        state: if finished.is_some() { State::Completed } else { State::Blocked },
        attempt: 0,
        run_after: at(created),
        created_at: at(created),
        claimed_at: None,
        finished_at: finished.map(at),
        depends_on: depends_on.iter().map(|n| id(*n)).collect(),
        if_dependency_fails: IfDependencyFails::default(),
        dependants: Vec::new(),
        more_dependants: false,
    }
}

#[test]
fn the_critical_path_goes_by_the_dependencies_that_ended_last() {
    let done = vec![
        task(1, &[], 0, Some(10)),
        task(2, &[], 0, Some(30)),
        task(3, &[1, 2], 0, Some(40)),
        task(4, &[1], 5, Some(35)),
    ];
    let graph = Graph::of(done, false, at(100));
    assert_eq!((graph.critical_path, graph.age), (vec![id(2), id(3)], Duration::from_secs(40)));
}

#[test]
fn what_has_not_ended_is_later_than_all_that_has() {
    let open = vec![
        task(1, &[], 3, Some(10)),
        task(2, &[], 7, None),
        task(3, &[1, 2], 8, None),
        task(4, &[1], 9, Some(90)),
        task(5, &[3], 9, None),
    ];
    let graph = Graph::of(open, false, at(100));
    assert_eq!(graph.critical_path, [id(2), id(3), id(5)]);
    assert_eq!(graph.age, Duration::from_secs(93));
    assert_eq!(Graph::of(vec![task(9, &[8], 1, None)], true, at(2)).critical_path, [id(9)]);
}
