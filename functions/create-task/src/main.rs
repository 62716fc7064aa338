//! Creates tasks, by request or from the queue `submissions`. This is the function's binary for AWS Lambda.

use std::process::ExitCode;

use baton_lambda::Function;

fn main() -> ExitCode {
    Function::new("create-task", baton_create_task::router)
        .messages(
            |queues| queues.submissions_dead.clone(),
            |app, message| async move { baton_create_task::submit(&app, &message).await },
        )
        .run()
}
