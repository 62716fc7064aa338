//! Ends of several attempts, where one of them is about a row that is damaged.

use baton_model::{Bounds, Fence, GenerationId, Output, State};
use baton_store::{Claim, ClaimAnswer, Complete, EndedAs, Ending, ErrorKind, TaskStore};
use baton_store_sqlite::Options;
use rusqlite::Connection;

use super::{at, id, open, task};

#[tokio::test]
async fn an_end_of_what_is_damaged_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&at(&folder), Options::default()).unwrap();
    for n in 1..=4 {
        store.create(task(n, 10)).await.unwrap();
    }
    let claim = |max_tasks| {
        let now = baton_model::Timestamp::from_millis(2_000);
        Claim { max_tasks, ..Claim::new("w".parse().unwrap(), now) }
    };
    let ClaimAnswer::Leased(held) = store.claim(claim(3)).await.unwrap() else { panic!("expected tasks") };
    let other = Connection::open(at(&folder)).unwrap();
    let damage = "UPDATE task SET priority = 99 WHERE id = ?1";
    assert_eq!(other.execute(damage, [id(2).as_bytes()]).unwrap(), 1);

    let ending = |(n, task): (u128, &baton_model::Task)| {
        Ending::Complete(Complete {
            now: task.updated_at,
            task: task.head.id,
            fence: Fence { attempt: 1, worker: "w".parse().unwrap() },
            caller: Bounds::default(),
            generation: GenerationId::from_bytes((100 + n).to_be_bytes()),
            output: Output::default(),
            ran: None,
        })
    };
    let answer = store.end((0..).zip(&held).map(ending).collect(), Some(claim(1))).await.unwrap();
    assert!(matches!(&answer.items[0], Ok(EndedAs::Completed(taken)) if taken.generation.task == id(1)));
    assert_eq!(answer.items[1].as_ref().unwrap_err().kind(), ErrorKind::Internal);
    assert!(matches!(&answer.items[2], Ok(EndedAs::Completed(taken)) if taken.generation.task == id(3)));
    let Some(Ok(ClaimAnswer::Leased(next))) = answer.next else { panic!("expected the next task") };
    assert_eq!(next[0].head.id, id(4));
    for n in [1, 3] {
        let detail = store.task(id(n)).await.unwrap();
        assert_eq!(detail.task.head.state.state(), State::Completed);
        assert!(detail.generation.is_some());
    }
}
