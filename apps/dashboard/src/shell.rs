//! What stands around each page: where one can go, who one is, what was just done.

use crate::visit::Visit;

/// A link of the navigation.
pub(crate) struct Link {
    pub(crate) href: &'static str,
    pub(crate) label: &'static str,
    pub(crate) current: bool,
}

/// What stands around a page.
pub(crate) struct Shell {
    pub(crate) title: String,
    pub(crate) links: Vec<Link>,
    /// The token's name, if one signed in.
    pub(crate) name: Option<String>,
    /// What it is bound to.
    pub(crate) bounds: Option<String>,
    pub(crate) signed_in: bool,
    pub(crate) form: String,
    /// What was just done.
    pub(crate) did: Option<&'static str>,
    /// Whether tasks can be looked for.
    pub(crate) finds: bool,
    /// When the page was made.
    pub(crate) at: String,
    /// Whose pages these are, if of a server elsewhere.
    pub(crate) of: Option<String>,
    hears: bool,
    rest: u32,
    /// After how many seconds it looks again at what moves without an event; never if 0.
    pub(crate) moving: u32,
    /// After how many seconds it looks again; never if 0.
    pub(crate) every: u32,
    /// Where it hears of changes meanwhile, if whoever came may.
    pub(crate) events: Option<String>,
}

/// All pages, with the operation that one must be allowed to see something there.
const PAGES: &[(&str, &str, &str)] = &[
    ("/ui", "Overview", ""),
    ("/ui/queues", "Queues", "list_queues"),
    ("/ui/tasks", "Tasks", "list_tasks"),
    ("/ui/workers", "Workers", "list_workers"),
    ("/ui/groups", "Groups", "list_groups"),
    ("/ui/schedules", "Schedules", "list_schedules"),
    ("/ui/limits", "Limits", "list_limits"),
    ("/ui/alerts", "Alerts", "list_alerts"),
    ("/ui/projects", "Projects", "list_projects"),
    ("/ui/tokens", "Tokens", "list_tokens"),
    ("/ui/audit", "Audit", "list_audit"),
    ("/ui/settings", "Settings", "list_audit"),
];

impl Shell {
    /// Around a page of this title below a link of the navigation.
    pub(crate) fn new(visit: &Visit, title: &str, section: &str) -> Self {
        let allowed = PAGES.iter().filter(|(_, _, operation)| {
            // A server without supervised workers has no page for them.
            let is_there = *operation != "list_groups" || visit.groups;
            is_there && (operation.is_empty() || visit.rights.may(operation))
        });
        let links = allowed.map(|&(href, label, _)| Link { href, label, current: href == section });
        Self {
            title: title.to_owned(),
            links: links.collect(),
            name: visit.rights.name.clone(),
            bounds: visit.rights.bounds(),
            signed_in: visit.session.is_some(),
            form: visit.form.clone(),
            did: visit.asked("did").and_then(told),
            finds: visit.rights.may("find_task_ids"),
            at: visit.now.to_string(),
            of: visit.ui.source.address().map(str::to_owned),
            every: 0,
            moving: 0,
            events: None,
            hears: visit.rights.may("hear_events"),
            rest: visit.ui.source.every(),
        }
    }

    /// The same, of a page that looks again when something happens, or every few seconds.
    pub(crate) fn live(self) -> Self {
        self.live_of(&[])
    }

    /// The same of a page that is about these events alone.
    pub(crate) fn live_of(self, filter: &[(&str, &str)]) -> Self {
        let events = self.hears.then(|| crate::address::path(&["ui", "events"], filter));
        Self { every: self.rest, events, ..self }
    }

    /// The same of a page on which something moves of which no event tells, after so many seconds each time.
    pub(crate) fn moving(self, every: u32) -> Self {
        Self { moving: every, ..self }
    }
}

/// The addresses hold a word of these, and no text that anybody could write.
fn told(did: &str) -> Option<&'static str> {
    Some(match did {
        "cancelled" => "The task is cancelled.",
        "retried" => "The task is back in its queue.",
        "paused" => "It is paused.",
        "resumed" => "It goes on.",
        "drains" => "The worker is asked to drain: it finishes what it holds and takes nothing new.",
        "stops" => "The worker is asked to stop.",
        "runs" => "The worker goes on, by its next heartbeat.",
        "ended-before" => {
            "The worker had ended before it could hear of that: it is too late to take back what was asked."
        }
        "set" => "The setting is kept as it stands here.",
        "revoked" => "The token is revoked.",
        "started" => "The group is asked to start all of its workers.",
        "stopped" => "The group is asked to end all of its workers.",
        "restarted" => "The group is asked to start all of its workers anew.",
        "rolled" => "The group is asked to start its workers anew, one after the other.",
        "scaled" => "The group is asked to have so many workers.",
        "aborted" => "The bulk command is called off.",
        _ => return None,
    })
}
