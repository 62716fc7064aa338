//! Says who asks, and whether they may. This is the function's binary for AWS Lambda.

use std::process::ExitCode;

use baton_lambda::Function;
use utoipa_axum::router::OpenApiRouter;

fn main() -> ExitCode {
    Function::new("authorize", OpenApiRouter::default)
        .authorizer(|by, asked| async move {
            baton_authorize::authorize(&by, &asked.route_key, &asked.headers).await
        })
        .run()
}
