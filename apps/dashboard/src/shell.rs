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
    /// After how many seconds it looks again; never if 0.
    pub(crate) every: u32,
}

/// All pages, with the operation that one must be allowed to see something there.
const PAGES: &[(&str, &str, &str)] = &[
    ("/ui", "Overview", ""),
    ("/ui/queues", "Queues", "list_queues"),
    ("/ui/tasks", "Tasks", "list_tasks"),
    ("/ui/workers", "Workers", "list_workers"),
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
        let allowed =
            PAGES.iter().filter(|(_, _, operation)| operation.is_empty() || visit.rights.may(operation));
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
            every: 0,
        }
    }

    /// The same, of a page that looks again every few seconds.
    pub(crate) fn live(self) -> Self {
        Self { every: 5, ..self }
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
        "runs" => "The worker is asked to run on.",
        "revoked" => "The token is revoked.",
        "aborted" => "The bulk command is called off.",
        _ => return None,
    })
}
