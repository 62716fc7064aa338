//! The loop: what happens is taken in, what is to be asked is asked, and what is known is drawn.

use std::io;
use std::time::{Duration, Instant};

use baton_client::Client;
use baton_model::Timestamp;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::answers::{Gather, UnderWay};
use crate::event::{Event, Key, Moment};
use crate::screen::Screen;
use crate::state::{Setup, State};
use crate::update::update;
use crate::view::draw;

/// How often ages are drawn anew, and it is looked what is due.
const TICK: Duration = Duration::from_millis(250);

/// How it is to be run.
pub struct Options {
    /// How often the server is asked.
    pub interval: Duration,
    /// Whether nothing may be changed.
    pub read_only: bool,
    /// Whether colours are wanted.
    pub colours: bool,
    /// The clock of this machine.
    pub clock: Box<dyn Fn() -> Timestamp>,
    /// Asks for what the verdict is judged from.
    pub gather: Gather,
}

/// What the terminal tells.
enum Heard {
    Event(Event),
    /// It has another size, or is to be drawn anew.
    Redraw,
}

/// Shows the server of a client on the terminal until its user has enough, or `stop` ends.
///
/// # Errors
/// The terminal can be neither read nor written any more.
pub async fn run(options: Options, client: Client, stop: impl Future<Output = ()>) -> io::Result<()> {
    let Options { interval, read_only, colours, clock, gather } = options;
    let setup = Setup { server: client.base().to_owned(), interval, read_only, colours };
    let began = Instant::now();
    let now = || Moment { since: began.elapsed(), wall: clock() };
    let mut state = State::new(setup, now());
    let mut under_way = UnderWay::new(client, gather);
    let mut screen = Screen::take()?;
    let mut terminal = listen()?;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = std::pin::pin!(stop);
    while !state.over {
        screen.terminal.draw(|frame| draw(&mut state, frame))?;
        let event = tokio::select! {
            biased;
            () = &mut stop => break,
            heard = terminal.recv() => match heard {
                Some(Ok(Heard::Event(event))) => event,
                Some(Ok(Heard::Redraw)) => {
                    screen.terminal.clear()?;
                    Event::Tick
                }
                Some(Err(error)) => return Err(error),
                // The terminal is gone.
                None => break,
            },
            (ask, outcome) = under_way.next() => Event::Answered(ask, outcome),
            _ = ticks.tick() => Event::Tick,
        };
        for ask in update(&mut state, event, now()) {
            under_way.start(ask);
        }
    }
    Ok(())
}

/// Reads the terminal on a thread of its own, as reading waits. It ends with the program.
fn listen() -> io::Result<mpsc::Receiver<io::Result<Heard>>> {
    let (tell, told) = mpsc::channel(64);
    let read = move || {
        loop {
            let heard = match event::read() {
                Ok(event) => heard(event).map(Ok),
                Err(error) => Some(Err(error)),
            };
            let Some(heard) = heard else { continue };
            let failed = heard.is_err();
            if tell.blocking_send(heard).is_err() || failed {
                return;
            }
        }
    };
    std::thread::Builder::new().name("keys".to_owned()).spawn(read)?;
    Ok(told)
}

fn heard(event: event::Event) -> Option<Heard> {
    match event {
        event::Event::Key(key) if key.kind != KeyEventKind::Release => key_of(key),
        event::Event::Paste(text) => Some(Heard::Event(Event::Pasted(text))),
        event::Event::Resize(..) => Some(Heard::Redraw),
        _ => None,
    }
}

fn key_of(KeyEvent { code, modifiers, .. }: KeyEvent) -> Option<Heard> {
    let control = modifiers.contains(KeyModifiers::CONTROL);
    let key = match code {
        KeyCode::Char('c') if control => Key::Interrupt,
        KeyCode::Char('l') if control => return Some(Heard::Redraw),
        // What another program gives a meaning to is no letter.
        KeyCode::Char(_) if control || modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        _ => return None,
    };
    Some(Heard::Event(Event::Key(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
        match key_of(KeyEvent::new(code, modifiers)) {
            Some(Heard::Event(Event::Key(key))) => Some(key),
            _ => None,
        }
    }

    #[test]
    fn a_letter_with_control_or_alt_is_none() {
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), Some(Key::Char('c')));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Interrupt));
        assert_eq!(key(KeyCode::Char('r'), KeyModifiers::CONTROL), None);
        assert_eq!(key(KeyCode::Char('y'), KeyModifiers::ALT), None);
        assert_eq!(key(KeyCode::Char('S'), KeyModifiers::SHIFT), Some(Key::Char('S')));
    }
}
