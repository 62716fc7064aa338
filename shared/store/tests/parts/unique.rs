use baton_model::{TaskId, TaskSpec, Timestamp};
use baton_store::unique::{First, after_firsts, firsts, held_by};

fn id(n: u8) -> TaskId {
    TaskId::from_bytes([n; 16])
}

fn spec(n: u8, key: Option<&str>, after: &[u8]) -> TaskSpec {
    TaskSpec {
        unique: key.map(|key| baton_model::Unique {
            key: key.parse().unwrap(),
            held: baton_model::UniqueWhile::default(),
        }),
        depends_on: after.iter().copied().map(id).collect(),
        ..TaskSpec::new(id(n), "render".parse().unwrap())
    }
}

#[test]
fn what_waits_for_a_task_that_is_not_created_waits_for_the_first_of_its_key() {
    let specs = [
        spec(1, Some("a"), &[]),
        spec(2, Some("a"), &[]),
        spec(3, Some("b"), &[2]),
        spec(4, None, &[1, 2, 3]),
    ];
    let now = Timestamp::from_millis(0);
    let holder = spec(9, Some("b"), &[]).first_head(now);
    let standing = |place| (place == 2).then(|| held_by(&holder, now, now));
    let found = firsts(&specs, |_| true, standing);
    assert_eq!(found.len(), 2);
    assert_eq!(found[&1], First::Sibling(0));
    assert!(matches!(&found[&2], First::Standing(accepted) if accepted.id == id(9)));
    assert_eq!(after_firsts(&specs, &found)[3].depends_on, [id(1), id(9)]);
}
