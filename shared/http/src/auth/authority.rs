//! Who says who asks.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use super::{Access, Admitted, Authenticator, BehindAuthorizer, Door, Vouched};
use crate::app::App;
use crate::error::ApiError;

/// Who says who asks: this process itself, or one in front of it. Never both, so that what one does not know is not
/// believed from the other.
#[derive(Clone)]
pub enum Authority {
    /// The token in the request's header, as the store knows it.
    Header(Arc<Authenticator>),
    /// An authorizer in front of this process, by the [`Vouched`] among the request's extensions. Headers say nothing.
    Authorizer(Arc<BehindAuthorizer>),
    /// Nobody: of a program that has no store to know callers by, and whose routes are open.
    Nobody,
}

impl Authority {
    /// The app whose callers it knows, if it knows any.
    pub(super) fn app(&self) -> Option<&App> {
        match self {
            Self::Header(by) => Some(by.app()),
            Self::Authorizer(by) => Some(by.app()),
            Self::Nobody => None,
        }
    }

    /// Finds the rule of a request that has come to a door, and who asks.
    pub(super) async fn authorize(&self, door: &Door, request: &Parts) -> Result<Admitted, ApiError> {
        let rule = door.rules.of_request(&request.method, request.uri.path())?;
        match self {
            Self::Header(by) => {
                by.admit_who(rule, || door.credentials.presented(request), door.guests.as_deref()).await
            }
            Self::Authorizer(by) => Vouched::admit(request.extensions.get(), by, rule),
            Self::Nobody if rule.access == Access::Open => Ok(Admitted { rule, caller: None }),
            Self::Nobody => {
                tracing::error!(
                    operation = rule.operation,
                    "a route that needs a caller stands where nobody knows any"
                );
                Err(ApiError::internal())
            }
        }
    }
}

impl From<Arc<Authenticator>> for Authority {
    fn from(by: Arc<Authenticator>) -> Self {
        Self::Header(by)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(by) => f.debug_tuple("Header").field(by).finish(),
            Self::Authorizer(_) => f.debug_tuple("Authorizer").finish_non_exhaustive(),
            Self::Nobody => f.write_str("Nobody"),
        }
    }
}
