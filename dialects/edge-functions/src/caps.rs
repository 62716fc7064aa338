//! The cap of tasks that run at once for one owner: Baton's own limits, which the dialect sets where nobody has.

use std::collections::BTreeSet;

use baton_http::ApiError;
use baton_model::{Label, LimitOn, LimitRules, TaskType, Which, limits};
use baton_store::{PageRequest, SetLimit};

use crate::edge::Edge;

/// Who is named for the limits that the dialect has set.
const BY: &str = "edge-functions";

/// What both limits hold for: a project that has an owner falls under that one's, and no fewer of its tasks may run by the other.
fn limited() -> [LimitOn; 2] {
    [LimitOn::Owner(Which::Each), LimitOn::Project(Which::Each)]
}

/// Makes sure that the limits stand, and that an orchestrator's type is exempt from them. Limits that others have set are theirs.
pub(crate) async fn ensure(edge: &Edge, orchestrator: Option<&TaskType>) -> Result<(), ApiError> {
    if edge.settings.running_per_owner == 0 {
        return Ok(());
    }
    let mut exempt = edge.exempt.lock().await;
    let is_exempt = exempt.as_ref().is_some_and(|exempt| orchestrator.is_none_or(|one| exempt.contains(one)));
    if is_exempt {
        return Ok(());
    }
    let mut types: BTreeSet<TaskType> = exempt.take().unwrap_or_default();
    types.extend(edge.types.orchestrators().iter().cloned());
    types.extend(orchestrator.cloned());
    for on in limited() {
        set(edge, on, &types).await?;
    }
    *exempt = Some(types);
    Ok(())
}

async fn set(edge: &Edge, on: LimitOn, types: &BTreeSet<TaskType>) -> Result<(), ApiError> {
    let store = &edge.app.store;
    let mut page = PageRequest::first(limits::PAGE);
    let standing = loop {
        let found = store.limits(page).await?;
        if let Some(status) = found.items.into_iter().find(|status| status.limit.on == on) {
            break Some(status.limit);
        }
        match found.next {
            Some(next) => page = PageRequest { after: Some(next), ..PageRequest::first(limits::PAGE) },
            None => break None,
        }
    };
    let by = Label::from_stored(BY);
    let mut exempt = types.clone();
    if let Some(limit) = standing {
        if limit.changed_by.as_ref() != Some(&by) {
            return Ok(());
        }
        exempt.extend(limit.rules.exempt_types.iter().cloned());
        if limit.rules.max_running == Some(edge.settings.running_per_owner)
            && exempt.len() == limit.rules.exempt_types.len()
        {
            return Ok(());
        }
    }
    let exempt_types: Vec<TaskType> = exempt.into_iter().take(LimitRules::EXEMPT_TYPES).collect();
    let rules = LimitRules {
        max_running: Some(edge.settings.running_per_owner),
        exempt_types,
        ..LimitRules::default()
    };
    let reason = Some("the dialect's cap of tasks that run at once for an owner".to_owned());
    tracing::info!(limit = %on, max_running = rules.max_running, "the dialect sets its cap");
    store.set_limit(SetLimit { now: edge.app.now(), on, rules: Some(rules), by: Some(by), reason }).await?;
    Ok(())
}
