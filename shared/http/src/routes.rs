//! How a handler becomes a route: by the method and path of its `#[utoipa::path]`.
//!
//! With the feature `documented` the route brings its part of the OpenAPI document along, for the server, which shows
//! the document and is tested against it. A function on AWS Lambda has the document as a file; to leave its making out
//! saves a twentieth of the binary, and each start the time.

use axum::routing::{MethodFilter, MethodRouter};
use utoipa::Path;
use utoipa::openapi::path::{Operation, Paths};
use utoipa_axum::PathItemExt;
use utoipa_axum::router::UtoipaMethodRouter;

#[cfg(not(feature = "documented"))]
pub use crate::bare_routes as routes;
#[doc(hidden)]
pub use pastey::paste;
#[cfg(feature = "documented")]
pub use utoipa_axum::routes;

/// A route without its documentation. `on` adds the handler for a method.
#[doc(hidden)]
pub fn bare<P: Path, S: Clone + Send + Sync + 'static>(
    on: impl Fn(MethodRouter<S>, MethodFilter) -> MethodRouter<S>,
) -> UtoipaMethodRouter<S> {
    let methods = P::methods();
    let router =
        methods.iter().fold(MethodRouter::new(), |router, method| on(router, method.to_method_filter()));
    let mut paths = Paths::new();
    paths.add_path_operation(P::path(), methods, Operation::default());
    (Vec::new(), paths, router)
}

#[doc(hidden)]
#[macro_export]
macro_rules! bare_routes {
    ($handler:ident) => {
        $crate::routes::paste! {
            $crate::routes::bare::<[<__path_ $handler>], _>(|router, method| router.on(method, $handler))
        }
    };
    ($module:ident :: $handler:ident) => {
        $crate::routes::paste! {
            $crate::routes::bare::<$module::[<__path_ $handler>], _>(
                |router, method| router.on(method, $module::$handler),
            )
        }
    };
}
