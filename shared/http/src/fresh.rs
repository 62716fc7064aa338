//! One question that many ask, and that is put once in a while.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an answer is good for.
const SPAN: Duration = Duration::from_secs(1);

/// The latest answer to a question. However many ask, it is put once in a second, and by one of them at a time. That it could not be
/// answered is an answer, too: a store that fails is not asked the more for it.
#[derive(Debug)]
pub struct Fresh<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Fresh<T> {
    /// The answer as it was a moment ago, or else by asking now.
    pub async fn get(&self, ask: impl Future<Output = T>) -> T {
        let mut latest = self.0.lock().await;
        if let Some((at, answer)) = &*latest
            && at.elapsed() < SPAN
        {
            return answer.clone();
        }
        let answer = ask.await;
        *latest = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn many_ask_once_a_second_whether_it_goes_well_or_not() {
        for goes_well in [true, false] {
            let (fresh, asked) = (Fresh::default(), AtomicU32::new(0));
            let ask = || {
                fresh.get(async {
                    tokio::task::yield_now().await;
                    let times = asked.fetch_add(1, Ordering::SeqCst) + 1;
                    if goes_well { Ok(times) } else { Err(times) }
                })
            };
            let (first, second) = tokio::join!(ask(), ask());
            assert_eq!((first, second, asked.load(Ordering::SeqCst)), (first, first, 1));
            tokio::time::sleep(SPAN).await;
            let expected = if goes_well { Ok(2) } else { Err(2) };
            assert_eq!(ask().await, expected);
        }
    }
}
