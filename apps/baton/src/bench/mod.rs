//! x
use clap::Args;
#[derive(Args)]
pub(crate) struct Bench {}
impl Bench {
    pub(crate) async fn run(self, _context: &crate::context::Context) -> Result<(), crate::exit::Failure> {
        Ok(())
    }
}
