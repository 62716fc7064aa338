//! Workers that end several attempts by one request, over a store that fails.

use baton_model::{Bounds, GenerationId, Output, Task};

use super::Shared;
use crate::conformance::kit::*;
use crate::conformance::split_mix::SplitMix;
use crate::{Complete, Completion, EndedAs, Ending, ErrorKind, Fail};

impl Shared {
    /// Ends all that a worker holds, and claims what comes next. What the store could not do is sent again, with those beside
    /// it or without.
    pub(super) async fn end_all(&self, worker: &str, held: Vec<Task>, random: &mut SplitMix) -> Vec<Task> {
        let mut endings: Vec<Ending> = held.iter().map(|task| self.ending(task, random)).collect();
        let next = self.claim(worker, 1 + random.below(3) as u32, true);
        let mut leased = Vec::new();
        loop {
            let ask = || self.store.end(endings.clone(), Some(next.clone()));
            let answer = self.sent(ask).await.expect("endings are taken");
            if leased.is_empty() {
                leased = self.next(worker, answer.next);
            }
            let mut again = Vec::new();
            for (ending, item) in endings.into_iter().zip(answer.items) {
                match (&ending, item) {
                    (Ending::Complete(complete), Ok(EndedAs::Completed(Completion { generation, .. }))) => {
                        self.completed(complete.generation, generation);
                    }
                    (_, Err(error))
                        if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown) =>
                    {
                        again.push(ending);
                    }
                    // Its lease may have run out: then the refusal is the answer.
                    (_, Ok(EndedAs::Back(_)) | Err(_)) => {}
                    (ending, Ok(taken)) => panic!("{ending:?} was taken as {taken:?}"),
                }
            }
            if again.is_empty() {
                return leased;
            }
            endings = again;
        }
    }

    fn ending(&self, task: &Task, random: &mut SplitMix) -> Ending {
        let now = self.now();
        match random.below(6) {
            0 => {
                let retry_after = Some(std::time::Duration::ZERO);
                Ending::Fail(Fail { retryable: random.below(8) > 0, retry_after, ..failing(now, task) })
            }
            1 => Ending::Release(releasing(now, task)),
            _ => {
                let result = json(&format!("\"{}\"", "r".repeat(random.below(3_000) as usize)));
                let output = Output { result: Some(result), ..Output::default() };
                let generation = GenerationId::from_bytes(self.id());
                let (task, fence) = (task.head.id, fence(task));
                Ending::Complete(Complete {
                    now,
                    task,
                    fence,
                    caller: Bounds::default(),
                    generation,
                    output,
                    ran: None,
                })
            }
        }
    }
}
