//! Gives tasks to workers. This is the function's binary for AWS Lambda.

use std::process::ExitCode;

use baton_lambda::Function;

fn main() -> ExitCode {
    Function::new("claim-task", baton_claim_task::router).slow(baton_claim_task::SLOW).run()
}
