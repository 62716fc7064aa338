//! The settings that the server runs with, to be read alone.

use askama::Template;
use axum::response::Response;
use baton_api::ProblemCode;
use baton_http::ApiError;
use baton_runtime::settings::Explained;

use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;

/// A section of the settings' file.
struct Section<'a> {
    name: &'a str,
    values: Vec<Shown<'a>>,
}

struct Shown<'a> {
    name: &'a str,
    value: &'a str,
    /// Where it is from, if it is not as by default.
    origin: &'a str,
    what: &'a str,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Page<'a> {
    shell: Shell,
    sections: Vec<Section<'a>>,
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
        sections: sections(&visit.ui.settings),
    })
}

fn sections(settings: &[Explained]) -> Vec<Section<'_>> {
    let groups = settings.chunk_by(|one, other| one.place().0 == other.place().0);
    groups
        .map(|group| Section {
            name: group.first().map_or("", |one| one.place().0),
            values: group.iter().map(Shown::from).collect(),
        })
        .collect()
}

impl<'a> From<&'a Explained> for Shown<'a> {
    fn from(one: &'a Explained) -> Self {
        let origin = one.origin.as_deref().unwrap_or_default();
        Self { name: one.place().1, value: &one.value, origin, what: &one.what }
    }
}
