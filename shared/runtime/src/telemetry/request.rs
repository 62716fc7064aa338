//! The name of the request that is being worked on, which each line of the log bears.
//!
//! A span of `tracing` would do, and costs a request 8,000 instructions: it is entered into a registry, its field is written out and kept, and it
//! is looked up for each line. Nobody but the log asks for it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

thread_local! {
    static NAME: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Does something with the name of the request that this thread works on, if there is one.
pub(super) fn with<T>(act: impl FnOnce(Option<&str>) -> T) -> T {
    NAME.with_borrow(|name| act(name.as_deref()))
}

pin_project! {
    /// A future whose log lines bear a request's name, as `request_id`.
    #[derive(Debug)]
    pub struct Named<F> {
        name: Option<Arc<str>>,
        #[pin]
        work: F,
    }
}

impl<F> Named<F> {
    /// Has what `work` logs bear this name.
    pub fn new(name: impl Into<Arc<str>>, work: F) -> Self {
        Self { name: Some(name.into()), work }
    }
}

/// Gives the thread its earlier name back, also after a panic.
struct Back<'a> {
    name: &'a mut Option<Arc<str>>,
    before: Option<Arc<str>>,
}

impl Drop for Back<'_> {
    fn drop(&mut self) {
        *self.name = NAME.replace(self.before.take());
    }
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let before = NAME.replace(this.name.take());
        let _back = Back { name: this.name, before };
        this.work.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Option<String> {
        with(|name| name.map(str::to_owned))
    }

    #[tokio::test]
    async fn a_request_has_its_name_while_it_is_worked_on_and_no_other_has() {
        let inner = Named::new("inner", async {
            assert_eq!(name().as_deref(), Some("inner"));
            tokio::task::yield_now().await;
            assert_eq!(name().as_deref(), Some("inner"));
        });
        let outer = Named::new("outer", async {
            let inner = async {
                inner.await;
                assert_eq!(name().as_deref(), Some("outer"));
            };
            let other = async {
                assert_eq!(name().as_deref(), Some("outer"));
                tokio::task::yield_now().await;
                assert_eq!(name().as_deref(), Some("outer"));
            };
            tokio::join!(inner, other);
        });
        outer.await;
        assert_eq!(name(), None);
    }

    #[test]
    fn a_panic_leaves_no_name_behind() {
        let mut work = Box::pin(Named::new("broken", async { panic!("as it is to") }));
        let mut poll = || {
            let _: Poll<()> = work.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()));
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut poll)).is_err());
        assert_eq!(name(), None);
    }
}
