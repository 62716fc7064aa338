//! Looks after alerts and sends to webhooks on a schedule, and tells how they stand. This is the function's binary for AWS Lambda.

use std::process::ExitCode;
use std::sync::Arc;

use baton_lambda::Function;
use baton_manage_alerts::AlertRounds;

fn main() -> ExitCode {
    // To public addresses alone.
    let rounds = Arc::new(AlertRounds::default());
    Function::new("manage-alerts", baton_manage_alerts::router)
        .schedule(move |tick| {
            let rounds = Arc::clone(&rounds);
            async move { baton_manage_alerts::scheduled(&tick.app, tick.budget, &rounds).await }
        })
        .run()
}
