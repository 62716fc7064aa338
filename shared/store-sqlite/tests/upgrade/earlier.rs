//! What versions 1 to 9 brought, in files of theirs: it is there, and goes on.

use std::time::Duration;

use baton_model::{
    BulkState, EventKind, Failure, Label, Priority, State, Superseded, TokenStatus, Wants, Warm,
};
use baton_store::{Fail, SettingChange, TaskFilter};

use super::files::*;
use super::*;

#[tokio::test]
async fn attempts_that_failed_or_were_given_back_in_version_1_are_followed_by_others_when_they_are_due() {
    let (_folder, store) = opened(1);
    let nothing = store.claim(claim_of("again", "w9", 19_999)).await.unwrap();
    assert_eq!(nothing, ClaimAnswer::Nothing(Nothing::Scheduled { next_at: millis(20_000) }));
    let error = store.task(nth(11)).await.unwrap().task.error;
    assert_eq!(error.map(|error| error.message).as_deref(), Some("out of memory"));
    assert_eq!(kinds(&store, 12).await, [EventKind::Created, EventKind::Claimed, EventKind::Released]);
    let ClaimAnswer::Leased(tasks) = store.claim(claim_of("again", "w9", 20_000)).await.unwrap() else {
        panic!("expected tasks")
    };
    let told: Vec<_> =
        tasks.iter().map(|task| (task.head.id, task.head.attempt, task.head.forgiven)).collect();
    assert_eq!(told, [(nth(11), 2, 0), (nth(12), 2, 1)]);
    let lines = store.logs(LogFilter::default(), PageRequest::first(9)).await.unwrap().items;
    let told: Vec<_> = lines.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(told, ["last", "of 2099", "half way"], "in the order in which they were received");
}

#[tokio::test]
async fn tokens_the_audit_log_and_the_projects_of_version_2_are_kept() {
    let (_folder, store) = opened(2);
    let ids = ["a1", "a2"].map(|n| nth_text(n).parse::<TokenId>().unwrap());
    let token = store.token(ids[0]).await.unwrap().unwrap();
    assert_eq!(token.digest.as_bytes(), &[0x11; 32]);
    let token = token.token;
    assert_eq!((token.name.as_str(), token.requests_per_second), ("film's producer", Some(50)));
    assert_eq!(token.grant.project, Some("film".parse().unwrap()));
    assert_eq!((token.grant.queues.len(), token.last_used_at), (1, Some(millis(2_000))));
    let revoked = store.token(ids[1]).await.unwrap().unwrap().token;
    assert_eq!(revoked.status(millis(10_000)), TokenStatus::Revoked);
    assert_eq!(store.revoke_token(ids[0], millis(9_000)).await.unwrap().revoked_at, Some(millis(9_000)));

    let audit = store.audit(AuditFilter::default(), PageRequest::first(9)).await.unwrap().items;
    let told: Vec<_> =
        audit.iter().map(|entry| (entry.action.as_str(), entry.token, entry.outcome)).collect();
    assert_eq!(told, [("pause_queue", None, None), ("revoke_token", Some(ids[0]), Some(200))]);

    let worker = store.worker(&"w2".parse().unwrap()).await.unwrap().worker;
    assert_eq!(worker.owner, Some(Owner::Project("film".parse().unwrap())));
    assert_eq!((worker.directive, worker.directed), (Directive::Drain, None));
    let starts: Vec<_> = worker.superseded.iter().map(|one| (one.session, one.heard)).collect();
    let expected = ["52", "53"].map(|n| (nth_text(n).parse::<SessionId>().unwrap(), false));
    assert_eq!(starts, expected);

    let pause = store.queue(&"gpu".parse().unwrap(), millis(9_000)).await.unwrap().pause;
    assert_eq!(pause, Some(Pause { since: millis(3_000), by: Some("ada".parse().unwrap()), reason: None }));
    let film = Owner::Project("film".parse().unwrap());
    let claim = Claim { caller: film, ..claim_of("shared", "w9", 10_000) };
    assert_eq!(leased(&store, claim).await, [nth(12)]);
}

#[tokio::test]
async fn pauses_with_their_reasons_and_tasks_that_were_lost_twice_in_version_3_are_kept() {
    let (_folder, store) = opened(3);
    let gpu: QueueName = "gpu".parse().unwrap();
    let ada: Label = "ada".parse().unwrap();
    let reason = Some("the cards are hot".to_owned());
    let queue = store.queue(&gpu, millis(9_000)).await.unwrap();
    let pause = Pause { since: millis(3_000), by: Some(ada.clone()), reason: reason.clone() };
    assert_eq!((queue.pause, queue.used), (Some(pause), false));
    let resume = PauseQueue { now: millis(9_000), queue: gpu.clone(), paused: false, by: None, reason: None };
    store.pause_queue(resume).await.unwrap();
    let queues = store.queues(millis(9_000), PageRequest::first(9)).await.unwrap().items;
    assert!(queues.iter().all(|queue| queue.queue != gpu), "no task has named it: {queues:?}");
    let audit = store.audit(AuditFilter::default(), PageRequest::first(9)).await.unwrap().items;
    assert_eq!((audit.len(), &audit[0].by, &audit[0].reason), (1, &Some(ada), &reason));

    let worker = store.worker(&"w2".parse().unwrap()).await.unwrap().worker;
    let earlier = Superseded { session: nth_text("52").parse().unwrap(), at: millis(2_000), heard: true };
    assert_eq!(
        (worker.superseded, worker.contested_at, worker.beats),
        (vec![earlier], Some(millis(3_000)), 7)
    );
    assert_eq!(worker.owner, Some(Owner::Unbound));
    let ended = store.worker(&"w3".parse().unwrap()).await.unwrap().worker;
    assert_eq!(ended.ended_at, Some(millis(4_000)));
    let note = store.last_round().await.unwrap().unwrap();
    assert_eq!((note.at, note.heard_since, note.gaps), (millis(5_000), millis(1_000), [Some(2_000), None]));

    assert_eq!(store.task(nth(11)).await.unwrap().task.head.worker_losses, 2);
    assert_eq!(leased(&store, claim_of("alone", "w9", 10_000)).await, [nth(11)]);
    let more = store.claim(claim_of("alone", "w9", 10_000)).await.unwrap();
    assert_eq!(more, ClaimAnswer::Nothing(Nothing::RunsAlone));
    assert_eq!(leased(&store, claim_of("alone", "w8", 10_000)).await, [nth(12)]);
}

#[tokio::test]
async fn tasks_that_were_blocked_in_version_4_are_freed_or_end_with_what_they_wait_for() {
    let (_folder, store) = opened(4);
    let waits = store.task(nth(13)).await.unwrap().task;
    assert_eq!((waits.head.state, waits.depends_on), (TaskState::Blocked, vec![nth(12), nth(11)]));
    store.complete(completion(11, "w1", 10_000), None).await.unwrap();
    for n in [13, 14] {
        assert_eq!(kinds(&store, n).await, [EventKind::Created, EventKind::Unblocked]);
    }
    assert_eq!(state(&store, 15).await, State::Blocked);
    let inputs = store.inputs(vec![nth(12)]).await.unwrap();
    let result = inputs[0].generation.as_ref().unwrap().output.result.as_ref().unwrap().as_str();
    assert_eq!(result, r#"{"frames":240}"#);

    let late = millis(4_000).plus(Duration::from_secs(31 * 86_400));
    store.purge(Purge::at(late)).await.unwrap();
    assert!(matches!(store.task(nth(3)).await, Err(StoreError::TaskNotFound(_))));
    assert_eq!(state(&store, 12).await, State::Completed, "13 needs it still");

    assert_eq!(leased(&store, claim_of("steps", "w9", late.as_millis())).await, [nth(13), nth(14)]);
    let fail = Fail {
        now: late,
        task: nth(14),
        fence: Fence { attempt: 1, worker: "w9".parse().unwrap() },
        caller: baton_model::Bounds::default(),
        failure: Failure { message: "no".to_owned(), code: None, details: None },
        retryable: false,
        retry_after: None,
    };
    store.fail(fail).await.unwrap();
    assert_eq!(kinds(&store, 15).await, [EventKind::Created, EventKind::DependencyFailed]);
    assert_eq!(state(&store, 15).await, State::Failed);
}

#[tokio::test]
async fn tasks_that_were_put_aside_at_a_limit_of_version_5_start_when_it_has_room() {
    let (_folder, store) = opened(5);
    let limits = store.limits(PageRequest::first(9)).await.unwrap().items;
    let told: Vec<_> = limits.iter().map(|status| (status.limit.on.to_string(), status.running)).collect();
    let expected = [("owner/studio", Some(2)), ("project/game", Some(0)), ("queue/gpu/key/*", None)];
    assert_eq!(told, expected.map(|(on, running)| (on.to_owned(), running)));
    let of_key = &limits[2].limit;
    assert_eq!((of_key.rules.max_running, of_key.rules.holds_retries), (Some(1), true));
    assert_eq!(of_key.reason.as_deref(), Some("one card each"));
    let exempt: Vec<_> = limits[0].limit.rules.exempt_types.iter().map(|one| one.as_str()).collect();
    assert_eq!(exempt, ["wait"]);
    let owned = store.owned_projects(PageRequest::first(9)).await.unwrap().items;
    assert_eq!((owned[0].project.as_str(), owned[0].owner.as_str()), ("film", "studio"));
    let audit = store.audit(AuditFilter::default(), PageRequest::first(9)).await.unwrap().items;
    let change = SettingChange { from: None, to: Some("at most 1 at once".to_owned()) };
    assert_eq!(audit[0].change, Some(change));

    assert_eq!(state(&store, 12).await, State::Queued);
    let full = store.claim(claim_of("gpu", "w9", 10_000)).await.unwrap();
    let ClaimAnswer::Nothing(Nothing::AtLimit { limit, .. }) = &full else {
        panic!("expected a limit: {full:?}")
    };
    assert_eq!(limit.to_string(), "queue/gpu/key/ada");
    store.complete(completion(11, "w1", 11_000), None).await.unwrap();
    assert_eq!(leased(&store, claim_of("gpu", "w9", 12_000)).await, [nth(12)]);

    assert_eq!(leased(&store, claim_of("web", "w9", 3_601_999)).await, []);
    assert_eq!(leased(&store, claim_of("web", "w9", 3_602_000)).await, [nth(13)]);
    assert_eq!(kinds(&store, 13).await, [EventKind::Created, EventKind::Claimed]);
}

#[tokio::test]
async fn tasks_of_version_6_expire_hold_their_keys_and_what_workers_take_is_known() {
    let (_folder, store) = opened(6);
    let create = |n, key: &str, now| {
        let spec = TaskSpec {
            project: "film".parse().unwrap(),
            queue: "one".parse().unwrap(),
            unique: Some(Unique { key: key.parse().unwrap(), held: UniqueWhile::Unfinished }),
            ..TaskSpec::new(nth(n), "render".parse().unwrap())
        };
        Create { now: millis(now), tasks: vec![spec], atomic: true, idempotency: None, by: None }
    };
    for (key, now, holder) in [("nightly", 10_000, 12), ("hourly", 10_000, 13), ("nightly", 3_700_000, 12)] {
        let given = store.create(create(21, key, now)).await.unwrap().items.remove(0).unwrap();
        assert_eq!((given.id, given.new), (nth(holder), false), "{key} at {now}");
    }
    for (n, key) in [(21, "hourly"), (22, "nightly")] {
        if key == "nightly" {
            let cancel = Cancel {
                now: millis(3_700_000),
                task: nth(12),
                by: None,
                reason: None,
                with_dependants: false,
            };
            store.cancel(cancel).await.unwrap();
        }
        assert!(store.create(create(n, key, 3_700_000)).await.unwrap().items.remove(0).unwrap().new, "{key}");
    }

    let takes = store.worker(&"w1".parse().unwrap()).await.unwrap().worker.takes;
    let types = vec!["render".parse().unwrap()];
    assert_eq!(takes, [Claim { types, ..Claim::new("w1".parse().unwrap(), millis(2_000)) }.takes()]);

    assert_eq!(store.expire(Expire { now: millis(49_999), limit: 9 }).await.unwrap().tasks, 0);
    assert_eq!(leased(&store, claim_of("soon", "w9", 50_000)).await, []);
    assert_eq!(kinds(&store, 11).await, [EventKind::Created, EventKind::Expired]);
    assert_eq!(state(&store, 11).await, State::Failed);
}

#[tokio::test]
async fn fair_queues_of_version_7_keep_their_turns_and_tasks_what_they_want_warm() {
    let (_folder, store) = opened(7);
    let order = store.queue(&"turns".parse().unwrap(), millis(10_000)).await.unwrap().order;
    assert_eq!(order, QueueOrder { fair: Some(FairBy::Project), age_after_seconds: Some(3_600) });
    // One of film's runs.
    assert_eq!(leased(&store, claim_of("turns", "w9", 10_000)).await, [nth(14), nth(12), nth(13)]);

    let one = Claim { max_tasks: 1, ..claim_of("soon-fair", "w8", 10_000) };
    assert_eq!(leased(&store, one).await, [nth(15)]);
    assert_eq!(leased(&store, claim_of("soon-fair", "w8", 10_000)).await, [nth(17), nth(16)], "by the key");

    let affinity = store.task(nth(18)).await.unwrap().task.affinity;
    assert_eq!(affinity, Some("cold-model".parse().unwrap()));
    let warm = Warm { names: vec!["warm-model".parse().unwrap()], wants: Wants::Only };
    assert_eq!(leased(&store, Claim { warm, ..claim_of("warm", "w7", 10_000) }).await, [nth(19)]);
    assert_eq!(leased(&store, claim_of("warm", "w7", 10_000)).await, [nth(18)]);
}

#[tokio::test]
async fn schedules_of_version_8_come_at_their_next_times() {
    let (_folder, store) = opened(8);
    let key = |name: &str| ScheduleKey { project: "film".parse().unwrap(), name: name.parse().unwrap() };
    let minutely = store.schedule(&key("minutely")).await.unwrap();
    assert_eq!((minutely.created, minutely.skipped, minutely.revision), (1, 1, 3));
    assert_eq!(
        (minutely.changed_by.as_ref(), minutely.reason.as_deref()),
        (Some(&"ada".parse().unwrap()), Some("dailies"))
    );
    assert_eq!(minutely.seed[15], 16);
    let run = async |now| {
        run_due(&store, millis(now), || false, |key, error| panic!("{key}: {error}")).await.unwrap().created
    };
    assert_eq!((run(120_999).await, run(121_000).await), (0, 1));
    let after = store.schedule(&key("minutely")).await.unwrap();
    assert_eq!((after.created, after.skipped, after.next_at), (2, 1, Some(millis(181_000))));
    let task = store.task(after.last.unwrap().task).await.unwrap().task;
    assert_eq!(task.params.as_str(), r#"{"at":"1970-01-01T00:02:01.000Z"}"#);
    assert_eq!((task.queue.as_str(), task.priority, task.head.max_attempts), ("clock", Priority::High, 2));
    assert_eq!(task.head.timeout, Some(Duration::from_secs(90)));

    let nightly = store.schedule(&key("nightly")).await.unwrap();
    assert_eq!((nightly.plan.if_missed, nightly.due_at()), (IfMissed::All(5), None));
    let said = Said { now: millis(121_000), by: None, reason: None };
    let resume = SetSchedule { key: key("nightly"), change: ScheduleChange::Resume, said };
    let resumed = store.set_schedule(resume).await.unwrap().to.unwrap();
    assert_eq!(resumed.due_at(), Some(millis(7_200_000)), "three in the morning in Berlin");
}

#[tokio::test]
async fn a_bulk_command_of_version_9_goes_on_where_it_stopped() {
    let (_folder, store) = opened(9);
    let [done, open] = ["c0", "c1"].map(|n| nth_text(n).parse::<BulkId>().unwrap());
    let ended = store.bulk(done).await.unwrap().unwrap();
    assert_eq!(
        (ended.state, ended.looked_at, ended.changed, ended.skipped["gone"]),
        (BulkState::Done, 3, 1, 2)
    );
    assert_eq!(store.open_bulks().await.unwrap(), [open]);
    let early = baton_store::bulk::step(&store, open, Bulk::PAGE, millis(14_999)).await.unwrap();
    assert_eq!((early.version, early.looked_at), (1, 0), "another may be at its page");
    let bulk = baton_store::bulk::step(&store, open, Bulk::PAGE, millis(30_000)).await.unwrap();
    assert_eq!((bulk.state, bulk.looked_at, bulk.changed), (BulkState::Done, 3, 3));
    for n in [11, 12, 13] {
        let task = store.task(nth(n)).await.unwrap();
        assert_eq!((task.task.head.state, task.history.len()), (TaskState::Cancelled, 2));
        assert_eq!(task.history[1].detail.reason, Some(bulk.note()));
    }
    assert_eq!(state(&store, 14).await, State::Queued, "it came later than the command");
    assert!(store.open_bulks().await.unwrap().is_empty());
    let filter = TaskFilter { queue: Some("bulk".parse().unwrap()), ..TaskFilter::default() };
    assert_eq!(store.tasks(filter, PageRequest::first(9)).await.unwrap().items.len(), 4);
}
