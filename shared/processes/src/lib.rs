//! What those have in common who start programs and answer for them: which processes there are, orphans and their end, control
//! groups, the end of what a program has said.

pub mod cgroup;
mod orphans;
mod procs;
mod tail;

pub use orphans::{Collected, adopt, collect, collect_ended};
pub use procs::{Name, Process, Procs};
pub use tail::Tail;
