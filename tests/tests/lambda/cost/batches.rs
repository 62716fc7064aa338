//! Tasks that end by batches.

use serde_json::{Value, json};

use super::fleet::{Fleet, ids};

impl Fleet {
    /// Has so many tasks run, for [`Fleet::end_and_claim`]; it is not billed.
    pub(super) async fn begin_batch(&mut self, tasks: usize) {
        self.create(tasks).await;
        self.held = self.claim(tasks).await;
        self.relay().await;
        self.bill(1);
    }

    /// Completes all that run, and claims as many by the same request.
    pub(super) async fn end_and_claim(&mut self, tasks: usize) {
        let claim = self.claim_fields(tasks);
        let answer = self.end_batch(Some(claim)).await;
        self.held = ids(&answer["next"]["tasks"], tasks);
    }

    /// Completes all that run by one request.
    pub(super) async fn end_batch(&mut self, claim: Option<Value>) -> Value {
        let held = std::mem::take(&mut self.held);
        let end = |task: &String| json!({"task_id": task, "completion": Self::completion()});
        let mut body = json!({"endings": held.iter().map(end).collect::<Vec<_>>()});
        if let Some(claim) = claim {
            body["claim"] = claim;
        }
        let answer = self.ask(|fleet| &fleet.complete, "/v1/endings", "POST /v1/endings", body).await;
        assert_eq!(answer["accepted"], held.len());
        answer
    }
}
