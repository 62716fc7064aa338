//! Makes, lists and revokes callers' tokens. This is the function's binary for AWS Lambda.

use std::process::ExitCode;

use baton_lambda::Function;

fn main() -> ExitCode {
    Function::new("manage-tokens", baton_manage_tokens::router).run()
}
