//! A program on a terminal: a pseudo-terminal that a thread reads, and a screen that is made of what comes, as a terminal makes one.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use super::{PATIENCE, Running};

/// A terminal of 80 × 24 with a program on it.
pub(crate) struct Terminal {
    keys: File,
    /// The side that the program has, kept open: what the program leaves it like can be asked then.
    side: std::os::fd::OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
    pub(crate) program: Running,
}

impl Terminal {
    pub(crate) fn new(mut command: Command) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).unwrap();
        let side = || Stdio::from(pair.slave.try_clone().unwrap());
        command.env("TERM", "xterm").stdin(side()).stdout(side()).stderr(side());
        let program = Running(command.spawn().unwrap());
        let keys = File::from(pair.master);
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut read, all) = (keys.try_clone().unwrap(), Arc::clone(&written));
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(bytes @ 1..) = read.read(&mut part) {
                all.lock().unwrap().extend_from_slice(&part[..bytes]);
            }
        });
        Self { keys, side: pair.slave, written, program }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// The lines of the screen.
    pub(crate) fn screen(&self) -> String {
        screen(&self.raw())
    }

    pub(crate) fn shows(&self, text: &str) {
        let begun = Instant::now();
        while !self.screen().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {text:?}:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the program has written last may still be on its way to the thread that reads it.
    pub(crate) fn comes_back(&self) -> bool {
        let begun = Instant::now();
        while !self.is_given_back() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.is_given_back()
    }

    pub(crate) fn ends(&mut self) -> ExitStatus {
        self.program.wait()
    }

    /// Whether the terminal is as it was: it reads by lines, shows its cursor, and the other screen is left.
    pub(crate) fn is_given_back(&self) -> bool {
        let raw = self.raw();
        let last = |on: &str, off: &str| raw.rfind(off) > raw.rfind(on);
        let flags = tcgetattr(&self.side).unwrap().local_flags;
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO)
            && last("\u{1b}[?1049h", "\u{1b}[?1049l")
            && last("\u{1b}[?25l", "\u{1b}[?25h")
            && last("\u{1b}[?2004h", "\u{1b}[?2004l")
    }
}

/// What a terminal of 80 × 24 makes of what is written to it, as far as this program writes: text, moves of the cursor, and clearing.
fn screen(written: &str) -> String {
    let mut lines = vec![vec![' '; 80]; 24];
    let (mut row, mut column) = (0, 0);
    let mut rest = written.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            if rest.next() != Some('[') {
                continue;
            }
            let mut numbers = String::new();
            let end = loop {
                match rest.next() {
                    Some(c) if c.is_ascii_digit() || c == ';' || c == '?' => numbers.push(c),
                    other => break other,
                }
            };
            match end {
                Some('H') => {
                    let mut at = numbers.split(';').map(|number| number.parse::<usize>().unwrap_or(1) - 1);
                    (row, column) = (at.next().unwrap_or(0), at.next().unwrap_or(0));
                }
                Some('J') => lines.iter_mut().for_each(|line| line.fill(' ')),
                // To the end of the line.
                Some('K') if numbers.is_empty() => {
                    lines.get_mut(row).into_iter().flatten().skip(column).for_each(|place| *place = ' ');
                }
                _ => {}
            }
            continue;
        }
        match c {
            '\r' => column = 0,
            '\n' => row = (row + 1).min(23),
            c => {
                if let Some(place) = lines.get_mut(row).and_then(|line| line.get_mut(column)) {
                    *place = c;
                }
                column += 1;
            }
        }
    }
    let line = |line: &Vec<char>| line.iter().collect::<String>().trim_end().to_owned();
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}
