//! Tells the queue `task-events` what has happened to tasks, and keeps the statistics. This is the function's binary for AWS Lambda.

use std::process::ExitCode;

use baton_lambda::Function;
use baton_relay_events::Notifier;
use utoipa_axum::router::OpenApiRouter;

fn main() -> ExitCode {
    Function::new("relay-events", OpenApiRouter::default)
        .stream(
            |store, record| async move { baton_relay_events::relay(&store, &record).await },
            baton_relay_events::cloud_event,
        )
        .notifying(Notifier::default())
        .releasing(
            |store, record, now| async move { baton_relay_events::release(&store, &record, now).await },
        )
        .counting(|store, records| async move { baton_relay_events::count(&store, &records).await })
        .run()
}
