//! The generation platform's dialect on AWS: its functions, procedures and tables, over the table that Baton's own functions work on.
//! `baton serve` speaks the same dialect with `--dialect edge-functions`, and has no use for this function.

use std::sync::Arc;

use baton_dialect_edge_functions::{NoPlace, dialect_with};
use baton_http::{App, Dialect};
use baton_runtime::Settings;

/// The dialect as the function speaks it: without a place for files, as a function has no folder that lasts.
pub fn dialect(app: &App, settings: &Settings) -> Dialect {
    dialect_with(app, &settings.dialects.edge_functions, Arc::new(NoPlace))
}
