//! The oracle's endings: one after the other, each by the command that it is alone.

use super::Oracle;
use crate::*;

impl Oracle {
    pub(super) async fn end_each(&self, endings: Vec<Ending>, next: Option<Claim>) -> EndAnswer {
        let mut items = Vec::with_capacity(endings.len());
        for ending in endings {
            items.push(match ending {
                Ending::Complete(complete) => self.complete(complete, None).await.map(|answer| {
                    let CompleteAnswer { generation, domain, repeated, next: _ } = answer;
                    EndedAs::Completed(Completion { generation, domain, repeated })
                }),
                Ending::Fail(fail) => self.fail(fail).await.map(EndedAs::Back),
                Ending::Release(release) => self.release(release).await.map(EndedAs::Back),
            });
        }
        let next = match next {
            Some(claim) => Some(self.claim(claim).await),
            None => None,
        };
        EndAnswer { items, next }
    }
}
