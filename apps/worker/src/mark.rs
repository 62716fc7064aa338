//! The mark by which all that an attempt's program has started is known.

use baton_model::{SessionId, TaskId};

/// What an attempt's program has in its environment, and hands on to all that it starts: by this they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark(String);

/// The variables of a mark.
const SESSION: &str = "BATON_SESSION_ID";
const TASK: &str = "BATON_TASK_ID";
const ATTEMPT: &str = "BATON_ATTEMPT";

impl Mark {
    pub(crate) fn new(session: SessionId, task: TaskId, attempt: u32) -> Self {
        Self(format!("{session} {task} {attempt}"))
    }

    /// The mark in an environment; none if it has none, or that of another start of a worker.
    pub(crate) fn read(environment: &[u8], session: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut entries = environment.split(|byte| *byte == 0);
            let value = entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
            std::str::from_utf8(value).ok()
        };
        let found = value(SESSION)?;
        let (task, attempt) = (value(TASK).unwrap_or_default(), value(ATTEMPT).unwrap_or_default());
        (found == session).then(|| Self(format!("{found} {task} {attempt}")))
    }

    /// The variables to set.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [SESSION, TASK, ATTEMPT].into_iter().zip(self.0.split(' '))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_from_an_environment_as_it_was_set() {
        let session: SessionId = "01a2014a-d841-7074-8449-f8327c616bff".parse().unwrap();
        let task: TaskId = "01a2014b-38c6-76e1-b33a-2baac33a6840".parse().unwrap();
        let mark = Mark::new(session, task, 3);
        let environment: String =
            mark.variables().map(|(name, value)| format!("X{name}=1\0{name}={value}\0")).collect();
        assert_eq!(Mark::read(environment.as_bytes(), &session.to_string()), Some(mark));
        assert_eq!(Mark::read(environment.as_bytes(), "another"), None);
        assert_eq!(Mark::read(b"PATH=/bin\0\xff\0", "another"), None);
    }
}
