//! What a supervisor and its workers say to each other, a line each.
//!
//! Both ways are pipes that only these two processes hold: what comes by them comes from that very process, however often its number
//! is used again, and they end with it. The supervisor writes to the worker's standard input, the worker to its standard output.

use serde::{Deserialize, Serialize};

/// What a supervisor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// All is prepared for the worker: begin.
    Go,
    /// Take no more tasks, finish what runs, end.
    Drain,
    /// End what runs, give it back, end.
    Stop,
}

impl Word {
    pub(crate) const ALL: [Self; 3] = [Self::Go, Self::Drain, Self::Stop];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Drain => "drain",
            Self::Stop => "stop",
        }
    }

    pub(crate) fn read(line: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.as_str() == line.trim())
    }
}

/// What a worker says again and again: that it lives, and how it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// How many tasks it runs.
    pub running: u32,
    /// How many attempts have come to an end with it.
    pub tasks: u64,
    /// How many bytes of memory its own process holds; 0 if that is not to be seen.
    pub bytes: u64,
}

impl Beat {
    pub(crate) fn line(&self) -> String {
        // Numbers, which always serialise.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    pub(crate) fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_and_nothing_else() {
        for word in Word::ALL {
            assert_eq!(Word::read(&format!("{}\n", word.as_str())), Some(word));
        }
        assert_eq!((Word::read(""), Word::read("goes")), (None, None));
        let beat = Beat { running: 3, tasks: 1 << 40, bytes: 7 };
        assert_eq!(Beat::read(&beat.line()), Some(beat));
        assert_eq!((Beat::read("{}"), Beat::read("running")), (None, None));
    }
}
