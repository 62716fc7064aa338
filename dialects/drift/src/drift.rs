//! What the dialect's handlers share.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use baton_http::App;
use baton_model::Timestamp;
use tokio::sync::OnceCell;

use crate::present::Present;

/// What the handlers share. Copies share the same parts.
#[derive(Clone)]
pub(crate) struct Drift(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) app: App,
    pub(crate) present: Present,
    /// Set once the queue's supply stands.
    pub(crate) supplied: OnceCell<()>,
    /// When expired leases were last looked for because somebody asked.
    pub(crate) cleared_at: Mutex<Option<Timestamp>>,
}

impl Drift {
    pub(crate) fn new(app: App) -> Self {
        Self(Arc::new(Parts {
            app,
            present: Present::default(),
            supplied: OnceCell::new(),
            cleared_at: Mutex::new(None),
        }))
    }
}

impl Deref for Drift {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
