//! What a record of the stream changes in the counts: a pure function of the images before and after.

use std::time::Duration;

use baton_model::{Ended, QueueName, State, TaskType, Timestamp};
use baton_store::StoreError;
use baton_store::histogram::What;

use crate::attr::{Fields, Item};
use crate::codes::Code;
use crate::stats::epoch::{Epoch, TOUCHED};

/// The attribute of an imported task: the number of events that it came with.
pub(crate) const IMPORTED: &str = "im";

/// A task as an image shows it, as far as it counts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Image {
    pub(crate) queue: QueueName,
    pub(crate) task_type: TaskType,
    pub(crate) state: State,
    pub(crate) created_at: Timestamp,
    /// The epoch for which it was touched last; 0 for none.
    pub(crate) touched: u32,
    events: u32,
    run_after: Timestamp,
    updated_at: Timestamp,
    claimed_at: Option<Timestamp>,
    /// How long its completed attempt ran, by the worker's word.
    ran: Option<Duration>,
    /// How its latest attempt has ended.
    how: Option<Ended>,
    imported: Option<u32>,
}

impl Image {
    /// Reads an image of a task; none if a purge has begun to remove it, as it is gone for everybody then.
    fn read(image: &Item) -> Result<Option<Self>, StoreError> {
        let fields = Fields(image);
        if fields.has("pg") {
            return Ok(None);
        }
        Ok(Some(Self {
            queue: QueueName::from_stored(fields.text("qu")?),
            task_type: TaskType::from_stored(fields.text("ty")?),
            state: State::of(fields.number("st")?)?,
            created_at: fields.time("ca")?,
            touched: fields.maybe_number(TOUCHED)?.unwrap_or(0),
            events: fields.number("ev")?,
            run_after: fields.time("ra")?,
            updated_at: fields.time("ua")?,
            claimed_at: fields.maybe_time("cl")?,
            ran: fields.maybe_number("rn")?.map(Duration::from_millis),
            how: fields.maybe_number("en")?.map(Ended::of).transpose()?,
            imported: fields.maybe_number(IMPORTED)?,
        }))
    }

    fn place(&self) -> (&QueueName, &TaskType, State) {
        (&self.queue, &self.task_type, self.state)
    }
}

/// A change of one task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct News {
    was: Option<Image>,
    is: Option<Image>,
}

/// A duration that a change has ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span<'a> {
    pub(crate) queue: &'a QueueName,
    pub(crate) what: What,
    pub(crate) at: Timestamp,
    pub(crate) length: Duration,
}

impl News {
    /// Reads the images of a record.
    pub(crate) fn read(was: Option<&Item>, is: Option<&Item>) -> Result<Self, StoreError> {
        let image = |item: Option<&Item>| item.map_or(Ok(None), Image::read);
        Ok(Self { was: image(was)?, is: image(is)? })
    }

    /// What it changes in an epoch's counts: the task's place with -1 or 1.
    pub(crate) fn moves(&self, epoch: &Epoch) -> Vec<(&Image, i64)> {
        let was = self.was.as_ref().filter(|image| epoch.counts(image));
        let is = self.is.as_ref().filter(|image| epoch.counts(image));
        if was.map(Image::place) == is.map(Image::place) {
            return Vec::new();
        }
        was.map(|image| (image, -1)).into_iter().chain(is.map(|image| (image, 1))).collect()
    }

    /// The duration that it has ended. An import brings the durations of its source as a record of their own.
    pub(crate) fn ended(&self) -> Option<Span<'_>> {
        let (was, is) = (self.was.as_ref()?, self.is.as_ref()?);
        if is.events != was.events + 1 || is.imported == Some(is.events) {
            return None;
        }
        let ended = |what, since: Timestamp, at: Timestamp| {
            Some(Span { queue: &is.queue, what, at, length: at.since(since) })
        };
        match (was.state, is.state) {
            // A task may have been due before it was created; it has waited from then on only.
            (State::Queued, State::Running) => {
                ended(What::Wait, was.run_after.max(was.created_at), is.claimed_at?)
            }
            (State::Running, State::Completed) => {
                let ended = ended(What::Run, was.claimed_at?, is.updated_at)?;
                let length = is.ran.map_or(ended.length, |ran| ran.min(ended.length));
                Some(Span { length, ..ended })
            }
            (State::Running, State::Queued | State::Failed) if is.how.is_some_and(Ended::is_failure) => {
                ended(What::Failed, was.claimed_at?, is.updated_at)
            }
            _ => None,
        }
    }

    /// Whether a rebuild has touched the task for an epoch: that and nothing else.
    pub(crate) fn is_touch(&self, epoch: &Epoch) -> bool {
        match (&self.was, &self.is) {
            (Some(was), Some(is)) => {
                was.touched < epoch.number && is.touched >= epoch.number && was.events == is.events
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::{n, s, time};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    /// A task created at 100 s that is in this state after so many events.
    fn image(state: State, events: u32) -> Item {
        let mut item = Item::new();
        for (name, value) in [
            ("qu", s("gpu")),
            ("ty", s("render")),
            ("st", n(state.code())),
            ("ca", time(at(100))),
            ("ra", time(at(90))),
            ("ua", time(at(160))),
            ("cl", time(at(130))),
            ("ev", n(events)),
        ] {
            item.insert(name.to_owned(), value);
        }
        item
    }

    fn with(mut item: Item, name: &str, number: u32) -> Item {
        item.insert(name.to_owned(), n(number));
        item
    }

    fn moves(was: Option<&Item>, is: Option<&Item>, epoch: Epoch) -> Vec<(State, i64)> {
        let news = News::read(was, is).unwrap();
        news.moves(&epoch).into_iter().map(|(image, change)| (image.state, change)).collect()
    }

    /// An epoch whose tasks are members by their creation at this second or later.
    fn epoch(number: u32, since: i64) -> Epoch {
        Epoch { number, since: at(since) }
    }

    #[test]
    fn a_record_moves_a_task_from_where_it_was_to_where_it_is() {
        let all = epoch(1, 0);
        let (queued, running) = (image(State::Queued, 1), image(State::Running, 2));
        assert_eq!(moves(None, Some(&queued), all), [(State::Queued, 1)]);
        assert_eq!(moves(Some(&queued), Some(&running), all), [(State::Queued, -1), (State::Running, 1)]);
        assert_eq!(moves(Some(&queued), None, all), [(State::Queued, -1)]);
        assert_eq!(moves(Some(&queued), Some(&image(State::Queued, 2)), all), []);
    }

    #[test]
    fn a_task_that_goes_to_another_queue_is_counted_there_and_not_here() {
        let (was, mut is) = (image(State::Queued, 1), image(State::Queued, 2));
        is.insert("qu".to_owned(), s("cpu"));
        let news = News::read(Some(&was), Some(&is)).unwrap();
        let moves = news.moves(&epoch(1, 0)).into_iter();
        let moves: Vec<_> = moves.map(|(image, change)| (image.queue.to_string(), change)).collect();
        assert_eq!(moves, [("gpu".to_owned(), -1), ("cpu".to_owned(), 1)]);
        assert_eq!(news.ended(), None);
    }

    #[test]
    fn a_task_that_a_purge_has_marked_is_gone_and_goes_once() {
        let done = image(State::Completed, 3);
        let marked = with(done.clone(), "pg", 1);
        assert_eq!(moves(Some(&done), Some(&marked), epoch(1, 0)), [(State::Completed, -1)]);
        assert_eq!(moves(Some(&marked), None, epoch(1, 0)), []);
    }

    #[test]
    fn an_epoch_counts_tasks_that_are_younger_or_were_touched() {
        let (old, next) = (image(State::Queued, 1), epoch(2, 101));
        let claimed = image(State::Running, 2);
        assert_eq!(moves(Some(&old), Some(&claimed), next), [], "not yet a member");
        let touched = with(old.clone(), TOUCHED, 2);
        assert_eq!(moves(Some(&old), Some(&touched), next), [(State::Queued, 1)]);
        assert_eq!(moves(Some(&old), Some(&touched), epoch(1, 0)), [], "others see nothing of it");
        let moved = with(claimed, TOUCHED, 2);
        assert_eq!(moves(Some(&touched), Some(&moved), next), [(State::Queued, -1), (State::Running, 1)]);
        assert_eq!(moves(Some(&old), None, next), []);
        assert_eq!(moves(Some(&touched), None, next), [(State::Queued, -1)]);
        assert_eq!(moves(None, Some(&old), epoch(2, 100)), [(State::Queued, 1)]);
        assert_eq!(moves(Some(&with(old, TOUCHED, 1)), Some(&touched), next), [(State::Queued, 1)]);
    }

    #[test]
    fn only_what_changes_nothing_else_is_a_touch() {
        let (old, touched) = (image(State::Queued, 1), with(image(State::Queued, 1), TOUCHED, 2));
        let is_touch = |was: &Item, is: &Item, number| {
            News::read(Some(was), Some(is)).unwrap().is_touch(&epoch(number, 101))
        };
        assert!(is_touch(&old, &touched, 2));
        assert!(!is_touch(&old, &touched, 3));
        assert!(!is_touch(&touched, &touched, 2));
        assert!(!is_touch(&old, &with(image(State::Running, 2), TOUCHED, 2), 2));
        assert!(!News::read(None, Some(&touched)).unwrap().is_touch(&epoch(2, 101)));
    }

    #[test]
    fn durations_end_by_a_claim_and_by_a_completion() {
        let (queued, running) = (image(State::Queued, 1), image(State::Running, 2));
        let done = image(State::Completed, 3);
        let ended = |was: &Item, is: &Item| {
            let news = News::read(Some(was), Some(is)).unwrap();
            news.ended().map(|ended| (ended.what, ended.at, ended.length.as_secs()))
        };
        assert_eq!(ended(&queued, &running), Some((What::Wait, at(130), 30)), "since its creation");
        assert_eq!(ended(&running, &done), Some((What::Run, at(160), 30)));
        assert_eq!(ended(&running, &image(State::Failed, 3)), None, "nothing says how its attempt ended");
        let failed = with(image(State::Failed, 3), "en", u32::from(Ended::Failed.code()));
        assert_eq!(ended(&running, &failed), Some((What::Failed, at(160), 30)));
        let released = with(image(State::Queued, 3), "en", u32::from(Ended::Released.code()));
        assert_eq!(ended(&running, &released), None);
        assert_eq!(ended(&running, &with(running.clone(), TOUCHED, 2)), None);
        assert_eq!(ended(&running, &with(done.clone(), IMPORTED, 3)), None, "an import");
        assert_eq!(
            ended(&with(running, IMPORTED, 2), &with(done, IMPORTED, 2)),
            Some((What::Run, at(160), 30))
        );
        assert_eq!(ended(&queued, &image(State::Completed, 3)), None, "an import over several changes");
    }
}
