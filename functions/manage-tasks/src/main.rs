//! Does what operators ask for. This is the function's binary for AWS Lambda.

use std::process::ExitCode;

use baton_lambda::Function;

fn main() -> ExitCode {
    Function::new("manage-tasks", baton_manage_tasks::router).run()
}
