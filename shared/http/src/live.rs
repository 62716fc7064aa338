//! Events of tasks as they happen, for as many listeners as there may be.
//!
//! One reader goes along with the end of the order of all events, woken by commits, and puts what it reads into one ring that all
//! listeners read from: what they take of memory does not grow with their number nor with how slow they are. A listener
//! that is behind what the ring holds reads on from the store, by its position; one that is behind because it takes nothing
//! is told so and cut off. `docs/timeline.md` has what listeners see of this.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use baton_api::ProblemCode;
use baton_api::timeline::LiveEventView;
use baton_model::{Expected, TimelineEntry, TimelineFilter};
use baton_runtime::Shutdown;
use baton_store::{Store, StoreError};
use futures::FutureExt as _;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;

/// How many events the ring holds.
const RING: usize = 1_024;

/// How many events are read from the store at once.
const PART: u32 = 100;

/// How long the reader lets commits come together: a listener is told of an event about so much later.
const TOGETHER: Duration = Duration::from_millis(20);

/// How long a reader waits after the store has failed.
const AGAIN: Duration = Duration::from_secs(1);

/// A listener that took nothing for so long, and for which the ring did not suffice meanwhile, is too slow.
const SLOW: Duration = Duration::from_secs(2);

/// How often a listener to which nothing is told hears that all is well, and its token is looked at.
pub const ALIVE: Duration = Duration::from_secs(10);

/// An event with its position.
#[derive(Debug)]
pub struct LiveEvent {
    /// The position.
    pub position: u64,
    entry: TimelineEntry,
    text: OnceLock<String>,
}

impl LiveEvent {
    /// An event at a position.
    pub fn new((position, entry): (u64, TimelineEntry)) -> Self {
        Self { position, entry, text: OnceLock::new() }
    }

    /// As callers are shown it.
    pub fn view(&self) -> LiveEventView {
        LiveEventView { id: self.position, entry: self.entry.clone().into() }
    }

    /// The same as text; made once for all listeners.
    pub fn text(&self) -> &str {
        // What is made of text and numbers always serialises.
        self.text.get_or_init(|| serde_json::to_string(&self.view()).unwrap_or_default())
    }
}

/// Why a listener hears no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It took nothing while more happened than is held for it.
    Slow,
    /// The server stops.
    Shutdown,
    /// Its token has ended.
    Unauthorized,
    /// The store cannot be read.
    Unavailable,
}

impl Ended {
    /// The reason's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Shutdown => "shutdown",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What a listener hears next.
#[derive(Debug)]
pub enum Heard {
    /// An event.
    Event(Arc<LiveEvent>),
    /// Nothing that fits, up to this position.
    Nothing(u64),
    /// That this is the end; it may go on from this position.
    End(Ended, u64),
}

/// The most that `server.max_listeners` may be.
const PLACES: usize = 100_000;

/// The listeners of a process.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    shutdown: Shutdown,
    /// Gives out as many places as there may ever be: how many there may be at the moment is asked with each.
    places: Arc<Semaphore>,
    ring: broadcast::Sender<Arc<LiveEvent>>,
    tail: Mutex<Tail>,
}

/// Where the reader is.
#[derive(Default)]
struct Tail {
    reads: bool,
    /// Up to where the ring was given all.
    position: u64,
}

impl Live {
    /// Nobody listens yet.
    pub fn new(store: Arc<dyn Store>, shutdown: Shutdown) -> Self {
        let places = Arc::new(Semaphore::new(PLACES));
        let (ring, _) = broadcast::channel(RING);
        Self(Arc::new(Shared { store, shutdown, places, ring, tail: Mutex::default() }))
    }

    /// A place among so many.
    fn place(&self, most: u32) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = Arc::clone(&self.0.places).try_acquire_owned().ok();
        // Of several at once each sees the places of the others taken, so that never more than these are given out.
        let taken = PLACES - self.0.places.available_permits();
        place.filter(|_| taken <= most as usize).ok_or_else(|| {
            let detail = format!(
                "{most} listeners wait for events, and no more may (server.max_listeners); try again later, or ask for less often"
            );
            ApiError::new(ProblemCode::TooManyRequests, detail).retry_after(5)
        })
    }

    /// Begins to listen behind a position, or from now on.
    ///
    /// # Errors
    /// 501 if the store has no order of all events; 429 if there are as many listeners as there may be; 422 if the position is
    /// none that there was.
    pub async fn listen(
        &self,
        app: &App,
        caller: &Caller,
        filter: TimelineFilter,
        after: Option<u64>,
    ) -> Result<Listener, ApiError> {
        let head = self.0.store.feed_head().await?;
        let place = self.place(app.max_listeners())?;
        if let Some(after) = after.filter(|after| *after > head) {
            let expected = format!("the id of an event that there was, up to {head}");
            return Err(ApiError::field("after", Expected::new(expected, after.to_string())));
        }
        let mut listener = Listener {
            live: Arc::clone(&self.0),
            app: app.clone(),
            caller: caller.clone(),
            filter,
            position: after.unwrap_or(head),
            read: VecDeque::new(),
            ring: None,
            given_at: None,
            was_stuck: false,
            alive: {
                let mut alive = interval_at(Instant::now() + ALIVE, ALIVE);
                alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
                alive
            },
            _place: place,
        };
        if listener.position == head {
            // From now on, and not from when it first takes something.
            listener.catch_up().await?;
        }
        Ok(listener)
    }
}

impl Shared {
    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ring from now on, and the position up to which it is not told by it.
    async fn subscribe(self: &Arc<Self>) -> Result<(broadcast::Receiver<Arc<LiveEvent>>, u64), StoreError> {
        let head = self.store.feed_head().await?;
        let mut tail = self.tail();
        if !tail.reads {
            *tail = Tail { reads: true, position: head };
            tokio::spawn(read(Arc::clone(self)));
        }
        Ok((self.ring.subscribe(), tail.position))
    }
}

/// Reads along with the end of the order of all events, as long as somebody listens.
async fn read(shared: Arc<Shared>) {
    let mut position = shared.tail().position;
    loop {
        let beyond = tokio::select! {
            biased;
            () = shared.shutdown.wait() => Err(StoreError::Busy),
            beyond = shared.store.feed_beyond(position) => beyond,
        };
        if shared.shutdown.begun() {
            shared.tail().reads = false;
            return;
        }
        let told = match beyond {
            Ok(head) => {
                sleep(TOGETHER).await;
                tell(&shared, &mut position, head).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::warn!(error = error.report(), "events cannot be read; listeners wait");
            sleep(AGAIN).await;
        }
        let mut tail = shared.tail();
        if shared.ring.receiver_count() == 0 {
            tail.reads = false;
            return;
        }
    }
}

/// Gives the ring what there is up to a position at least.
async fn tell(shared: &Shared, position: &mut u64, head: u64) -> Result<(), StoreError> {
    while *position < head {
        let part = shared.store.feed(*position, PART).await?;
        // Who begins to listen meanwhile is told where the ring is.
        let mut tail = shared.tail();
        for event in part.items {
            // Nobody may listen any more.
            let _ = shared.ring.send(Arc::new(LiveEvent::new(event)));
        }
        if part.up_to == *position {
            break;
        }
        *position = part.up_to;
        tail.position = part.up_to;
    }
    Ok(())
}

/// One who listens.
pub struct Listener {
    live: Arc<Shared>,
    app: App,
    caller: Caller,
    filter: TimelineFilter,
    /// Up to where all that fits was told, or is in `read`.
    position: u64,
    /// What was read from the store and not told yet.
    read: VecDeque<Arc<LiveEvent>>,
    /// None while it reads from the store.
    ring: Option<broadcast::Receiver<Arc<LiveEvent>>>,
    /// When it was given something, unless it has asked for more since.
    given_at: Option<Instant>,
    /// Whether it took nothing for a while since it reads from the ring.
    was_stuck: bool,
    alive: tokio::time::Interval,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// Up to where all that fits was told.
    pub fn position(&self) -> u64 {
        self.read.front().map_or(self.position, |next| next.position.saturating_sub(1))
    }

    /// What it hears next. May be given up at any time: nothing is lost.
    pub async fn next(&mut self) -> Heard {
        if let Some(given_at) = self.given_at.take() {
            self.was_stuck |= given_at.elapsed() >= SLOW;
        }
        let heard = self.hear().await;
        self.given_at = Some(Instant::now());
        heard
    }

    /// What is there already; may be nothing although something is, further on.
    ///
    /// # Errors
    /// The store's own failures.
    pub async fn look(&mut self) -> Result<(), StoreError> {
        if self.read.is_empty() && self.ring.is_none() {
            self.read_on().await?;
        }
        Ok(())
    }

    async fn hear(&mut self) -> Heard {
        loop {
            if self.live.shutdown.begun() {
                return Heard::End(Ended::Shutdown, self.position());
            }
            // Also while it is told one event after the other.
            if self.alive.tick().now_or_never().is_some()
                && let Some(ended) = self.ended().await
            {
                return Heard::End(ended, self.position());
            }
            if let Some(event) = self.read.pop_front() {
                return Heard::Event(event);
            }
            let Some(ring) = &mut self.ring else {
                match self.catch_up().await {
                    Ok(()) => continue,
                    Err(error) => {
                        tracing::warn!(error = error.report(), "a listener's events cannot be read");
                        return Heard::End(Ended::Unavailable, self.position);
                    }
                }
            };
            let heard = tokio::select! {
                biased;
                () = self.live.shutdown.wait() => continue,
                _ = self.alive.tick() => {
                    return match self.ended().await {
                        None => Heard::Nothing(self.position),
                        Some(ended) => Heard::End(ended, self.position),
                    };
                }
                heard = ring.recv() => heard,
            };
            match heard {
                Ok(event) if event.position <= self.position => {}
                Ok(event) => {
                    self.position = event.position;
                    if self.fits(&event.entry) {
                        return Heard::Event(event);
                    }
                }
                Err(RecvError::Lagged(_)) if self.was_stuck => return Heard::End(Ended::Slow, self.position),
                // More happened at once than the ring holds.
                Err(RecvError::Lagged(_) | RecvError::Closed) => self.ring = None,
            }
        }
    }

    /// Why its token lets it hear no more, if so.
    async fn ended(&self) -> Option<Ended> {
        match self.caller.still_stands(&self.app).await {
            Ok(()) => None,
            Err(error) if error.code() == ProblemCode::Unauthorized => Some(Ended::Unauthorized),
            Err(_) => Some(Ended::Unavailable),
        }
    }

    fn fits(&self, entry: &TimelineEntry) -> bool {
        let covered = match (&entry.queue, &entry.project) {
            (Some(queue), Some(project)) => self.caller.covers(queue, project),
            _ => !self.caller.is_bound(),
        };
        covered && self.filter.fits(entry)
    }

    /// Reads a part from the store; once nothing is left there, the ring goes on.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let head = self.live.store.feed_head().await?;
        if self.position < head {
            return self.read_on().await;
        }
        let (ring, from) = self.live.subscribe().await?;
        if from > self.position {
            // The ring does not tell what happened in between.
            return self.read_on().await;
        }
        self.ring = Some(ring);
        self.was_stuck = false;
        Ok(())
    }

    async fn read_on(&mut self) -> Result<(), StoreError> {
        let part = self.live.store.feed(self.position, PART).await?;
        self.position = part.up_to;
        let events = part.items.into_iter().filter(|(_, entry)| self.fits(entry));
        let events: Vec<_> = events.map(|event| Arc::new(LiveEvent::new(event))).collect();
        self.read.extend(events);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_a_name_of_its_own() {
        let names =
            [Ended::Slow, Ended::Shutdown, Ended::Unauthorized, Ended::Unavailable].map(Ended::as_str);
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
