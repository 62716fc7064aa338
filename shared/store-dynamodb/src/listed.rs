//! What a heartbeat says its worker runs, in little space, so that a worker's record stays within one write unit
//! however many tasks it runs.
//!
//! A list that fits is kept whole. Of one that does not, as many entries as fit are kept to be shown, and beside them
//! the attempts that the worker holds and did *not* list: that is what leases are judged by, and there are none of
//! them as a rule.

use baton_model::{Running, TaskId};
use baton_store::StoreError;

use crate::error::damaged;

/// The most bytes of a list in a worker's record.
pub(crate) const BYTES: usize = 640;

/// The most attempts that are noted as left out; further ones are told by the next heartbeats.
const LEFT_OUT: usize = 16;

/// What a heartbeat listed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    /// The entries, or the first of them.
    pub(crate) shown: Vec<Running>,
    /// Of a list that is not whole: the attempts that the worker held and did not list.
    pub(crate) left_out: Option<Vec<(TaskId, u32)>>,
}

impl Listed {
    /// Keeps a list. `held` are the attempts that are the worker's by the index; asked for only if the list does not
    /// fit.
    pub(crate) fn new(running: &[Running], held: &[(TaskId, u32)]) -> Self {
        let whole = Self { shown: running.to_vec(), left_out: None };
        if whole.encode().len() <= BYTES {
            return whole;
        }
        let listed: std::collections::HashSet<_> =
            running.iter().map(|one| (one.task, one.attempt)).collect();
        let left_out = held.iter().filter(|one| !listed.contains(one)).take(LEFT_OUT).copied().collect();
        let mut part = Self { shown: Vec::new(), left_out: Some(left_out) };
        let mut size = part.encode().len();
        for one in running {
            // Words are left away first: they are the largest part, and only shown.
            let plain = Running { message: None, ..one.clone() };
            size += entry(&plain).len();
            if size > BYTES {
                break;
            }
            part.shown.push(plain);
        }
        part
    }

    /// Whether the list held this attempt.
    pub(crate) fn holds(&self, task: TaskId, attempt: u32) -> bool {
        match &self.left_out {
            None => self.shown.iter().any(|one| one.task == task && one.attempt == attempt),
            Some(left_out) => !left_out.contains(&(task, attempt)),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &self.left_out {
            None => bytes.push(0),
            Some(left_out) => {
                bytes.push(1);
                bytes.push(u8::try_from(left_out.len()).unwrap_or(0));
                for (task, attempt) in left_out {
                    bytes.extend(task.as_bytes());
                    bytes.extend(attempt.to_be_bytes());
                }
            }
        }
        self.shown.iter().for_each(|one| bytes.extend(entry(one)));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        Reader(bytes).listed().ok_or_else(|| damaged("expected what a worker runs, got other bytes"))
    }
}

/// An entry: the task, what follows, the attempt in as few bytes as it needs, then progress and words.
fn entry(one: &Running) -> Vec<u8> {
    let mut bytes = one.task.as_bytes().to_vec();
    let wide = one.attempt > 0xff;
    let flags = u8::from(one.progress.is_some()) | u8::from(one.message.is_some()) << 1 | u8::from(wide) << 2;
    bytes.push(flags);
    let attempt = one.attempt.to_be_bytes();
    bytes.extend(if wide { &attempt[..] } else { &attempt[3..] });
    if let Some(progress) = one.progress {
        bytes.extend(progress.to_be_bytes());
    }
    if let Some(message) = &one.message {
        bytes.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(message.as_bytes());
    }
    bytes
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn listed(mut self) -> Option<Listed> {
        let left_out = match self.byte()? {
            0 => None,
            _ => {
                let count = self.byte()?;
                let mut one = || Some((TaskId::from_bytes(self.array()?), u32::from_be_bytes(self.array()?)));
                Some((0..count).map(|_| one()).collect::<Option<_>>()?)
            }
        };
        let mut shown = Vec::new();
        while !self.0.is_empty() {
            shown.push(self.entry()?);
        }
        Some(Listed { shown, left_out })
    }

    fn entry(&mut self) -> Option<Running> {
        let task = TaskId::from_bytes(self.array()?);
        let flags = self.byte()?;
        let attempt =
            if flags & 4 == 0 { u32::from(self.byte()?) } else { u32::from_be_bytes(self.array()?) };
        let progress = if flags & 1 == 0 { None } else { Some(f64::from_be_bytes(self.array()?)) };
        let message = if flags & 2 == 0 {
            None
        } else {
            let length = u32::from_be_bytes(self.array()?) as usize;
            Some(std::str::from_utf8(self.take(length)?).ok()?.to_owned())
        };
        Some(Running { task, attempt, progress, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(n: u8, attempt: u32) -> Running {
        Running { task: TaskId::from_bytes([n; 16]), attempt, progress: None, message: None }
    }

    #[test]
    fn a_list_that_fits_reads_back_whole() {
        let said =
            Running { progress: Some(0.25), message: Some("denoising ☂".to_owned()), ..running(2, 70_000) };
        for list in [vec![], vec![running(1, 1), said]] {
            let listed = Listed::new(&list, &[]);
            assert_eq!(Listed::decode(&listed.encode()).unwrap(), listed);
            assert_eq!(listed.shown, list);
            assert!(list.iter().all(|one| listed.holds(one.task, one.attempt)));
            assert!(!listed.holds(TaskId::from_bytes([9; 16]), 1));
        }
    }

    #[test]
    fn a_list_of_any_length_stays_small_and_judges_as_the_whole_one() {
        let list: Vec<_> = (0..200).map(|n| running(n, 1)).collect();
        let mut held: Vec<_> = list.iter().map(|one| (one.task, one.attempt)).collect();
        let forgotten = (TaskId::from_bytes([250; 16]), 3);
        held.push(forgotten);
        let listed = Listed::new(&list, &held);
        assert!(listed.encode().len() <= BYTES);
        let listed = Listed::decode(&listed.encode()).unwrap();
        assert!(held[..200].iter().all(|(task, attempt)| listed.holds(*task, *attempt)));
        assert!(!listed.holds(forgotten.0, forgotten.1));
        assert!(!listed.shown.is_empty());
    }
}
