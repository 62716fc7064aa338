//! The dialects that this server can speak: which of them are built in, and how each is opened.

use baton_http::auth::Rule;
use baton_http::{App, Dialect};
use baton_runtime::settings::{DialectPlace, DialectSettings};

use crate::StartError;
use crate::api::described;

/// A dialect that is built in, by what is to be known of it without a server.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its name, as settings have it.
    pub name: &'static str,
    /// Who may ask for which of its routes.
    pub rules: &'static [Rule],
    document: fn() -> utoipa::openapi::OpenApi,
}

impl Known {
    /// The OpenAPI 3.1 document of its routes, as JSON. A copy of it is kept as `docs/dialects/NAME.json`.
    pub fn openapi(&self) -> String {
        described((self.document)(), self.rules)
    }
}

/// Every dialect that is built in.
pub const DIALECTS: &[Known] = &[
    #[cfg(feature = "assistant")]
    Known {
        name: baton_dialect_assistant::NAME,
        rules: baton_dialect_assistant::RULES,
        document: baton_dialect_assistant::document,
    },
    #[cfg(feature = "drift")]
    Known {
        name: baton_dialect_drift::NAME,
        rules: baton_dialect_drift::RULES,
        document: baton_dialect_drift::document,
    },
    #[cfg(feature = "edge-functions")]
    Known {
        name: baton_dialect_edge_functions::NAME,
        rules: baton_dialect_edge_functions::RULES,
        document: baton_dialect_edge_functions::document,
    },
    #[cfg(feature = "orchestrator")]
    Known {
        name: baton_dialect_orchestrator::NAME,
        rules: baton_dialect_orchestrator::RULES,
        document: baton_dialect_orchestrator::document,
    },
    #[cfg(feature = "task-table")]
    Known {
        name: baton_dialect_task_table::NAME,
        rules: baton_dialect_task_table::RULES,
        document: baton_dialect_task_table::document,
    },
];

/// The dialects that settings turn on, with where each is spoken.
///
/// # Errors
/// If one is not built in, or cannot be opened.
pub(crate) fn open(
    app: &App,
    settings: &DialectSettings,
) -> Result<Vec<(Dialect, DialectPlace)>, StartError> {
    let mut opened = Vec::new();
    for (name, place) in settings.places() {
        if place.on {
            opened.push((open_one(app, settings, name)?, place.clone()));
        }
    }
    Ok(opened)
}

#[cfg_attr(
    not(any(
        feature = "assistant",
        feature = "drift",
        feature = "edge-functions",
        feature = "orchestrator",
        feature = "task-table"
    )),
    expect(unused_variables, reason = "only dialects need them, and none is built in")
)]
fn open_one(app: &App, settings: &DialectSettings, name: &'static str) -> Result<Dialect, StartError> {
    match name {
        #[cfg(feature = "assistant")]
        baton_dialect_assistant::NAME => baton_dialect_assistant::dialect(app, &settings.assistant)
            .map_err(|cause| StartError::Dialect { name, cause }),
        #[cfg(feature = "drift")]
        baton_dialect_drift::NAME => Ok(baton_dialect_drift::dialect(app)),
        #[cfg(feature = "edge-functions")]
        baton_dialect_edge_functions::NAME => {
            Ok(baton_dialect_edge_functions::dialect(app, &settings.edge_functions))
        }
        #[cfg(feature = "orchestrator")]
        baton_dialect_orchestrator::NAME => {
            Ok(baton_dialect_orchestrator::dialect(app, &settings.orchestrator))
        }
        #[cfg(feature = "task-table")]
        baton_dialect_task_table::NAME => {
            Ok(baton_dialect_task_table::dialect(app, settings.task_table.late))
        }
        _ => Err(StartError::NotBuiltIn { name }),
    }
}
