//! The one table of routes and who may ask for them. The OpenAPI document's `security` is made from it, and a test holds
//! both against the routes that there are. A dialect brings a table of its own, for its own document and its own tests.

use std::fmt;
use std::sync::{Arc, LazyLock};

use baton_model::Scope::{self, Producer, Worker};
use http::Method;
use matchit::Router;

use crate::error::ApiError;

/// Who may ask for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever reaches the server.
    Open,
    /// Callers with one of these scopes, and operators.
    Scopes(&'static [Scope]),
}

/// What holds for one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Such as `GET` or `POST`. `HEAD` goes where `GET` goes.
    pub method: &'static str,
    /// The path as the router has it, such as `/v1/tasks/{id}/cancel`.
    pub path: &'static str,
    /// The operation's name in the OpenAPI document, and in the audit log.
    pub operation: &'static str,
    /// Who may ask for it.
    pub access: Access,
    /// Whether it is recorded in the audit log.
    pub audited: bool,
    /// Whether it answers at length to what changes something, as with a whole task: room for that is kept before it is done.
    /// What claims, or does many things at once, keeps its own.
    pub at_length: bool,
    /// Whether a dialect beside Baton may have the path instead.
    pub yields: bool,
}

const OPERATOR: &[Scope] = &[];

/// The rule of each route of the OpenAPI document.
pub const RULES: &[Rule] = &[
    Rule::open("/livez", "livez"),
    Rule::open("/readyz", "readyz"),
    Rule::open("/openapi.json", "openapi"),
    Rule::open("/errors/{code}", "show_error_page"),
    Rule::post("/v1/tasks", "create_task", &[Producer]),
    Rule::post("/v1/tasks/batch", "create_batch", &[Producer]),
    Rule::get("/v1/batches", "list_batches", &[Producer]),
    Rule::get("/v1/batches/{id}", "get_batch", &[Producer]),
    Rule::post("/v1/batches/{id}/seal", "seal_batch", &[Producer]),
    Rule::get("/v1/tasks", "list_tasks", &[Producer]),
    Rule::get("/v1/tasks/{id}", "get_task", &[Producer, Worker]),
    Rule::get("/v1/tasks/{id}/history", "get_history", &[Producer, Worker]),
    Rule::get("/v1/tasks/{id}/graph", "get_graph", &[Producer, Worker]),
    Rule::get("/v1/tasks/{id}/why", "get_why", &[Producer, Worker]),
    Rule::get("/v1/task-ids", "find_task_ids", &[Producer]),
    Rule::get("/v1/generations", "list_generations", &[Producer]),
    Rule::get("/v1/generations/{id}", "get_generation", &[Producer, Worker]),
    Rule::post("/v1/tasks/{id}/cancel", "cancel_task", &[Producer]).audited().at_length(),
    Rule::post("/v1/tasks/{id}/retry", "retry_task", OPERATOR).audited().at_length(),
    Rule::patch("/v1/tasks/{id}", "change_task", OPERATOR).audited().at_length(),
    Rule::post("/v1/tasks/bulk", "bulk_tasks", OPERATOR).audited(),
    Rule::get("/v1/bulk", "list_bulks", OPERATOR),
    Rule::get("/v1/bulk/{id}", "get_bulk", OPERATOR),
    Rule::post("/v1/bulk/{id}/abort", "abort_bulk", OPERATOR).audited(),
    Rule::post("/v1/claims", "claim", &[Worker]),
    Rule::post("/v1/tasks/{id}/complete", "complete", &[Worker]),
    Rule::post("/v1/tasks/{id}/fail", "fail", &[Worker]),
    Rule::post("/v1/tasks/{id}/release", "release", &[Worker]),
    Rule::post("/v1/endings", "end_attempts", &[Worker]),
    Rule::post("/v1/workers/{worker}/heartbeat", "heartbeat", &[Worker]),
    Rule::get("/v1/workers", "list_workers", OPERATOR),
    Rule::get("/v1/workers/{worker}", "get_worker", &[Worker]),
    Rule::post("/v1/workers/{worker}/drain", "drain_worker", OPERATOR).audited().at_length(),
    Rule::post("/v1/workers/{worker}/stop", "stop_worker", OPERATOR).audited().at_length(),
    Rule::post("/v1/workers/{worker}/run", "run_worker", OPERATOR).audited().at_length(),
    Rule::get("/v1/queues", "list_queues", &[Producer]),
    Rule::get("/v1/queues/{queue}", "get_queue", &[Producer]),
    Rule::post("/v1/queues/{queue}/pause", "pause_queue", OPERATOR).audited(),
    Rule::post("/v1/queues/{queue}/resume", "resume_queue", OPERATOR).audited(),
    Rule::post("/v1/queues/{queue}/order", "order_queue", OPERATOR).audited(),
    Rule::post("/v1/queues/{queue}/supply", "set_supply", OPERATOR).audited().at_length(),
    Rule::get("/v1/queues/{queue}/supply", "get_supply", OPERATOR),
    Rule::post("/v1/queues/{queue}/supply/unset", "unset_supply", OPERATOR).audited().at_length(),
    Rule::get("/v1/supplies", "list_supplies", OPERATOR),
    Rule::patch("/v1/queues/{queue}/defaults", "set_queue_defaults", OPERATOR).audited(),
    Rule::get("/v1/config", "list_config", OPERATOR),
    Rule::get("/v1/config/{key}", "get_config", OPERATOR),
    Rule::put("/v1/config/{key}", "set_config", OPERATOR).audited(),
    Rule::delete("/v1/config/{key}", "unset_config", OPERATOR).audited(),
    Rule::post("/v1/limits", "set_limit", OPERATOR).audited(),
    Rule::post("/v1/limits/clear", "clear_limit", OPERATOR).audited(),
    Rule::get("/v1/limits", "list_limits", OPERATOR),
    Rule::post("/v1/projects/{project}/owner", "set_owner", OPERATOR).audited(),
    Rule::get("/v1/projects", "list_projects", OPERATOR),
    Rule::post("/v1/schedules", "set_schedule", &[Producer]).audited().at_length(),
    Rule::get("/v1/schedules", "list_schedules", &[Producer]),
    Rule::get("/v1/schedules/{name}", "get_schedule", &[Producer]),
    Rule::post("/v1/schedules/{name}/pause", "pause_schedule", &[Producer]).audited().at_length(),
    Rule::post("/v1/schedules/{name}/resume", "resume_schedule", &[Producer]).audited().at_length(),
    Rule::post("/v1/schedules/{name}/delete", "delete_schedule", &[Producer]).audited().at_length(),
    Rule::get("/v1/stats", "get_stats", OPERATOR),
    Rule::get("/v1/logs", "list_logs", OPERATOR),
    Rule::get("/v1/timeline", "list_timeline", &[Producer]),
    Rule::get("/v1/events", "hear_events", &[Producer]),
    Rule::post("/v1/reap", "reap", OPERATOR).audited().at_length(),
    Rule::get("/v1/reaper", "show_reaper", OPERATOR),
    Rule::post("/v1/tokens", "create_token", OPERATOR).audited(),
    Rule::get("/v1/tokens", "list_tokens", OPERATOR),
    Rule::get("/v1/token", "get_own_token", &[Producer, Worker]),
    Rule::post("/v1/tokens/{id}/revoke", "revoke_token", OPERATOR).audited(),
    Rule::get("/v1/audit", "list_audit", OPERATOR),
];

/// The rules of files: of routes that only a server with a place for files, and a function on AWS, have, and that are in no OpenAPI document
/// (`docs/files.md`). A signed address says itself who may use it.
pub const FILE_RULES: &[Rule] = &[
    Rule::get("/v1/files", "list_files", &[Producer, Worker]),
    Rule::get("/v1/files/{project}/{*path}", "get_file", &[Producer, Worker]),
    Rule::put("/v1/files/{project}/{*path}", "put_file", &[Producer, Worker]),
    Rule::delete("/v1/files/{project}/{*path}", "delete_file", &[Producer, Worker]).audited(),
    Rule::post("/v1/file-links", "link_file", &[Producer, Worker]),
    Rule::open("/v1/signed-files/{project}/{*path}", "get_signed_file"),
    Rule { method: "PUT", ..Rule::open("/v1/signed-files/{project}/{*path}", "put_signed_file") },
];

/// The rules of supervised workers: of routes that only a server with such workers has, and that are in no OpenAPI document
/// (`docs/fleet.md`).
pub const FLEET_RULES: &[Rule] = &[
    Rule::get("/v1/fleet", "list_groups", OPERATOR),
    Rule::post("/v1/fleet/{group}/start", "start_group", OPERATOR).audited().at_length(),
    Rule::post("/v1/fleet/{group}/stop", "stop_group", OPERATOR).audited().at_length(),
    Rule::post("/v1/fleet/{group}/restart", "restart_group", OPERATOR).audited().at_length(),
    Rule::post("/v1/fleet/{group}/scale", "scale_group", OPERATOR).audited().at_length(),
];

/// The rules of metrics, which only a server has, and which are no JSON (`docs/metrics.md`).
pub const METRICS_RULES: &[Rule] = &[
    Rule::get("/metrics", "show_metrics", &[Producer]).yielding(),
    Rule::get("/v1/metrics", "show_metrics", &[Producer]),
];

/// The rule of scaling: of a route that only a server has, whose settings name pools, and that is in no OpenAPI document
/// (`docs/scaling.md`).
pub const SCALING_RULES: &[Rule] = &[Rule::get("/v1/scaling", "get_scaling", OPERATOR)];

/// The rules of alerts and webhooks, which a server has, and a stack on AWS if it is asked to look after them, and that are in no OpenAPI
/// document (`docs/alerts.md`).
pub const ALERT_RULES: &[Rule] = &[
    Rule::get("/v1/alerts", "list_alerts", OPERATOR),
    Rule::get("/v1/alerts/{alert}", "get_alert", OPERATOR),
    Rule::put("/v1/alerts/{alert}", "set_alert", OPERATOR).audited(),
    Rule::delete("/v1/alerts/{alert}", "delete_alert", OPERATOR).audited(),
    Rule::get("/v1/webhooks", "list_webhooks", OPERATOR),
    Rule::get("/v1/webhooks/{webhook}", "get_webhook", OPERATOR),
    Rule::put("/v1/webhooks/{webhook}", "set_webhook", OPERATOR).audited(),
    Rule::delete("/v1/webhooks/{webhook}", "delete_webhook", OPERATOR).audited(),
    Rule::post("/v1/webhooks/{webhook}/enable", "enable_webhook", OPERATOR).audited(),
    Rule::post("/v1/webhooks/{webhook}/redeliver", "redeliver_message", OPERATOR).audited(),
    Rule::post("/v1/webhooks/{webhook}/test", "test_webhook", OPERATOR).audited(),
];

impl Rule {
    /// A `GET` that whoever reaches the server may ask for.
    pub const fn open(path: &'static str, operation: &'static str) -> Self {
        Self::of("GET", path, operation, Access::Open)
    }

    /// A `GET` for callers with one of these scopes.
    pub const fn get(path: &'static str, operation: &'static str, scopes: &'static [Scope]) -> Self {
        Self::of("GET", path, operation, Access::Scopes(scopes))
    }

    /// A `POST` for callers with one of these scopes.
    pub const fn post(path: &'static str, operation: &'static str, scopes: &'static [Scope]) -> Self {
        Self::of("POST", path, operation, Access::Scopes(scopes))
    }

    /// A `PATCH` for callers with one of these scopes.
    pub const fn patch(path: &'static str, operation: &'static str, scopes: &'static [Scope]) -> Self {
        Self::of("PATCH", path, operation, Access::Scopes(scopes))
    }

    /// A `PUT` for callers with one of these scopes.
    pub const fn put(path: &'static str, operation: &'static str, scopes: &'static [Scope]) -> Self {
        Self::of("PUT", path, operation, Access::Scopes(scopes))
    }

    /// A `DELETE` for callers with one of these scopes.
    pub const fn delete(path: &'static str, operation: &'static str, scopes: &'static [Scope]) -> Self {
        Self::of("DELETE", path, operation, Access::Scopes(scopes))
    }

    /// A route of any method.
    pub const fn of(
        method: &'static str,
        path: &'static str,
        operation: &'static str,
        access: Access,
    ) -> Self {
        Self { method, path, operation, access, audited: false, at_length: false, yields: false }
    }

    /// The same, recorded in the audit log.
    #[must_use]
    pub const fn audited(self) -> Self {
        Self { audited: true, ..self }
    }

    /// The same, which answers a change at length.
    #[must_use]
    pub const fn at_length(self) -> Self {
        Self { at_length: true, ..self }
    }

    /// The same, whose path a dialect beside Baton may have instead.
    #[must_use]
    pub const fn yielding(self) -> Self {
        Self { yields: true, ..self }
    }

    /// The rule of a route, by its key as API Gateway has it, such as `POST /v1/tasks/{id}/cancel`.
    pub fn of_route_key(key: &str) -> Option<&'static Self> {
        let (method, path) = key.split_once(' ')?;
        // What takes the rest of a path is written otherwise there: {path+} for {*path}.
        let is = |rule: &&Self| match rule.path.split_once("{*") {
            None => rule.path == path,
            Some((before, rest)) => {
                let rest = format!("{{{}+}}", rest.trim_end_matches('}'));
                path.strip_prefix(before) == Some(rest.as_str())
            }
        };
        RULES.iter().chain(FILE_RULES).chain(ALERT_RULES).find(|rule| rule.method == method && is(rule))
    }

    /// The scopes that it takes, in words.
    pub fn scopes(&self) -> String {
        match self.access {
            Access::Open => "none".to_owned(),
            Access::Scopes(scopes) => {
                let names: Vec<&str> =
                    scopes.iter().chain(&[Scope::Operator]).map(|scope| scope.as_str()).collect();
                names.join(" or ")
            }
        }
    }
}

/// Routes with their rules, to be found by what a request names.
pub struct Rules {
    all: &'static [Rule],
    // The very matcher of the router, so that no spelling of a path is one route here and another one there.
    paths: Router<Vec<&'static Rule>>,
}

impl Rules {
    /// A table of these rules.
    pub fn new(all: &'static [Rule]) -> Arc<Self> {
        Arc::new(Self { all, paths: paths(all) })
    }

    /// Those of Baton's own routes: [`RULES`], [`FILE_RULES`], [`FLEET_RULES`], [`SCALING_RULES`], [`ALERT_RULES`] and [`METRICS_RULES`].
    pub fn of_baton() -> Arc<Self> {
        static ALL: LazyLock<Vec<Rule>> = LazyLock::new(|| {
            [RULES, FILE_RULES, FLEET_RULES, SCALING_RULES, ALERT_RULES, METRICS_RULES].concat()
        });
        static OWN: LazyLock<Arc<Rules>> = LazyLock::new(|| Rules::new(&ALL));
        Arc::clone(&OWN)
    }

    /// Every rule.
    pub fn all(&self) -> &'static [Rule] {
        self.all
    }

    /// The rule of a request.
    ///
    /// # Errors
    /// 404 and 405 for what has no rule.
    pub(super) fn of_request(&self, method: &Method, path: &str) -> Result<&'static Rule, ApiError> {
        match self.find(method, path) {
            Found::Rule(rule) => Ok(rule),
            Found::OtherMethods(allow) => {
                Err(ApiError::method_not_allowed(method.as_str(), path).with_allow(&allow))
            }
            Found::NoPath => Err(ApiError::no_such_route(path)),
        }
    }

    /// The rule of a request, or why it has none.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Found {
        let Ok(found) = self.paths.at(path) else { return Found::NoPath };
        let asked = if *method == Method::HEAD { "GET" } else { method.as_str() };
        match found.value.iter().find(|rule| rule.method == asked) {
            Some(rule) => Found::Rule(rule),
            None => Found::OtherMethods(allowed(found.value)),
        }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("all", &self.all).finish_non_exhaustive()
    }
}

/// What [`Rules::find`] finds.
pub(crate) enum Found {
    /// The rule.
    Rule(&'static Rule),
    /// The path is known, but with these methods only, as `Allow` names them.
    OtherMethods(String),
    /// No route has this path.
    NoPath,
}

fn paths(all: &'static [Rule]) -> Router<Vec<&'static Rule>> {
    let mut paths = Router::new();
    for rule in all {
        if !paths_has(&paths, rule.path) {
            let rules = all.iter().filter(|other| other.path == rule.path).collect();
            // The table's paths are those of the router, which takes them; a test inserts them all.
            if let Err(error) = paths.insert(rule.path, rules) {
                tracing::error!(path = rule.path, %error, "a rule's path is no path; it is refused");
            }
        }
    }
    paths
}

fn paths_has(paths: &Router<Vec<&'static Rule>>, template: &str) -> bool {
    // A template matches itself.
    paths.at(template).is_ok_and(|found| found.value.iter().any(|rule| rule.path == template))
}

fn allowed(rules: &[&Rule]) -> String {
    let mut methods = Vec::new();
    for rule in rules {
        methods.push(rule.method);
        if rule.method == "GET" {
            methods.push("HEAD");
        }
    }
    methods.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> Option<&'static Rule> {
        match Rules::of_baton().find(&method, path) {
            Found::Rule(rule) => Some(rule),
            _ => None,
        }
    }

    #[test]
    fn each_rule_is_found_by_its_path_and_by_its_route_key() {
        for rule in RULES {
            let path = rule
                .path
                .replace("{id}", "x")
                .replace("{worker}", "w")
                .replace("{queue}", "q")
                .replace("{project}", "p");
            let path = path.replace("{code}", "busy");
            assert_eq!(found(rule.method.parse().unwrap(), &path), Some(rule), "{path}");
            let key = format!("{} {}", rule.method, rule.path);
            assert_eq!(Rule::of_route_key(&key), Some(rule), "{key}");
        }
    }

    #[test]
    fn a_named_path_goes_before_one_with_a_parameter() {
        assert_eq!(found(Method::POST, "/v1/tasks/batch").unwrap().operation, "create_batch");
        assert_eq!(found(Method::GET, "/v1/tasks/batch").map(|rule| rule.operation), None);
        assert_eq!(found(Method::HEAD, "/v1/tasks").unwrap().operation, "list_tasks");
    }

    #[test]
    fn what_has_no_rule_is_not_found() {
        for path in
            ["/", "/v1/tasks/", "//v1/tasks", "/v1/tasks/a/b", "/v1/TASKS", "/v1/tasks/../stats", "", "*"]
        {
            assert!(found(Method::GET, path).is_none(), "{path}");
        }
        let Found::OtherMethods(allow) = Rules::of_baton().find(&Method::DELETE, "/v1/tasks") else {
            panic!("no methods")
        };
        assert_eq!(allow, "POST,GET,HEAD");
        assert!(Rule::of_route_key("DELETE /v1/tasks").is_none() && Rule::of_route_key("$default").is_none());
    }

    #[test]
    fn the_rest_of_a_path_is_written_as_api_gateway_has_it() {
        let of = |key: &str| Rule::of_route_key(key).map(|rule| rule.operation);
        assert_eq!(of("PUT /v1/files/{project}/{path+}"), Some("put_file"));
        assert_eq!(of("GET /v1/signed-files/{project}/{path+}"), Some("get_signed_file"));
        assert_eq!((of("GET /v1/files"), of("POST /v1/file-links")), (Some("list_files"), Some("link_file")));
        for other in
            ["PUT /v1/files/{project}/{*path}", "PUT /v1/files/{project}/{path}", "GET /v1/files/{path+}"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
