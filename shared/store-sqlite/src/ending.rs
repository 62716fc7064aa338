//! Endings of several attempts in one command of the writing thread, so that they share its commit.
//!
//! Each is refused before it has written anything, as every command is, so that its neighbours stand.

use std::sync::Arc;

use baton_model::Fingerprint;
use baton_store::{
    Claim, ClaimAnswer, Complete, EndAnswer, EndedAs, Ending, ErrorKind, Fail, Release, StoreError,
};

use crate::SqliteStore;
use crate::claim::claim;
use crate::error::Failure;
use crate::finish;
use crate::transaction::Transaction;

/// An ending as the writing thread takes it: the fingerprint of an output is taken before.
enum Asked {
    Complete(Complete, Fingerprint),
    Fail(Fail),
    Release(Release),
}

impl From<Ending> for Asked {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Complete(complete) => {
                let output = complete.output.fingerprint();
                Self::Complete(complete, output)
            }
            Ending::Fail(fail) => Self::Fail(fail),
            Ending::Release(release) => Self::Release(release),
        }
    }
}

impl SqliteStore {
    /// Ends attempts by one command, and claims after them.
    pub(crate) async fn end_all(
        &self,
        endings: Vec<Ending>,
        next: Option<Claim>,
    ) -> Result<EndAnswer, StoreError> {
        let endings: Arc<Vec<Arc<Asked>>> =
            Arc::new(endings.into_iter().map(|ending| Arc::new(ending.into())).collect());
        match self.writer.run((Arc::clone(&endings), next.clone()), end).await {
            // What one of them is about is damaged, and all were undone: the others need not suffer for it.
            Err(error) if error.kind() == ErrorKind::Internal => self.end_each(&endings, next).await,
            answer => answer,
        }
    }

    /// Each by a command of its own.
    async fn end_each(&self, endings: &[Arc<Asked>], next: Option<Claim>) -> Result<EndAnswer, StoreError> {
        let asked = endings.iter().map(|asked| {
            self.writer.run(Arc::clone(asked), |transaction, asked| end_one(transaction, asked))
        });
        let mut items = Vec::with_capacity(endings.len());
        for asked in asked {
            items.push(asked.await);
        }
        let next = match next {
            Some(next) => Some(self.writer.run(next, claim).await),
            None => None,
        };
        Ok(EndAnswer { items, next })
    }
}

type All = (Arc<Vec<Arc<Asked>>>, Option<Claim>);

fn end(transaction: &mut Transaction<'_>, (endings, next): &All) -> Result<EndAnswer, Failure> {
    let mut items = Vec::with_capacity(endings.len());
    for asked in endings.iter() {
        items.push(kept(end_one(transaction, asked))?);
    }
    Ok(EndAnswer { items, next: claim_after(transaction, next.as_ref())? })
}

fn end_one(transaction: &mut Transaction<'_>, asked: &Asked) -> Result<EndedAs, Failure> {
    match asked {
        Asked::Complete(complete, output) => {
            finish::completion(transaction, complete, output).map(EndedAs::from)
        }
        Asked::Fail(fail) => finish::fail(transaction, fail).map(EndedAs::from),
        Asked::Release(release) => finish::release(transaction, release).map(EndedAs::from),
    }
}

/// A claim that comes along with ends: one that is refused says so in the answer, and they stand.
pub(crate) fn claim_after(
    transaction: &mut Transaction<'_>,
    next: Option<&Claim>,
) -> Result<Option<Result<ClaimAnswer, StoreError>>, Failure> {
    next.map(|next| kept(claim(transaction, next))).transpose()
}

/// What a part of a command has come to, unless the whole command is to be undone.
fn kept<T>(outcome: Result<T, Failure>) -> Result<Result<T, StoreError>, Failure> {
    match outcome {
        Ok(done) => Ok(Ok(done)),
        Err(Failure::Refused(refusal)) => Ok(Err(refusal)),
        Err(broken @ Failure::Broken(_)) => Err(broken),
    }
}
