//! The settings that the server runs with; those that may change while it runs lead to a page of their own.

use askama::Template;
use axum::response::Response;
use baton_api::ProblemCode;
use baton_http::ApiError;
use baton_http::Taken;
use baton_runtime::settings::{Explained, RunningSetting};

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
    key: &'a str,
    value: &'a str,
    /// Where it is from, if it is not as by default.
    origin: &'a str,
    what: &'a str,
    /// Whether it may change while the server runs.
    running: bool,
    /// What else is to be known of what the store keeps of it.
    note: String,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Page<'a> {
    shell: Shell,
    sections: Vec<Section<'a>>,
    /// What the store keeps and this server can make nothing of.
    passed_over: Vec<String>,
    /// Whether it is offered to change them.
    sets: bool,
}

/// Shows them to those who may see everything.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    // No route tells them; who may read what operators did is an operator of the whole server.
    if !visit.rights.may("list_audit") {
        let detail =
            "expected a token with the scope operator and without bounds, got another one; use another token";
        return Err(ApiError::new(ProblemCode::ScopeMissing, detail));
    }
    // As they are in force at this moment: who has just set one wants to see it.
    let taken = visit.ui.app.in_force.taken();
    let (explained, running) = (taken.settings.explain(), taken.settings.running(&taken.stored));
    answer::ok(&Page {
        shell: Shell::new(&visit, "Settings", "/ui/settings"),
        sections: sections(&explained, &running),
        passed_over: passed_over(&taken),
        sets: visit.rights.may("set_config"),
    })
}

fn sections<'a>(settings: &'a [Explained], running: &[RunningSetting]) -> Vec<Section<'a>> {
    let groups = settings.chunk_by(|one, other| one.place().0 == other.place().0);
    groups
        .map(|group| Section {
            name: group.first().map_or("", |one| one.place().0),
            values: group.iter().map(|one| shown(one, running)).collect(),
        })
        .collect()
}

fn shown<'a>(one: &'a Explained, running: &[RunningSetting]) -> Shown<'a> {
    let origin = one.origin.as_deref().unwrap_or_default();
    let as_running = running.iter().find(|running| running.key == one.key);
    let note = as_running.and_then(|running| match (&running.not_in_force, &running.stored) {
        (Some(why), _) => Some(why.clone()),
        (None, Some(stored)) => stored.reason.clone(),
        (None, None) => None,
    });
    let note = note.unwrap_or_default();
    Shown {
        name: one.place().1,
        key: &one.key,
        value: &one.value,
        origin,
        what: &one.what,
        running: one.running,
        note,
    }
}

fn passed_over(taken: &Taken) -> Vec<String> {
    let words =
        |one: &baton_runtime::settings::PassedOver| format!("{} = {}: {}", one.key, one.value, one.why);
    taken.passed_over.iter().map(words).collect()
}
