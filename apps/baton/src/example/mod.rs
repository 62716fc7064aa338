//! x
use clap::Args;
#[derive(Args)]
pub(crate) struct Example {}
impl Example {
    pub(crate) async fn run(self, _context: &crate::context::Context) -> Result<(), crate::exit::Failure> {
        Ok(())
    }
}
