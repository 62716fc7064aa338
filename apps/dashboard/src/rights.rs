//! What whoever signed in may do, as far as a page must know to offer it. It decides nothing: the routes do.

use baton_api::token::TokenView;
use baton_http::auth::{ALERT_RULES, Access, FLEET_RULES, RULES};
use baton_model::Grant;

/// Operations that concern everything, and so need a token without bounds.
const EVERYTHING: &[&str] = &[
    "list_workers",
    "drain_worker",
    "stop_worker",
    "run_worker",
    "get_stats",
    "list_logs",
    "show_reaper",
    "list_limits",
    "list_projects",
    "list_alerts",
    "list_audit",
    "get_config",
    "set_config",
    "unset_config",
    "list_tokens",
    "revoke_token",
    "list_groups",
    "scale_group",
];
/// Operations on whole queues, which all projects share.
const QUEUES: &[&str] = &["list_queues", "pause_queue", "resume_queue"];

/// The grant of a token; everything where none is needed.
#[derive(Clone, Debug)]
pub(crate) struct Rights {
    /// The token's name.
    pub(crate) name: Option<String>,
    grant: Option<Grant>,
}

impl Rights {
    /// Those of a token, or of somebody who needs none.
    pub(crate) fn of(token: Option<TokenView>) -> Self {
        let (name, grant) = token
            .map(|TokenView { name, scopes, queues, project, .. }| {
                let (scopes, queues) = (scopes.into_iter().collect(), queues.into_iter().collect());
                (name.to_string(), Grant { scopes, queues, project })
            })
            .unzip();
        Self { name, grant }
    }

    /// Whether an operation is worth offering.
    pub(crate) fn may(&self, operation: &str) -> bool {
        let Some(grant) = &self.grant else { return true };
        let mut rules = RULES.iter().chain(FLEET_RULES).chain(ALERT_RULES);
        let Some(rule) = rules.find(|rule| rule.operation == operation) else {
            return false;
        };
        let scoped = match rule.access {
            Access::Open => true,
            Access::Scopes(scopes) => grant.has(scopes),
        };
        let bounds = (grant.is_unbound() || !EVERYTHING.contains(&operation))
            && (grant.project.is_none() || !QUEUES.contains(&operation));
        scoped && bounds
    }

    /// What the token is bound to, in words; nothing if it reaches everything.
    pub(crate) fn bounds(&self) -> Option<String> {
        let grant = self.grant.as_ref().filter(|grant| !grant.is_unbound())?;
        let mut words = Vec::new();
        if let Some(project) = &grant.project {
            words.push(format!("project {project}"));
        }
        if !grant.queues.is_empty() {
            let queues: Vec<String> = grant.queues.iter().map(ToString::to_string).collect();
            words.push(format!("queues {}", queues.join(", ")));
        }
        Some(words.join(" and "))
    }
}
