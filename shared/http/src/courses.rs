//! How the readings of workers went of late, as this process has heard them: for lines on the dashboard. Nothing is decided by it, and nothing of
//! it is stored: it begins anew with the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_api::fleet::LatelyView;
use baton_model::{Timestamp, WorkerId};

/// How many heartbeats are kept of a worker: twenty minutes, at the usual pace.
const POINTS: usize = 60;
/// How many readings of each; the first ones that it named.
const NAMES: usize = 8;
/// How many workers. All of it is 6 MB at most.
const WORKERS: usize = 1_000;
/// A worker that was not heard for so long makes room for another.
const SILENT: Duration = Duration::from_secs(3_600);

#[derive(Debug, Default)]
struct Course {
    names: Vec<String>,
    points: VecDeque<(Timestamp, [Option<f64>; NAMES])>,
}

/// The courses of the workers that this process hears.
#[derive(Debug, Default)]
pub struct Courses(Mutex<HashMap<WorkerId, Course>>);

impl Courses {
    fn all(&self) -> MutexGuard<'_, HashMap<WorkerId, Course>> {
        // A course is whole after each statement that writes it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker has told its readings.
    pub fn hear(&self, worker: &WorkerId, at: Timestamp, readings: &BTreeMap<String, f64>) {
        if readings.is_empty() {
            return;
        }
        let mut all = self.all();
        if all.len() >= WORKERS && !all.contains_key(worker) {
            all.retain(|_, course| course.points.back().is_some_and(|(last, _)| at.since(*last) < SILENT));
            if all.len() >= WORKERS {
                return;
            }
        }
        let course = all.entry(worker.clone()).or_default();
        for name in readings.keys() {
            if course.names.len() < NAMES && !course.names.contains(name) {
                course.names.push(name.clone());
            }
        }
        let mut point = [None; NAMES];
        for (place, name) in point.iter_mut().zip(&course.names) {
            *place = readings.get(name).copied();
        }
        if course.points.len() >= POINTS {
            course.points.pop_front();
        }
        course.points.push_back((at, point));
    }

    /// What a worker's readings were of late; none if it has told none.
    pub fn of(&self, worker: &WorkerId) -> Option<LatelyView> {
        let all = self.all();
        let course = all.get(worker)?;
        let column = |place: usize| course.points.iter().map(|(_, point)| point[place]).collect();
        Some(LatelyView {
            at: course.points.iter().map(|(at, _)| *at).collect(),
            readings: course.names.iter().cloned().zip((0..NAMES).map(column)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(n: usize) -> WorkerId {
        format!("w{n}").parse().unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn readings(pairs: &[(&str, f64)]) -> BTreeMap<String, f64> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn the_last_heartbeats_are_kept_each_with_what_it_told() {
        let courses = Courses::default();
        assert_eq!(courses.of(&worker(1)), None);
        for n in 0..100_u32 {
            let told = [("gpu", f64::from(n)), ("late", 1.0)];
            courses.hear(&worker(1), at(n.into()), &readings(&told[..if n < 99 { 1 } else { 2 }]));
        }
        let lately = courses.of(&worker(1)).unwrap();
        assert_eq!((lately.at.len(), lately.at[0]), (POINTS, at(40)));
        assert_eq!((lately.readings["gpu"][0], lately.readings["gpu"][59]), (Some(40.0), Some(99.0)));
        assert_eq!((lately.readings["late"][58], lately.readings["late"][59]), (None, Some(1.0)));
    }

    #[test]
    fn however_many_workers_and_readings_there_are_little_is_kept() {
        let courses = Courses::default();
        let names: Vec<String> = (0..50).map(|n| format!("r{n}")).collect();
        let many = names.iter().map(|name| (name.clone(), 1.0)).collect();
        for n in 0..WORKERS + 10 {
            courses.hear(&worker(n), at(0), &many);
        }
        assert_eq!(courses.all().len(), WORKERS);
        assert_eq!(courses.of(&worker(0)).unwrap().readings.len(), NAMES);
        courses.hear(&worker(5_000), at(3_600), &many);
        assert_eq!(courses.all().len(), 1, "those that fell silent make room");
        courses.hear(&worker(5_000), at(3_601), &BTreeMap::new());
        assert_eq!(courses.of(&worker(5_000)).unwrap().at.len(), 1);
    }
}
