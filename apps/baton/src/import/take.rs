//! Tasks into a store, through the command by which it takes in what another store has read out.

use baton_store::transfer::{ImportError, Record, TaskRecord, Transfer, Verdict};
use futures::{StreamExt as _, stream};

use crate::exit::Failure;

/// How many tasks are sent at once where each is a command of its own.
const AT_ONCE: usize = 64;

/// What became of each task: how it stands to what was there, or why it was refused.
///
/// # Errors
/// If the store fails; some of them may have been taken in then.
pub(crate) async fn take(
    target: &dyn Transfer,
    tasks: Vec<TaskRecord>,
) -> Result<Vec<Result<Verdict, String>>, Failure> {
    let record = |task: &TaskRecord| Record::Task(Box::new(task.clone()));
    match target.import(tasks.iter().map(record).collect()).await {
        Ok(verdicts) => Ok(verdicts.into_iter().map(Ok).collect()),
        Err(ImportError::Store(error)) => Err(Failure::failed(error.report())),
        // A refusal is of one task, and says nothing of the others: each is asked by itself. What was taken in is found as it is.
        Err(ImportError::Refused(_)) => one_by_one(target, tasks).await,
    }
}

async fn one_by_one(
    target: &dyn Transfer,
    tasks: Vec<TaskRecord>,
) -> Result<Vec<Result<Verdict, String>>, Failure> {
    let asked = tasks.into_iter().map(|task| async move {
        match target.import(vec![Record::Task(Box::new(task))]).await {
            Ok(verdicts) => Ok(Ok(verdicts.first().copied().unwrap_or(Verdict::Same))),
            Err(ImportError::Refused(refusal)) => Ok(Err(refusal.to_string())),
            Err(ImportError::Store(error)) => Err(Failure::failed(error.report())),
        }
    });
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    answers.into_iter().collect()
}
