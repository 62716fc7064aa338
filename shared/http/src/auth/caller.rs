//! Who asks.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::extract::FromRequestParts;
use baton_api::ProblemCode;
use baton_model::{Bounds, Grant, Label, Owner, ProjectId, QueueName, Token, Trace, trace};
use baton_store::SettingChange;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use super::authenticator::check_status;
use crate::app::App;
use crate::error::ApiError;
use crate::room::{COUNTED, Kept};

/// Who asks, as far as is known. A handler that takes it works only behind [`super::Authenticate`]. Copies are of one
/// request.
#[derive(Clone, Debug)]
pub struct Caller {
    token: Option<Arc<Token>>,
    request: Arc<OfRequest>,
    /// Its bounds, once they were asked for: a request may end a thousand attempts.
    bounds: OnceLock<Bounds>,
    trace: Option<Arc<Traced>>,
}

/// What belongs to the request, and is shared by the copies of its caller.
#[derive(Debug, Default)]
struct OfRequest {
    said: OnceLock<Said>,
    changed: OnceLock<SettingChange>,
    keeping: Mutex<Keeping>,
}

impl OfRequest {
    fn keeping(&self) -> MutexGuard<'_, Keeping> {
        // Each statement that writes it leaves it whole.
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request keeps of the room for answers.
#[derive(Debug, Default)]
enum Keeping {
    /// Nothing, as no answer goes out: what asks within the process, or by a queue, or goes on once it was answered.
    #[default]
    Never,
    /// Nothing yet.
    Nothing,
    /// Room for its answer.
    Room(Arc<Kept>),
}

/// What a request says of itself, for the audit log.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) by: Option<Label>,
    pub(super) reason: Option<String>,
    pub(super) change: Option<SettingChange>,
}

impl Caller {
    /// A caller that needs no token, as on a loopback address: it may do everything.
    pub fn unrestricted() -> Self {
        Self { token: None, request: Arc::default(), bounds: OnceLock::new(), trace: None }
    }

    /// The caller that presented this token.
    pub fn of(token: Token) -> Self {
        Self { token: Some(Arc::new(token)), request: Arc::default(), bounds: OnceLock::new(), trace: None }
    }

    /// The token that was presented, if one was.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_deref()
    }

    /// What the token allows; everything if there is none.
    pub fn grant(&self) -> Option<&Grant> {
        self.token().map(|token| &token.grant)
    }

    /// The token's name, for the record of what was done with it.
    pub fn name(&self) -> Option<Label> {
        self.token().map(|token| token.name.clone())
    }

    /// Notes for the audit log who asks, by the request's own word (`by`), and why. Gives who is to be named for what is
    /// done: that one, else the token.
    pub fn asks(&self, by: Option<Label>, reason: Option<&str>) -> Option<Label> {
        let said = Said { by: by.clone(), reason: reason.map(str::to_owned), change: None };
        // A handler says it once; what was said first stands.
        let _ = self.request.said.set(said);
        by.or_else(|| self.name())
    }

    /// Notes for the audit log what a setting was and is, in words.
    pub fn has_changed(&self, from: Option<String>, to: Option<String>) {
        // A request changes one setting.
        let _ = self.request.changed.set(SettingChange { from, to });
    }

    /// What the request has said of itself until now.
    pub(super) fn said(&self) -> Said {
        let said = self.request.said.get().cloned().unwrap_or_default();
        Said { change: self.request.changed.get().cloned(), ..said }
    }

    /// Keeps room for an answer of up to so many bytes. To be asked for before anything is done, where what is done must be told. What
    /// is told in less than is counted needs none.
    ///
    /// # Errors
    /// 503 if there is none: nothing may be done.
    pub async fn keep_room(&self, app: &App, bytes: usize) -> Result<(), ApiError> {
        if bytes <= COUNTED {
            return Ok(());
        }
        {
            let mut keeping = self.request.keeping();
            match &*keeping {
                Keeping::Never => return Ok(()),
                Keeping::Room(kept) if kept.bytes >= bytes => return Ok(()),
                // Who waits for room keeps none meanwhile: two such could wait for each other.
                Keeping::Nothing | Keeping::Room(_) => *keeping = Keeping::Nothing,
            }
        }
        let kept = app.room.keep(bytes).await?;
        *self.request.keeping() = Keeping::Room(Arc::new(kept));
        Ok(())
    }

    /// Keeps room for an answer that tells of so many tasks, as [`Self::keep_room`] does.
    ///
    /// # Errors
    /// Those of [`Self::keep_room`].
    pub async fn keep_room_for_tasks(&self, app: &App, number: u32) -> Result<(), ApiError> {
        self.keep_room(app, app.room.for_tasks(number as usize, &app.limits())).await
    }

    /// Gives back what is kept: nothing was done that is to be told at length.
    pub fn give_room_back(&self) {
        let mut keeping = self.request.keeping();
        if let Keeping::Room(_) = &*keeping {
            *keeping = Keeping::Nothing;
        }
    }

    /// An answer goes out to it, for which room may be kept.
    pub(super) fn hears_an_answer(&self) {
        *self.request.keeping() = Keeping::Nothing;
    }

    /// There is the answer: what is kept for it. Whatever goes on from here keeps nothing more.
    pub(super) fn has_its_answer(&self) -> Option<Arc<Kept>> {
        match std::mem::take(&mut *self.request.keeping()) {
            Keeping::Room(kept) => Some(kept),
            Keeping::Never | Keeping::Nothing => None,
        }
    }

    /// The span of the caller's that the request is a part of, as its headers say.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()?.get()
    }

    /// The project that it is bound to.
    pub fn project(&self) -> Option<&ProjectId> {
        self.grant().and_then(|grant| grant.project.as_ref())
    }

    /// Its bounds, as far as workers' names belong to them.
    pub fn owner(&self) -> Owner {
        self.grant().map_or(Owner::Unbound, Owner::of)
    }

    /// Its bounds, for a command that the store judges by them.
    pub fn bounds(&self) -> Bounds {
        self.bounds.get_or_init(|| self.grant().map(Bounds::of).unwrap_or_default()).clone()
    }

    /// The queues that it is bound to; all if none.
    pub fn queues(&self) -> impl ExactSizeIterator<Item = &QueueName> {
        static ALL: std::collections::BTreeSet<QueueName> = std::collections::BTreeSet::new();
        self.grant().map_or(&ALL, |grant| &grant.queues).iter()
    }

    /// Lets a request go on that has waited: its token may have ended meanwhile.
    ///
    /// # Errors
    /// 401 if it has, and the store's own failures.
    pub async fn still_stands(&self, app: &App) -> Result<(), ApiError> {
        let Some(token) = self.token() else { return Ok(()) };
        match app.store.token(token.id).await? {
            Some(stored) => check_status(&stored.token, app.now()),
            None => Err(ApiError::new(
                ProblemCode::Unauthorized,
                "the token is gone; ask an operator for a new one",
            )),
        }
    }

    /// Whether it does not reach all tasks.
    pub fn is_bound(&self) -> bool {
        self.grant().is_some_and(|grant| !grant.is_unbound())
    }

    /// Whether it reaches tasks of this queue.
    pub fn covers_queue(&self, queue: &QueueName) -> bool {
        self.grant().is_none_or(|grant| grant.covers_queue(queue))
    }

    /// Whether it reaches tasks of a project, as far as its project goes.
    pub fn covers_project(&self, project: &ProjectId) -> bool {
        self.project().is_none_or(|own| own == project)
    }

    /// Whether it reaches a task.
    pub fn covers(&self, queue: &QueueName, project: &ProjectId) -> bool {
        self.grant().is_none_or(|grant| grant.covers(queue, project))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    /// Without the layer that authenticates, nobody may do anything: the server is put together wrongly.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a handler that needs to know its caller stands outside of the authentication");
            ApiError::internal()
        })?;
        Ok(Self { trace: Traced::of(&parts.headers).map(Arc::new), ..caller })
    }
}

/// What a request's headers say of a trace. It is read once somebody asks for it, as few do of all who send it along.
#[derive(Debug)]
struct Traced {
    parent: HeaderValue,
    states: Vec<HeaderValue>,
    read: OnceLock<Option<Trace>>,
}

impl Traced {
    /// None without a `traceparent`, which is most requests.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let parent = parent_in(headers)?.clone();
        let states = headers.get_all(trace::TRACESTATE).iter().cloned().collect();
        Some(Self { parent, states, read: OnceLock::new() })
    }

    fn get(&self) -> Option<&Trace> {
        self.read.get_or_init(|| read(&self.parent, self.states.iter())).as_ref()
    }
}

/// The span that a request is a part of. What is malformed is passed over: it is not the business of whoever asks for a task that something
/// between has spoilt a header of tracing.
pub fn trace_of(headers: &HeaderMap) -> Option<Trace> {
    read(parent_in(headers)?, headers.get_all(trace::TRACESTATE).iter())
}

/// The one `traceparent`.
fn parent_in(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut parents = headers.get_all(trace::TRACEPARENT).iter();
    let parent = parents.next()?;
    parents.next().is_none().then_some(parent)
}

fn read<'a>(parent: &HeaderValue, states: impl Iterator<Item = &'a HeaderValue>) -> Option<Trace> {
    let states: Option<Vec<&str>> = states.map(|state| state.to_str().ok()).collect();
    let state = states.filter(|states| !states.is_empty()).map(|states| states.join(","));
    Trace::of_headers(parent.to_str().ok()?, state.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_read_where_it_is_asked_for_and_once() {
        let mut headers = HeaderMap::new();
        assert!(Traced::of(&headers).is_none());
        headers.insert(trace::TRACEPARENT, HeaderValue::from_static(PARENT));
        for state in ["a=1", "b=2"] {
            headers.append(trace::TRACESTATE, HeaderValue::from_static(state));
        }
        let caller = Caller { trace: Traced::of(&headers).map(Arc::new), ..Caller::unrestricted() };
        let traced = caller.trace.clone().unwrap();
        assert!(traced.read.get().is_none(), "nobody has asked yet");
        let copy = caller.clone();
        assert_eq!(copy.trace(), trace_of(&headers).as_ref());
        assert_eq!(copy.trace().map(ToString::to_string), Some(format!("{PARENT} a=1,b=2")));
        assert!(traced.read.get().is_some(), "copies have read it together");
        headers.append(trace::TRACEPARENT, HeaderValue::from_static(PARENT));
        assert!(Traced::of(&headers).is_none() && trace_of(&headers).is_none(), "two say nothing");
    }
}
