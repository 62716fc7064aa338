//! What is compared of an answer, and what is told where it differs.

use std::fmt::Debug;

use baton_model::{Reason, Task, Why};

use super::batches::promised;
use crate::{ClaimAnswer, FailAnswer, StoreError, WorkerDetail};

/// What is left of an answer when it is compared: the answer itself, or the error by its text.
pub(super) fn same<T: Debug + PartialEq>(
    real: Result<T, StoreError>,
    model: Result<T, StoreError>,
) -> Option<T> {
    match (real, model) {
        (Ok(real), Ok(model)) => {
            assert_eq!(real, model);
            Some(real)
        }
        (Err(real), Err(model)) => {
            assert_eq!(format!("{real:?}"), format!("{model:?}"));
            None
        }
        (real, model) => panic!("the store answered {real:?}, the oracle {model:?}"),
    }
}

/// The leases of a claim; why there are none is left to the rules on claims, as several reasons may hold at once.
pub(super) fn leases(answer: Result<ClaimAnswer, StoreError>) -> Result<Vec<Task>, StoreError> {
    answer.map(|answer| match answer {
        ClaimAnswer::Leased(tasks) => tasks.into_iter().map(promised).collect(),
        ClaimAnswer::Nothing(_) => Vec::new(),
    })
}

/// What is promised of a task that was failed or given back.
pub(super) fn promised_back(answer: FailAnswer) -> FailAnswer {
    FailAnswer { task: promised(answer.task), ..answer }
}

/// As [`same`], of what is promised of a task.
pub(super) fn same_task(real: Result<Task, StoreError>, model: Result<Task, StoreError>) {
    same(real.map(promised), model.map(promised));
}

/// Leases of one claim are equally old: their order is the store's choice.
pub(super) fn leases_sorted(mut detail: WorkerDetail) -> WorkerDetail {
    detail.leases.sort();
    detail
}

/// Why a task is kept. How many come before it is a number that has bounds, and who takes it is said of live workers.
pub(super) fn kept(mut why: Why) -> Why {
    why.reasons.retain(Reason::keeps);
    why
}

/// Prints where a history stood when it failed, as the failed assertion does not know.
pub(super) struct Trace {
    pub(super) seed: u64,
    pub(super) step: usize,
    pub(super) command: String,
}

impl Drop for Trace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, step, command } = self;
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("BATON_SEED={seed}, step {step}: {command}\n"),
            );
        }
    }
}
