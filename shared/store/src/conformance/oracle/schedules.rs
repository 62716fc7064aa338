//! Schedules.

use async_trait::async_trait;
use baton_model::schedule::{MOST_SCHEDULES, ScheduleProblem, changed};
use baton_model::{Schedule, ScheduleKey, Timestamp};

use super::Oracle;
use super::lists::{page, sortable};
use crate::{
    Changed, Create, Occur, Occurred, Page, PageRequest, ScheduleFilter, ScheduleStore, SetSchedule,
    StoreError,
};

#[async_trait]
impl ScheduleStore for Oracle {
    async fn set_schedule(&self, set: SetSchedule) -> Result<Changed<Schedule>, StoreError> {
        let SetSchedule { key, change, said } = set;
        let mut inner = self.lock();
        let from = inner.schedules.get(&key).cloned();
        let to = match changed(&key, from.as_ref(), &change, &said) {
            Ok(to) => to,
            Err(ScheduleProblem::Unknown) if change == baton_model::ScheduleChange::Remove => None,
            Err(problem) => return Err(StoreError::schedule(key, problem)),
        };
        match to.clone() {
            Some(_) if from.is_none() && inner.schedules.len() as u64 >= MOST_SCHEDULES => {
                return Err(StoreError::too_many_schedules());
            }
            Some(schedule) => drop(inner.schedules.insert(key, schedule)),
            None => drop(inner.schedules.remove(&key)),
        }
        Ok(Changed { from, to })
    }

    async fn schedule(&self, key: &ScheduleKey) -> Result<Schedule, StoreError> {
        let found = self.lock().schedules.get(key).cloned();
        found.ok_or_else(|| StoreError::ScheduleNotFound(key.clone()))
    }

    async fn schedules(
        &self,
        filter: ScheduleFilter,
        asked: PageRequest,
    ) -> Result<Page<Schedule>, StoreError> {
        let inner = self.lock();
        let fits = |key: &ScheduleKey| filter.project.as_ref().is_none_or(|project| key.project == *project);
        let found = inner.schedules.iter().filter(|(key, _)| fits(key));
        let sorted = |key: &ScheduleKey| format!("{}#{}", key.project, key.name);
        page("h:", found.map(|(key, schedule)| (sorted(key), schedule.clone())).collect(), false, &asked)
    }

    async fn due_schedules(&self, now: Timestamp, asked: PageRequest) -> Result<Page<Schedule>, StoreError> {
        let inner = self.lock();
        let due = inner.schedules.values().filter_map(|schedule| {
            let at = schedule.due_at().filter(|at| *at <= now)?;
            Some((sortable(at, &schedule.key), schedule.clone()))
        });
        page("d:", due.collect(), false, &asked)
    }

    async fn occur(&self, occur: Occur) -> Result<Occurred, StoreError> {
        let by = Some(occur.by());
        let Occur { now, tasks, after } = occur;
        let mut inner = self.lock();
        match inner.schedules.get(&after.key) {
            Some(standing) if after.is(standing) => return Ok(Occurred::Before),
            Some(standing) if after.follows(standing) => {}
            _ => return Ok(Occurred::Superseded),
        }
        if !tasks.is_empty() {
            let (_, ready) = inner.create(Create { now, tasks, atomic: false, idempotency: None, by })?;
            ready.iter().for_each(|task| self.ring(task));
        }
        inner.schedules.insert(after.key.clone(), after);
        Ok(Occurred::Now)
    }
}
