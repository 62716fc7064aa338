//! Endings of several attempts in one request, as random histories draw them.

use super::{History, Trace, leases, promised_back, same};
use crate::conformance::kit::*;
use crate::{Complete, EndAnswer, EndedAs, Ending, Fail, Release, StoreError, TaskStore};

impl History {
    /// Ends some attempts at once: mostly such as are held, some twice, some again.
    pub(super) async fn end(&mut self, trace: &mut Trace) {
        self.expire().await;
        let mut endings = Vec::new();
        for _ in 0..1 + self.random.below(5) {
            endings.extend(self.ending());
        }
        let next = self.random.once_in(2).then(|| self.new_claim());
        trace.command = format!("{endings:?} {next:?}");
        let real = self.real.end(endings.clone(), next.clone()).await.map(plain);
        let model = self.model.end(endings, next).await.map(plain);
        if let Some((_, Some(Ok(tasks)))) = same(real, model) {
            self.held.splice(0..0, tasks);
        }
        // What was given back by it may have expired meanwhile, and the claim may have ended it, whose choice that is.
        self.expire().await;
    }

    fn ending(&mut self) -> Option<Ending> {
        let again = self.random.pick(&self.completions).cloned();
        if let Some(again) = again
            && self.random.once_in(6)
        {
            return Some(Ending::Complete(Complete { now: self.now, ..again }));
        }
        let (held, fence) = self.lease()?;
        let wait = millis(self.random.below(20_000));
        Some(match self.random.below(4) {
            0 => {
                let retryable = !self.random.once_in(5);
                let retry_after = self.random.once_in(3).then_some(wait);
                Ending::Fail(Fail { fence, retryable, retry_after, ..failing(self.now, &held) })
            }
            1 => Ending::Release(Release { fence, delay: wait, ..releasing(self.now, &held) }),
            _ => {
                let output = output(["one", "two"][self.random.below(2) as usize]);
                let complete = Complete { fence, output, ..self.bench.completion(self.now, &held) };
                self.completions.push(complete.clone());
                Ending::Complete(complete)
            }
        })
    }
}

/// What is compared of an answer: errors by their texts, and of the claim its leases.
type Plain = (Vec<Result<EndedAs, String>>, Option<Result<Vec<baton_model::Task>, String>>);

fn plain(answer: EndAnswer) -> Plain {
    let text = |error: StoreError| format!("{error:?}");
    let promised = |ended: EndedAs| match ended {
        EndedAs::Back(answer) => EndedAs::Back(promised_back(answer)),
        completed @ EndedAs::Completed(_) => completed,
    };
    let items = answer.items.into_iter().map(|item| item.map(promised).map_err(text)).collect();
    (items, answer.next.map(|next| leases(next).map_err(text)))
}
