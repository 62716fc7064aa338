//! A question that is answered at the terminal before something is done that cannot be undone.

use std::io::{self, IsTerminal as _};

use crate::exit::Failure;
use crate::out::harmless;
use crate::talk;

/// Asks whoever sits at the terminal.
pub(crate) fn confirm(question: &str) -> Result<(), Failure> {
    let question = harmless::line(question);
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} nobody is there to say so; add --yes to do it")));
    }
    talk::write(&format!("{question} [y/N] "));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| Failure::failed(error.to_string()))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was done")),
    }
}
