//! A store's health as it is told to whoever asks: which needs no token, so that it names no paths and no causes.

use baton_api::health::{AbilityView, StoreView};
use baton_store::{Health, StoreError};

use crate::error::ApiError;

/// What a store can do, if it can be read and written.
///
/// # Errors
/// The problem that says what cannot be done and why. Its causes go to the log.
pub fn ready(health: Health) -> Result<StoreView, ApiError> {
    let Health { read, write, sizes } = health;
    let view = StoreView {
        read: ability(&read),
        write: write.as_ref().map_or_else(untried, ability),
        room_bytes: sizes.and_then(|sizes| sizes.room_bytes),
        file_bytes: sizes.map(|sizes| sizes.file_bytes),
        free_bytes: sizes.map(|sizes| sizes.free_bytes),
        log_bytes: sizes.map(|sizes| sizes.log_bytes),
        tasks: sizes.map(|sizes| sizes.tasks),
    };
    match write.unwrap_or(Ok(())).and(read) {
        Ok(()) => Ok(view),
        Err(cause) => Err(ApiError::not_ready(view, cause)),
    }
}

/// Where a write would be paid for at each question of whoever asks.
fn untried() -> AbilityView {
    let detail = "it is not tried here, as it would be paid for at each question; create a task to try it";
    AbilityView { status: "untried".to_owned(), detail: Some(detail.to_owned()) }
}

fn ability(outcome: &Result<(), StoreError>) -> AbilityView {
    let (status, detail) = match outcome {
        Ok(()) => return AbilityView { status: "ok".to_owned(), detail: None },
        Err(StoreError::StorageFull(_)) => (
            "full",
            "its disk is full, or its file has reached store.max_mebibytes; free space, or raise the limit",
        ),
        Err(StoreError::Unavailable(_) | StoreError::Unknown(_) | StoreError::Busy) => {
            ("unavailable", "it is locked, busy or out of reach; try again in a second")
        }
        Err(StoreError::Corrupt { .. }) => ("damaged", "it is damaged; stop the server and restore a backup"),
        Err(StoreError::Gone { .. }) => {
            ("gone", "it was removed or replaced, and the server ends; put it back and start again")
        }
        Err(_) => ("failed", "it failed; find this request's id in the server's log for the cause"),
    };
    AbilityView { status: status.to_owned(), detail: Some(detail.to_owned()) }
}

#[cfg(test)]
mod tests {
    use baton_api::ProblemCode;

    use super::*;

    #[test]
    fn reading_and_writing_are_two_answers_and_tell_no_causes() {
        let cause = || baton_store::error::Cause::from("secret");
        let what = || "secret".to_owned();
        for (error, code, status) in [
            (StoreError::StorageFull(cause()), ProblemCode::StorageFull, "full"),
            (StoreError::Unavailable(cause()), ProblemCode::StorageUnavailable, "unavailable"),
            (StoreError::Unknown(cause()), ProblemCode::StorageUnavailable, "unavailable"),
            (StoreError::Corrupt { what: what(), cause: None }, ProblemCode::StorageUnavailable, "damaged"),
            (StoreError::Gone { what: what() }, ProblemCode::StorageUnavailable, "gone"),
            (StoreError::Internal { what: what(), cause: None }, ProblemCode::StorageUnavailable, "failed"),
        ] {
            let refused = ready(Health { read: Ok(()), write: Some(Err(error)), sizes: None }).unwrap_err();
            let problem = refused.into_problem();
            assert_eq!((problem.code.as_str(), problem.status), (code.as_str(), 503));
            assert!(problem.detail.ends_with("; the task store can be read"), "{}", problem.detail);
            let store = problem.store.unwrap();
            assert_eq!((store.read.status.as_str(), store.write.status.as_str()), ("ok", status));
            let told = serde_json::to_string(&store).unwrap() + &problem.detail;
            assert!(told.contains(';') && !told.contains("secret"), "{told}");
        }
        let broken = Err(StoreError::Corrupt { what: what(), cause: None });
        let problem =
            ready(Health { read: broken, write: Some(Ok(())), sizes: None }).unwrap_err().into_problem();
        assert!(
            problem
                .detail
                .starts_with("the task store can be written; the task store cannot be read: it is damaged")
        );
    }

    #[test]
    fn a_write_that_is_not_tried_is_said_to_be_so_and_is_in_nobodys_way() {
        let view = ready(Health { read: Ok(()), write: None, sizes: None }).unwrap();
        assert_eq!((view.read.status.as_str(), view.write.status.as_str()), ("ok", "untried"));
        let cause = baton_store::error::Cause::from("secret");
        let unread = Health { read: Err(StoreError::Unavailable(cause)), write: None, sizes: None };
        let problem = ready(unread).unwrap_err().into_problem();
        assert_eq!(problem.status, 503);
        assert!(problem.detail.contains("cannot be read"), "{}", problem.detail);
    }
}
