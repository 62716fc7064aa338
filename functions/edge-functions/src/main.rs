//! Answers the generation platform's clients. This is the function's binary for AWS Lambda.

use std::process::ExitCode;

use baton_lambda::Function;

fn main() -> ExitCode {
    Function::speaking("edge-functions", baton_edge_functions::dialect)
        .with_files(baton_files::in_bucket)
        .run()
}
