//! Takes tasks back whose lease is lost, on a schedule or by request. This is the function's binary for AWS Lambda.

use std::process::ExitCode;
use std::sync::Arc;

use baton_archive::ObjectArchive;
use baton_files::Objects;
use baton_lambda::Function;
use baton_reap_stale_workers::ArchiveRounds;

fn main() -> ExitCode {
    let rounds = Arc::new(ArchiveRounds::default());
    Function::new("reap-stale-workers", baton_reap_stale_workers::router)
        .archiving(|place| {
            let objects = Objects::open(place).map_err(|error| baton_model::with_causes(&error))?;
            Ok(Arc::new(ObjectArchive::new(objects)))
        })
        .schedule(move |tick| {
            let rounds = Arc::clone(&rounds);
            async move {
                let archive = tick.archiver.as_ref().map(|archiver| (archiver, &*rounds));
                baton_reap_stale_workers::scheduled(&tick.app, tick.budget, archive).await
            }
        })
        .run()
}
