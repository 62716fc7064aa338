//! The settings that the server runs with; those that may change while it runs lead to a page of their own.

use askama::Template;
use axum::response::Response;
use baton_api::ProblemCode;
use baton_api::config::{ConfigView, SettingView};
use baton_http::ApiError;
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
    /// Whether these are all.
    all: bool,
}

/// Shows them to those who may see everything.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    // No route tells all of them; who may read what operators did is an operator of the whole server.
    if !visit.rights.may("list_audit") {
        let detail =
            "expected a token with the scope operator and without bounds, got another one; use another token";
        return Err(ApiError::new(ProblemCode::ScopeMissing, detail));
    }
    let shell = Shell::new(&visit, "Settings", "/ui/settings");
    let sets = visit.rights.may("set_config");
    let Some(taken) = visit.ui.source.settings() else {
        let told: ConfigView = visit.get(&["v1", "config"], &[]).await?;
        let passed_over = told.passed_over.iter().map(|one| passed_over(&one.key, &one.value, &one.why));
        return answer::ok(&Page {
            shell,
            sections: sections(told.items.iter().map(told_elsewhere)),
            passed_over: passed_over.collect(),
            sets,
            all: false,
        });
    };
    // As they are in force at this moment: who has just set one wants to see it.
    let (explained, running) = (taken.settings.explain(), taken.settings.running(&taken.stored));
    let passed_over = taken.passed_over.iter().map(|one| passed_over(&one.key, &one.value, &one.why));
    answer::ok(&Page {
        shell,
        sections: sections(explained.iter().map(|one| shown(one, &running))),
        passed_over: passed_over.collect(),
        sets,
        all: true,
    })
}

/// Settings by their sections.
fn sections<'a>(settings: impl Iterator<Item = (&'a str, Shown<'a>)>) -> Vec<Section<'a>> {
    let mut sections: Vec<Section<'a>> = Vec::new();
    for (name, shown) in settings {
        match sections.iter_mut().find(|section| section.name == name) {
            Some(section) => section.values.push(shown),
            None => sections.push(Section { name, values: vec![shown] }),
        }
    }
    sections
}

/// A setting of this server, with its section.
fn shown<'a>(one: &'a Explained, running: &[RunningSetting]) -> (&'a str, Shown<'a>) {
    let (section, name) = one.place();
    let running_one = running.iter().find(|running| running.key == one.key);
    let shown = Shown {
        name,
        key: &one.key,
        value: &one.value,
        origin: one.origin.as_deref().unwrap_or_default(),
        what: &one.what,
        running: one.running,
        note: running_one
            .map(|one| note(&one.not_in_force, one.stored.as_ref().and_then(|kept| kept.reason.as_ref())))
            .unwrap_or_default(),
    };
    (section, shown)
}

/// One that a server elsewhere tells: it tells of those that may change while it runs.
fn told_elsewhere(one: &SettingView) -> (&str, Shown<'_>) {
    let (section, name) = one.key.rsplit_once('.').unwrap_or(("", &one.key));
    let shown = Shown {
        name,
        key: &one.key,
        value: &one.value,
        origin: one.from.as_deref().unwrap_or_default(),
        what: &one.what,
        running: true,
        note: note(&one.not_in_force, one.stored.as_ref().and_then(|kept| kept.reason.as_ref())),
    };
    (section, shown)
}

/// Why what the store keeps is not in force, or else why it was set.
fn note(not_in_force: &Option<String>, reason: Option<&String>) -> String {
    not_in_force.as_ref().or(reason).cloned().unwrap_or_default()
}

/// Something that the store keeps and the server can make nothing of.
fn passed_over(key: &str, value: &str, why: &str) -> String {
    format!("{key} = {value}: {why}")
}
