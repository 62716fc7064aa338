//! The alerts that fire and that have ended, and the webhooks that are told of them.

use askama::Template;
use axum::response::Response;
use baton_api::alert::{AlertView, AlertsView, FiringView};
use baton_api::webhook::{WebhookView, WebhooksView};
use baton_http::ApiError;

use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::words::{LINES, NAMES, When, count, plain};

#[derive(Template)]
#[template(path = "alerts.html")]
struct Alerts {
    shell: Shell,
    firing: Vec<Fired>,
    rules: Vec<Row>,
    ended: Vec<Fired>,
    webhooks: Vec<Hook>,
}

/// An alert that fires, or has ended.
struct Fired {
    name: String,
    message: String,
    since: When,
    fired: When,
    ended: Option<When>,
}

struct Row {
    name: String,
    kind: &'static str,
    queue: String,
    rule: String,
    fires: bool,
    from: String,
}

struct Hook {
    name: String,
    url: String,
    status: String,
    since: Option<When>,
    why: String,
    waiting: String,
    delivered: String,
    given_up: String,
    from: String,
}

/// How many of the latest ends are shown.
const ENDED: usize = 20;

/// Shows them.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    let alerts: AlertsView = visit.get(&["v1", "alerts"], &[]).await?;
    let webhooks: WebhooksView = visit.get(&["v1", "webhooks"], &[]).await?;
    let fired = |alert: &AlertView, firing: &FiringView| Fired {
        name: plain(alert.rule.name.as_str(), NAMES),
        message: plain(&firing.message, LINES),
        since: When::new(firing.since, visit.now),
        fired: When::new(firing.fired_at, visit.now),
        ended: firing.ended_at.map(|at| When::new(at, visit.now)),
    };
    let firing = alerts.items.iter().flat_map(|one| one.firing.iter().map(|firing| fired(one, firing)));
    let mut ended: Vec<_> =
        alerts.items.iter().flat_map(|one| one.ended.iter().map(move |ended| (one, ended))).collect();
    ended.sort_by_key(|(_, ended)| std::cmp::Reverse(ended.ended_at));
    answer::ok(&Alerts {
        shell: Shell::new(&visit, "Alerts", "/ui/alerts").live(),
        firing: firing.collect(),
        rules: alerts.items.iter().map(row).collect(),
        ended: ended.into_iter().take(ENDED).map(|(one, ended)| fired(one, ended)).collect(),
        webhooks: webhooks.items.iter().map(|hook| Hook::new(hook, &visit)).collect(),
    })
}

fn row(alert: &AlertView) -> Row {
    let rule = &alert.rule;
    Row {
        name: plain(rule.name.as_str(), NAMES),
        kind: rule.kind.as_str(),
        queue: rule.queue.as_ref().map_or_else(String::new, |queue| plain(queue.as_str(), NAMES)),
        rule: rule.words(),
        fires: alert.fires,
        from: plain(&alert.from, NAMES),
    }
}

impl Hook {
    fn new(hook: &WebhookView, visit: &Visit) -> Self {
        Self {
            name: plain(hook.name.as_str(), NAMES),
            url: plain(&hook.url, LINES),
            status: plain(&hook.status, NAMES),
            since: hook.disabled_at.or(hook.failing_since).map(|at| When::new(at, visit.now)),
            why: hook.disabled_why.as_ref().map_or_else(String::new, |why| plain(why, LINES)),
            waiting: count(hook.waiting),
            delivered: count(hook.delivered),
            given_up: count(hook.given_up + hook.dropped),
            from: plain(&hook.from, NAMES),
        }
    }
}
