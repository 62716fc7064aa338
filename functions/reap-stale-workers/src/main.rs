//! Takes tasks back whose lease is lost, on a schedule or by request. This is the function's binary for AWS Lambda.

use std::process::ExitCode;

use baton_lambda::Function;

fn main() -> ExitCode {
    Function::new("reap-stale-workers", baton_reap_stale_workers::router)
        .schedule(|app, budget| async move { baton_reap_stale_workers::scheduled(&app, budget).await })
        .run()
}
