//! The generation platform's dialect on AWS: its functions, procedures and tables, over the table that Baton's own functions work on.
//! `baton serve` speaks the same dialect with `--dialect edge-functions`, and has no use for this function.

use baton_http::{App, Dialect};
use baton_runtime::Settings;

/// The dialect as the function speaks it: over the files that its app has, if it has any.
pub fn dialect(app: &App, settings: &Settings) -> Dialect {
    baton_dialect_edge_functions::dialect(app, &settings.dialects.edge_functions)
}
