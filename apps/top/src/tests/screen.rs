//! The terminal is given back on a panic. The test starts its own program anew on a terminal, and there this very test panics.

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::screen::Screen;

const INSIDE: &str = "BATON_TOP_PANICS";

#[test]
fn a_panic_gives_the_terminal_back_and_is_told_on_it() {
    if std::env::var_os(INSIDE).is_some() {
        let _screen = Screen::take().unwrap();
        panic!("planted");
    }
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = openpty(Some(&size), None).unwrap();
    let side = || Stdio::from(pair.slave.try_clone().unwrap());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "--nocapture",
        "tests::screen::a_panic_gives_the_terminal_back_and_is_told_on_it",
    ]);
    command.env("RUST_BACKTRACE", "0").env(INSIDE, "1").stdin(side()).stdout(side()).stderr(side());
    let mut child = command.spawn().unwrap();
    // It writes less than a terminal holds for whoever reads it.
    assert!(!child.wait().unwrap().success());
    let flags = tcgetattr(&pair.slave).unwrap().local_flags;
    assert!(flags.contains(LocalFlags::ICANON | LocalFlags::ECHO), "{flags:?}");
    drop(command);
    drop(pair.slave);
    let mut told = Vec::new();
    let _ = File::from(pair.master).read_to_end(&mut told);
    let told = String::from_utf8_lossy(&told);
    let at = |text: &str| told.find(text).unwrap_or_else(|| panic!("no {text:?} in {told:?}"));
    assert!(at("\u{1b}[?1049h") < at("\u{1b}[?1049l") && at("\u{1b}[?1049l") < at("planted"), "{told:?}");
    assert!(at("\u{1b}[?25h") < at("planted"), "{told:?}");
}
