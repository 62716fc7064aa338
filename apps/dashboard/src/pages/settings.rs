//! The settings that the server runs with, to be read alone. What could hold a secret is not among them.

use askama::Template;
use axum::response::Response;
use baton_api::ProblemCode;
use baton_http::ApiError;
use baton_runtime::Settings;

use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{bytes, count, span};

/// A section of settings.
#[derive(Clone)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Page {
    shell: Shell,
    sections: Vec<Section>,
}

/// Shows them to those who may see everything.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    // No route tells them; who may read what operators did is an operator of the whole server.
    if !visit.rights.may("list_audit") {
        let detail =
            "expected a token with the scope operator and without bounds, got another one; use another token";
        return Err(ApiError::new(ProblemCode::ScopeMissing, detail));
    }
    answer::ok(&Page {
        shell: Shell::new(&visit, "Settings", "/ui/settings"),
        sections: visit.ui.settings.clone(),
    })
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

/// The settings, in the sections of the settings' file.
pub(crate) fn sections(settings: &Settings) -> Vec<Section> {
    let none = || "no bound".to_owned();
    let time = |span_of: std::time::Duration| span(span_of.as_secs_f64());
    let server = &settings.server;
    let dialects = settings.dialects.places().into_iter().filter(|(_, place)| place.on);
    let dialects: Vec<&str> = dialects.map(|(name, _)| name).collect();
    vec![
        Section {
            name: "server",
            values: vec![
                ("listen", server.listen.to_string()),
                ("request timeout", time(server.request_timeout)),
                ("head timeout", time(server.head_timeout)),
                ("answer timeout", time(server.answer_timeout)),
                ("answers that wait", bytes(server.answers_bytes)),
                ("shutdown grace", time(server.shutdown_grace)),
                ("connections", count(u64::from(server.max_connections))),
            ],
        },
        Section {
            name: "tokens",
            values: vec![
                ("required", yes(settings.tokens.required)),
                (
                    "requests a second",
                    settings.tokens.requests_per_second.map_or_else(none, |rate| count(u64::from(rate))),
                ),
            ],
        },
        Section {
            name: "limits",
            values: vec![
                ("params", bytes(settings.limits.params_bytes as u64)),
                ("result", bytes(settings.limits.result_bytes as u64)),
                ("batch", bytes(settings.limits.batch_bytes as u64)),
            ],
        },
        Section {
            name: "leases",
            values: vec![
                ("heartbeat timeout", time(settings.leases.heartbeat_timeout)),
                ("heartbeat interval", time(settings.leases.heartbeat_interval)),
                ("forget grace", time(settings.leases.forget_grace)),
                ("worker cap", count(u64::from(settings.worker_cap))),
            ],
        },
        Section { name: "reaper", values: vec![("interval", time(settings.reaper_interval))] },
        Section {
            name: "retention",
            values: vec![
                ("finished tasks", settings.retention.finished.map_or_else(|| "for ever".to_owned(), time)),
                ("log lines", time(settings.retention.logs)),
                ("workers", time(settings.retention.workers)),
            ],
        },
        Section {
            name: "files",
            values: vec![
                ("one file", bytes(settings.files.file_bytes)),
                ("one project", settings.files.project_bytes.map_or_else(none, bytes)),
            ],
        },
        Section {
            name: "dialects",
            values: vec![(
                "spoken",
                if dialects.is_empty() { "none".to_owned() } else { dialects.join(", ") },
            )],
        },
        Section { name: "workers", values: vec![("groups", settings.workers.len().to_string())] },
    ]
}
