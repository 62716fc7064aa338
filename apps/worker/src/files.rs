//! How many programs fit into the limit of open files (RLIMIT_NOFILE).
//!
//! A worker that has used up its open files can neither start a program nor beat: what runs is then taken from it. So it
//! makes room at its start, and takes no more tasks at once than fit.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The open files that one slot may need at once: three pipes and a handle of its program, their other ends while it starts,
/// and a connection to the server that is kept for the next time.
const PER_SLOT: u64 = 6;
/// Those of the worker itself: standard streams, event queues, the guard's pipe, connections for claims and heartbeats, and
/// what is opened for a moment.
const BESIDES: u64 = 32;

/// Raises the limit as far as `concurrency` asks for and the system allows. The answer is how many programs fit, at least
/// one.
///
/// The soft limit is raised and not merely reported, as the usual one (1,024) fits 165 slots, where the hard limit, which
/// needs no privilege, is usually some hundred thousand. The programs inherit it.
pub(crate) fn make_room(concurrency: u32) -> u32 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return concurrency };
    let wanted = BESIDES + PER_SLOT * u64::from(concurrency);
    let wish = wanted.min(hard);
    let limit = match soft < wish {
        true if setrlimit(Resource::RLIMIT_NOFILE, wish, hard).is_ok() => wish,
        _ => soft,
    };
    let fits = fits(limit);
    if fits < concurrency {
        tracing::warn!(
            concurrency,
            limit,
            wanted,
            "the limit of open files does not allow for so many tasks at once; the worker takes {fits}: raise it \
             (ulimit -n {wanted}), or lower --concurrency"
        );
    }
    fits.min(concurrency)
}

fn fits(limit: u64) -> u32 {
    u32::try_from(limit.saturating_sub(BESIDES) / PER_SLOT).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_slots_fit_as_the_open_files_allow_and_one_always() {
        assert_eq!([0, 32, 48, 1_024, u64::MAX].map(fits), [1, 1, 2, 165, u32::MAX]);
    }
}
