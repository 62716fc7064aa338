//! What an invocation brings besides its event, and what comes of it.

use std::collections::BTreeMap;

use baton_http::ApiError;
use baton_model::Timestamp;
use baton_store::StoreError;
use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde_json::Value;

use crate::api_gateway::HttpAnswer;
use crate::metrics::Gauges;

/// What an invocation brings besides its event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// Lambda's id of it.
    pub request_id: String,
    /// X-Ray's id of the trace that it belongs to.
    pub trace_id: Option<String>,
    /// When it is killed, if it is known.
    pub deadline: Option<Timestamp>,
}

/// What a function answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To a request.
    Http(HttpAnswer),
    /// To a batch of messages or records.
    Batch(BatchAnswer),
    /// To a schedule, which takes note of none.
    Scheduled(Scheduled),
    /// To API Gateway, whether a request may go on.
    Verdict(Value),
}

/// What was done on a schedule.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Scheduled {
    /// What its invocation answers.
    pub answer: Value,
    /// What it found.
    #[serde(skip)]
    pub gauges: Gauges,
    /// How many machines each pool should have.
    #[serde(skip)]
    pub pools: BTreeMap<String, f64>,
}

impl Answer {
    pub(crate) fn gauges(&self) -> Gauges {
        match self {
            Self::Scheduled(done) => done.gauges.clone(),
            Self::Http(_) | Self::Batch(_) | Self::Verdict(_) => Gauges::new(),
        }
    }

    pub(crate) fn pools(&self) -> BTreeMap<String, f64> {
        match self {
            Self::Scheduled(done) => done.pools.clone(),
            Self::Http(_) | Self::Batch(_) | Self::Verdict(_) => BTreeMap::new(),
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        match self {
            Self::Http(answer) => answer.status_code >= 500,
            Self::Batch(answer) => !answer.is_whole(),
            Self::Scheduled(_) | Self::Verdict(_) => false,
        }
    }
}

/// Why an invocation has failed as a whole; Lambda sends its event again, as its trigger does.
#[derive(Debug, thiserror::Error)]
#[error("{told}")]
pub struct Failed {
    pub(crate) kind: &'static str,
    pub(crate) told: String,
}

impl Failed {
    pub(crate) fn event(told: impl Into<String>) -> Self {
        Self { kind: "Baton.Event", told: told.into() }
    }

    pub(crate) fn settings(told: impl Into<String>) -> Self {
        Self { kind: "Baton.Settings", told: told.into() }
    }

    pub(crate) fn store(error: &StoreError) -> Self {
        Self { kind: "Baton.Store", told: error.report() }
    }

    pub(crate) fn problem(error: &ApiError) -> Self {
        error.log();
        Self { kind: "Baton.Problem", told: error.clone().into_problem().detail }
    }
}

impl From<Failed> for Diagnostic {
    fn from(failed: Failed) -> Self {
        Self { error_type: failed.kind.to_owned(), error_message: failed.told }
    }
}

/// What of a batch is to come again (`ReportBatchItemFailures`): messages by their ids, or the first record of a stream
/// that was not done.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswer {
    pub(crate) batch_item_failures: Vec<ItemFailure>,
}

/// One of a batch that is to come again.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    pub(crate) item_identifier: String,
}

impl BatchAnswer {
    /// All of these are to come again.
    pub(crate) fn again(ids: impl IntoIterator<Item = String>) -> Self {
        let failures = ids.into_iter().map(|item_identifier| ItemFailure { item_identifier });
        Self { batch_item_failures: failures.collect() }
    }

    /// Whether none is.
    pub(crate) fn is_whole(&self) -> bool {
        self.batch_item_failures.is_empty()
    }
}
