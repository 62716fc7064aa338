use std::collections::BTreeMap;

use baton_model::{Label, Limit, LimitBook, LimitOn, LimitRules, Shared, TaskId, Timestamp};
use baton_store::ran::{Ran, over_limits};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1_000)
}

fn book(limits: &[(&str, u32)]) -> LimitBook {
    let limit = |(on, most): &(&str, u32)| {
        let on: LimitOn = on.parse().unwrap();
        let exempt_types = vec!["waits".parse().unwrap()];
        let rules = LimitRules { max_running: Some(*most), exempt_types, ..LimitRules::default() };
        (on.clone(), Limit { on, rules, changed_by: None, reason: None, changed_at: at(0) })
    };
    let owners = BTreeMap::from([("film".parse().unwrap(), "acme".parse().unwrap())]);
    LimitBook { limits: limits.iter().map(limit).collect(), owners, ..LimitBook::default() }
}

/// What is told of attempts of tasks of the key `k` in the queue `a` of the project `film`, each from one second to another.
fn told(limits: &[(&str, u32)], task_type: &str, spans: &[(i64, i64)]) -> Vec<String> {
    let (queue, project) = ("a".parse().unwrap(), "film".parse().unwrap());
    let (task_type, key) = (task_type.parse().unwrap(), Some("k".parse::<Label>().unwrap()));
    let shared = Shared { queue: &queue, project: &project, task_type: &task_type, key: key.as_ref() };
    let ran = |(number, (from, until)): (usize, &(i64, i64))| {
        let task = TaskId::from_bytes([number as u8 + 1; 16]);
        Ran { task, attempt: 1, shared, from: at(*from), until: at(*until) }
    };
    over_limits(&book(limits), &spans.iter().enumerate().map(ran).collect::<Vec<_>>())
}

/// One after the other, also at once; and a span that ends before it begins says nothing.
const IN_TURN: [(i64, i64); 4] = [(1, 3), (3, 5), (5, 9), (8, 6)];

#[test]
fn a_limit_of_any_kind_that_is_exceeded_is_named_with_the_tasks() {
    for on in ["queue/a", "project/film", "project/*", "queue/a/project/*", "owner/acme", "queue/a/key/*"] {
        assert_eq!(told(&[(on, 1)], "render", &IN_TURN), Vec::<String>::new(), "{on}");
        let over = told(&[(on, 1)], "render", &[(1, 3), (2, 5), (6, 7)]);
        assert_eq!(over.len(), 1, "{on}");
        let [first, second, third] = [1, 2, 3].map(|byte| TaskId::from_bytes([byte; 16]).to_string());
        assert!(over[0].contains(&first) && over[0].contains(&second), "{over:?}");
        assert!(!over[0].contains(&third), "{over:?}");
    }
}

#[test]
fn what_is_within_a_limit_or_is_not_its_concern_is_not_told() {
    let spans = [(1, 5), (2, 5), (3, 5)];
    assert_eq!(told(&[("queue/a", 3)], "render", &spans), Vec::<String>::new());
    assert_eq!(told(&[("queue/a", 2)], "render", &spans).len(), 1);
    assert_eq!(told(&[("queue/a", 2)], "waits", &spans), Vec::<String>::new(), "exempt");
    for other in ["queue/b", "project/game", "queue/b/key/*", "queue/a/key/other", "owner/bolt"] {
        assert_eq!(told(&[(other, 0)], "render", &spans), Vec::<String>::new(), "{other}");
    }
    // That by name goes before that for each.
    let both = [("queue/a/key/*", 1), ("queue/a/key/k", 3)];
    assert_eq!(told(&both, "render", &spans), Vec::<String>::new());
}
