//! Takes tasks back from their workers, by request or from the queue `completions`. This is the function's binary for AWS Lambda.

use std::process::ExitCode;

use baton_lambda::Function;

fn main() -> ExitCode {
    Function::new("complete-task", baton_complete_task::router)
        .with_files(baton_files::in_bucket)
        .messages(
            |queues| queues.completions_dead.clone(),
            |app, message| async move { baton_complete_task::end(&app, &message).await },
        )
        .run()
}
