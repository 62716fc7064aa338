//! Shows what there is. This is the function's binary for AWS Lambda.

use std::process::ExitCode;

use baton_lambda::Function;

fn main() -> ExitCode {
    Function::new("query-tasks", baton_query_tasks::router).run()
}
