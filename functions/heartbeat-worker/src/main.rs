//! Hears from workers. This is the function's binary for AWS Lambda.

use std::process::ExitCode;

use baton_lambda::Function;

fn main() -> ExitCode {
    Function::new("heartbeat-worker", baton_heartbeat_worker::router).run()
}
