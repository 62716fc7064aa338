//! Limits that tasks share: which tasks they hold for, and what they say.

use baton_model::{LimitOn, LimitRules, Rate, State, TaskSpec, Timestamp, Watch};

use super::kit::*;
use crate::{Changed, Claim, Nothing, PageRequest, Redate, SetLimit, SetOwner, Store};

/// A limit of so many that run at once.
pub(super) fn most(running: u32) -> LimitRules {
    LimitRules { max_running: Some(running), ..LimitRules::default() }
}

/// A rate.
pub(super) fn rate(starts: u32, seconds: u32, burst: u32) -> LimitRules {
    LimitRules { rate: Some(Rate { starts, seconds, burst }), ..LimitRules::default() }
}

/// The same task with a key.
pub(super) fn keyed(spec: TaskSpec, key: &str) -> TaskSpec {
    TaskSpec { concurrency_key: Some(name(key)), ..spec }
}

/// Sets a limit.
pub(super) async fn limit(store: &dyn Store, now: Timestamp, on: &str, rules: LimitRules) {
    let set = SetLimit { now, on: name(on), rules: Some(rules), by: None, reason: None };
    store.set_limit(set).await.expect("the limit is taken");
}

/// Takes a limit away.
pub(super) async fn no_limit(store: &dyn Store, now: Timestamp, on: &str) {
    let set = SetLimit { now, on: name(on), rules: None, by: None, reason: None };
    store.set_limit(set).await.expect("the limit is taken away");
}

/// Says whose a project is.
pub(super) async fn owner(store: &dyn Store, now: Timestamp, project: &str, owner: Option<&str>) {
    let set = SetOwner { now, project: name(project), owner: owner.map(name), by: None, reason: None };
    store.set_owner(set).await.expect("the owner is taken");
}

/// That a claim is given nothing because of this limit.
pub(super) async fn stopped(b: &Bench, claim: Claim, by: &str) {
    let limit: LimitOn = name(by);
    let told = b.nothing(claim).await;
    assert_eq!(told, Nothing::AtLimit { limit, next_at: None });
}

/// A queue runs no more tasks at once than its limit, however many a claim asks for; other queues have none of it.
pub async fn a_queue_runs_no_more_than_its_limit(b: Bench) {
    limit(&*b.store(), at(0), "queue/a", most(2)).await;
    b.create_all(at(0), (0..4).map(|_| b.spec("render").queue("a")).collect()).await;
    b.create_all(at(0), (0..4).map(|_| b.spec("render").queue("b")).collect()).await;
    let held = b.claim(claim("w1", at(1)).queues(&["a"]).max(10)).await;
    assert_eq!(held.len(), 2);
    stopped(&b, claim("w2", at(1)).queues(&["a"]), "queue/a").await;
    assert_eq!(b.claim(claim("w3", at(1)).queues(&["a", "b"]).max(10)).await.len(), 4);
    b.complete(at(2), &held[0]).await;
    assert_eq!(b.claim(claim("w2", at(2)).queues(&["a"]).max(10)).await.len(), 1);
    b.check(at(3)).await;
}

/// A project runs no more tasks at once than its limit, in all queues together.
pub async fn a_project_runs_no_more_than_its_limit_over_all_queues(b: Bench) {
    limit(&*b.store(), at(0), "project/film", most(3)).await;
    for queue in ["a", "b"] {
        let specs = (0..3).map(|_| b.spec("render").queue(queue).project("film")).collect();
        b.create_all(at(0), specs).await;
    }
    b.create(at(0), b.spec("render").queue("b").project("game")).await;
    let held = b.claim(claim("w1", at(1)).queues(&["a"]).max(2)).await;
    assert_eq!(held.len(), 2);
    let rest = b.claim(claim("w2", at(1)).queues(&["b"]).max(10)).await;
    let projects: Vec<_> = rest.iter().map(|task| task.project.as_str()).collect();
    assert_eq!(projects, ["film", "game"]);
    stopped(&b, claim("w3", at(1)).queues(&["a", "b"]), "project/film").await;
    b.complete(at(2), &held[1]).await;
    b.claim_one(claim("w3", at(2)).queues(&["b"])).await;
    b.check(at(3)).await;
}

/// A project's limit within one queue leaves its tasks in other queues alone.
pub async fn a_project_in_a_queue_has_a_limit_of_its_own(b: Bench) {
    limit(&*b.store(), at(0), "queue/a/project/*", most(1)).await;
    for (queue, project) in [("a", "film"), ("a", "film"), ("a", "game"), ("b", "film"), ("b", "film")] {
        b.create(at(0), b.spec("render").queue(queue).project(project)).await;
    }
    let held = b.claim(claim("w1", at(1)).queues(&["a", "b"]).max(10)).await;
    let mut told: Vec<_> = held.iter().map(|task| (task.queue.as_str(), task.project.as_str())).collect();
    told.sort();
    assert_eq!(told, [("a", "film"), ("a", "game"), ("b", "film"), ("b", "film")]);
    stopped(&b, claim("w2", at(1)).queues(&["a", "b"]), "queue/a/project/film").await;
    b.check(at(2)).await;
}

/// An owner's limit holds for all of its projects together, and goes with the projects as they change hands.
pub async fn an_owner_has_a_limit_over_all_projects(b: Bench) {
    limit(&*b.store(), at(0), "owner/*", most(2)).await;
    for project in ["film", "game"] {
        owner(&*b.store(), at(0), project, Some("acme & sons")).await;
    }
    for project in ["film", "game", "film", "book"] {
        b.create(at(0), b.spec("render").project(project)).await;
    }
    let held = b.claim(claim("w1", at(1)).max(10)).await;
    let projects: Vec<_> = held.iter().map(|task| task.project.as_str()).collect();
    assert_eq!(projects, ["film", "game", "book"]);
    stopped(&b, claim("w2", at(1)), "owner/acme & sons").await;
    // A project of its own now: what runs of it counts for nobody else.
    b.settle().await;
    owner(&*b.store(), at(2), "game", None).await;
    b.claim_one(claim("w2", at(2))).await;
    b.check(at(3)).await;
}

/// Tasks of one queue and one key share a limit; those of other keys, of none, and of other queues do not.
pub async fn tasks_of_one_key_share_a_limit(b: Bench) {
    limit(&*b.store(), at(0), "queue/a/key/*", most(1)).await;
    let mut ids = Vec::new();
    for (queue, key) in [
        ("a", Some("x/1")),
        ("a", Some("x/1")),
        ("a", Some("y")),
        ("a", None),
        ("a", None),
        ("b", Some("x/1")),
    ] {
        let spec = b.spec("render").queue(queue);
        ids.push(b.create(at(0), TaskSpec { concurrency_key: key.map(name), ..spec }).await);
    }
    let held = b.claim(claim("w1", at(1)).queues(&["a", "b"]).max(10)).await;
    assert_eq!(held_set(&held).len(), 5);
    assert_eq!(held[0].concurrency_key, Some(name("x/1")));
    stopped(&b, claim("w2", at(1)).queues(&["a"]), "queue/a/key/x/1").await;
    let detail = b.task(ids[1]).await;
    assert_eq!((detail.task.head.attempt, detail.history.len()), (0, 1));
    b.complete(at(2), &held[0]).await;
    assert_eq!(b.claim_one(claim("w2", at(2)).queues(&["a"])).await.head.id, ids[1]);
    b.check(at(3)).await;
}

/// A limit by name goes before the one for each, whether it is larger or smaller.
pub async fn a_limit_by_name_goes_before_that_for_each(b: Bench) {
    limit(&*b.store(), at(0), "queue/a/key/*", most(1)).await;
    limit(&*b.store(), at(0), "queue/a/key/big", most(3)).await;
    limit(&*b.store(), at(0), "queue/a/key/none", most(0)).await;
    for key in ["big", "none", "other"] {
        b.create_all(at(0), (0..4).map(|_| keyed(b.spec("render").queue("a"), key)).collect()).await;
    }
    let held = b.claim(claim("w1", at(1)).queues(&["a"]).max(20)).await;
    let count = |key: &str| held.iter().filter(|task| task.concurrency_key == Some(name(key))).count();
    assert_eq!((count("big"), count("none"), count("other")), (3, 0, 1));
    no_limit(&*b.store(), at(2), "queue/a/key/big").await;
    assert!(matches!(b.nothing(claim("w2", at(2)).queues(&["a"])).await, Nothing::AtLimit { .. }));
    b.check(at(3)).await;
}

/// A limit is set, raised, lowered and taken away while tasks run; each change says what stood before it and what stands since.
pub async fn a_limit_may_be_changed_while_tasks_run(b: Bench) {
    for on in ["queue/a", "queue/a/key/*", "project/default"] {
        let specs = (0..8).map(|_| keyed(b.spec("render").queue("a"), "x")).collect();
        let ids = b.create_all(at(0), specs).await;
        let ask = |n: u32| claim("w1", at(1)).queues(&["a"]).max(n);
        let mut held = b.claim(ask(3)).await;
        // A store whose lists trail finds what runs as they tell it.
        b.settle().await;
        let set = |rules| {
            let (by, reason) = (Some(name("ada")), Some("a test".to_owned()));
            let store = b.store();
            async move { store.set_limit(SetLimit { now: at(1), on: name(on), rules, by, reason }).await }
        };
        let first = set(Some(most(3))).await.unwrap();
        assert_eq!(first.from, None);
        let stands = first.to.clone().unwrap();
        assert_eq!((stands.on.to_string(), stands.rules.max_running), (on.to_owned(), Some(3)));
        assert_eq!((stands.changed_by, stands.reason), (Some(name("ada")), Some("a test".to_owned())));
        assert!(matches!(b.nothing(ask(10)).await, Nothing::AtLimit { .. }));
        // Raised: two more may start.
        let second = set(Some(most(5))).await.unwrap();
        assert_eq!(second.from, first.to);
        held.extend(b.claim(ask(10)).await);
        assert_eq!(held.len(), 5);
        // Lowered below what runs: that goes on, and nothing else starts before there is room.
        set(Some(most(2))).await.unwrap();
        for task in &held[..3] {
            assert!(matches!(b.nothing(ask(10)).await, Nothing::AtLimit { .. }));
            b.complete(at(2), task).await;
        }
        assert!(matches!(b.nothing(ask(10)).await, Nothing::AtLimit { .. }));
        b.complete(at(2), &held[3]).await;
        assert_eq!(b.claim(ask(10)).await.len(), 1);
        let Changed { from, to } = set(None).await.unwrap();
        assert_eq!((from.unwrap().rules.max_running, to), (Some(2), None));
        assert_eq!(b.claim(ask(10)).await.len(), 2);
        assert_eq!(set(None).await.unwrap(), Changed { from: None, to: None });
        for id in ids {
            if b.state(id).await != State::Completed {
                b.cancel(at(3), id).await;
            }
        }
    }
    b.check(at(4)).await;
}

/// Types may be exempt from a limit: they start when it is full, and do not count against it.
pub async fn types_may_be_exempt_from_a_limit(b: Bench) {
    for (place, on) in ["queue/a", "queue/a/key/*", "project/default", "queue/a/project/*"].iter().enumerate()
    {
        let rules = LimitRules { exempt_types: vec![name("waits")], ..most(1) };
        limit(&*b.store(), at(0), on, rules).await;
        for task_type in ["waits", "render", "render", "waits"] {
            b.create(at(0), keyed(b.spec(task_type).queue("a"), "x")).await;
        }
        let worker = format!("w{place}");
        let held = b.claim(claim(&worker, at(1)).queues(&["a"]).max(10)).await;
        let types: Vec<_> = held.iter().map(|task| task.task_type.as_str()).collect();
        assert_eq!(types, ["waits", "render", "waits"], "{on}");
        let again = claim(&worker, at(1)).queues(&["a"]);
        assert!(matches!(b.nothing(again.clone()).await, Nothing::AtLimit { .. }));
        // Another exempt one behind what is stopped.
        b.create(at(1), keyed(b.spec("waits").queue("a"), "x")).await;
        assert_eq!(b.claim_one(again).await.task_type, name("waits"));
        b.complete(at(2), &held[1]).await;
        let last = b.claim_one(claim(&worker, at(2)).queues(&["a"])).await;
        b.complete(at(3), &last).await;
        no_limit(&*b.store(), at(3), on).await;
    }
    b.check(at(4)).await;
}

/// A rate spaces the starts of a queue and of a key evenly after its burst, and an empty claim says when the next is due.
pub async fn a_rate_spaces_starts(b: Bench) {
    for on in ["queue/a", "queue/a/key/*"] {
        limit(&*b.store(), at(0), on, rate(6, 60, 2)).await;
        b.create_all(at(0), (0..6).map(|_| keyed(b.spec("render").queue("a"), "x")).collect()).await;
        let ask = |now: Timestamp| claim("w1", now).queues(&["a"]).max(5);
        assert_eq!(b.claim(ask(at(100))).await.len(), 2);
        let limit: LimitOn = name(on);
        let limit = if limit.is_each() { name("queue/a/key/x") } else { limit };
        let due = |next_at| Nothing::AtLimit { limit: limit.clone(), next_at: Some(next_at) };
        assert_eq!(b.nothing(ask(at(100))).await, due(at(110)));
        assert_eq!(b.nothing(ask(at(110).minus(millis(1)))).await, due(at(110)));
        assert_eq!(b.claim(ask(at(110))).await.len(), 1);
        assert_eq!(b.claim(ask(at(125))).await.len(), 1);
        // Half of the way to the next start had passed before.
        assert_eq!(b.nothing(ask(at(129))).await, due(at(130)));
        assert_eq!(b.claim(ask(at(130))).await.len(), 1);
        assert_eq!(b.claim(ask(at(1_000))).await.len(), 1);
        no_limit(&*b.store(), at(1_000), on).await;
    }
    b.check(at(1_001)).await;
}

/// A clock that jumps ahead and is set back lends a rate no more than one burst, and does not stop it for as long as it was
/// wrong by.
pub async fn a_jump_of_the_clock_doubles_no_starts(b: Bench) {
    limit(&*b.store(), at(0), "queue/a/key/*", rate(1, 10, 1)).await;
    b.create_all(at(0), (0..9).map(|_| keyed(b.spec("render").queue("a"), "x")).collect()).await;
    let ask = |seconds: u64| claim("w1", at(seconds)).queues(&["a"]).max(9);
    assert_eq!(b.claim(ask(100)).await.len(), 1);
    // An hour ahead, for a moment.
    assert_eq!(b.claim(ask(3_700)).await.len(), 1);
    assert!(matches!(b.nothing(ask(3_701)).await, Nothing::AtLimit { .. }));
    // Back again: nothing starts until the reaper has seen it, and then no more than one in ten seconds.
    assert!(matches!(b.nothing(ask(115)).await, Nothing::AtLimit { .. }));
    b.settle().await;
    b.store().redate(Redate { watch: Watch::at(at(120)), limit: 100 }).await.unwrap();
    assert!(matches!(b.nothing(ask(120)).await, Nothing::AtLimit { .. }));
    assert_eq!(b.claim(ask(130)).await.len(), 1);
    assert!(matches!(b.nothing(ask(139)).await, Nothing::AtLimit { .. }));
    assert_eq!(b.claim(ask(140)).await.len(), 1);
    b.check(at(141)).await;
}

/// Limits, owners, rates and who waits outlive a restart.
pub async fn limits_outlive_a_restart(mut b: Bench) {
    limit(&*b.store(), at(0), "owner/acme", most(1)).await;
    limit(&*b.store(), at(0), "queue/a/key/*", LimitRules { holds_retries: true, ..rate(1, 60, 1) }).await;
    owner(&*b.store(), at(0), "film", Some("acme")).await;
    let film = (0..2).map(|_| b.spec("render").project("film")).collect();
    let film = b.create_all(at(0), film).await;
    b.create_all(at(0), (0..2).map(|_| keyed(b.spec("render").queue("a"), "x")).collect()).await;
    let held = b.claim_one(claim("w1", at(1))).await;
    b.claim_one(claim("w1", at(1)).queues(&["a"])).await;
    stopped(&b, claim("w1", at(1)), "owner/acme").await;
    let before = b.store().limits(PageRequest::first(10)).await.unwrap();
    b.reopen().await;
    assert_eq!(b.store().limits(PageRequest::first(10)).await.unwrap(), before);
    assert_eq!(b.store().owned_projects(PageRequest::first(10)).await.unwrap().items.len(), 1);
    stopped(&b, claim("w1", at(2)), "owner/acme").await;
    let told = b.nothing(claim("w1", at(2)).queues(&["a"])).await;
    assert_eq!(told, Nothing::AtLimit { limit: name("queue/a/key/x"), next_at: Some(at(61)) });
    b.complete(at(3), &held).await;
    b.reopen().await;
    assert_eq!(b.claim_one(claim("w1", at(3))).await.head.id, film[1]);
    b.claim_one(claim("w1", at(61)).queues(&["a"])).await;
    b.check(at(62)).await;
}

/// Limits are listed by what they hold for, with what runs under each that has a name.
pub async fn limits_are_listed_by_what_they_hold_for(b: Bench) {
    for on in ["queue/a/key/*", "queue/a", "project/film", "queue/a/key/x", "owner/acme"] {
        limit(&*b.store(), at(0), on, most(9)).await;
    }
    for project in ["film", "game"] {
        owner(&*b.store(), at(0), project, Some("acme")).await;
    }
    for project in ["film", "game", "other"] {
        let spec = keyed(b.spec("render").queue("a").project(project), "x");
        b.running(at(1), "w1", spec).await;
    }
    b.settle().await;
    let listed = pages(2, |page| {
        let store = b.store();
        async move { store.limits(page).await }
    })
    .await;
    let told: Vec<_> = listed.iter().map(|one| (one.limit.on.to_string(), one.running)).collect();
    let told: Vec<_> = told.iter().map(|(on, running)| (on.as_str(), *running)).collect();
    assert_eq!(
        told,
        [
            ("owner/acme", Some(2)),
            ("project/film", Some(1)),
            ("queue/a", Some(3)),
            ("queue/a/key/*", None),
            ("queue/a/key/x", Some(3)),
        ]
    );
    let page = PageRequest { after: Some(crate::Cursor("no cursor".to_owned())), ..PageRequest::first(9) };
    assert_err!(b.store().limits(page).await, crate::StoreError::BadCursor);
    let owned = b.store().owned_projects(PageRequest::first(1)).await.unwrap();
    assert_eq!((owned.items[0].project.as_str(), owned.items[0].owner.as_str()), ("film", "acme"));
    assert!(owned.next.is_some());
}
