//! Takes files in and gives them out, by request; and on a schedule takes in what was put into the bucket itself, and removes what nobody
//! can want any more. This is the function's binary for AWS Lambda.

use std::process::ExitCode;

use baton_lambda::Function;

fn main() -> ExitCode {
    Function::new("manage-files", baton_manage_files::router)
        .with_files(baton_files::in_bucket)
        .schedule(|tick| async move { baton_manage_files::scheduled(&tick.app, tick.budget).await })
        .run()
}
