//! The lines above everything: the verdict, the server, its clock; what is wrong; how much there is. And the page of all that is wrong.

use std::time::Duration;

use baton_verdict::words::span;
use baton_verdict::{Weight, headline};
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr as _;

use super::pen::{Cell, Ink, Line, Pen};
use crate::ask::{Judged, Slot, Why};
use crate::state::State;
use crate::text::{count, rate, safe, spark};

/// Clocks that are no more than this apart are told as the same: the answer's way takes time.
const SAME: Duration = Duration::from_secs(1);

/// The verdict, the server and its clock.
pub(super) fn head(pen: &mut Pen<'_>, area: Rect, state: &State) {
    let verdict = verdict(state);
    let version = state.known.version.as_deref().map(|version| format!(" {}", safe(version)));
    let clock = state.known.judged.as_ref().map(|judged| format!("  {}", clock(judged)));
    let at = state.server_now().to_string();
    let time = at.get(11..19).unwrap_or_default();
    let (version, clock) = (version.unwrap_or_default(), clock.unwrap_or_default());
    let server = safe(state.setup.server.trim_start_matches("http://"));
    let every = format!("  every {}", span(state.setup.interval).replace(".0s", "s"));
    let end = pen.put(area.x, area.y, area.width, &verdict);
    if verdict.ink != Ink::Dim {
        pen.choose(Rect { width: end - area.x, ..area });
    }
    let left = area.right().saturating_sub(end + 1);
    // Where there is little room, the least is left out first.
    let whole = format!("{server}{version}  {time} UTC{clock}{every}");
    let less = [format!("{server}{version}  {time} UTC{clock}"), format!("{server}  {time} UTC{clock}")];
    let fits = |told: &&String| told.width() <= usize::from(left);
    let told = std::iter::once(&whole).chain(&less).find(fits).unwrap_or(&less[1]);
    pen.put_right(end + 1, area.y, left, &Cell::plain(told.as_str()));
}

fn verdict(state: &State) -> Cell {
    if let Some(silence) = state.silence() {
        let long = format!("{} s", silence.as_secs());
        return Cell::new(Ink::Bad, format!(" no answer for {long} "));
    }
    match &state.known.judged {
        Some(judged) => {
            let ink = match judged.found.first().map(|one| one.weight) {
                None => Ink::Good,
                Some(Weight::Warning) => Ink::Odd,
                Some(Weight::Error) => Ink::Bad,
            };
            Cell::new(ink, format!(" {} ", headline(&judged.found)))
        }
        None if state.refused.contains_key(&Slot::Verdict) => Cell::new(Ink::Odd, " no verdict "),
        None => Cell::new(Ink::Dim, " asking "),
    }
}

/// How far the server's clock is from this machine's.
fn clock(judged: &Judged) -> String {
    let (asked, answered) = judged.asked;
    let (apart, side) = if judged.at < asked {
        (asked.since(judged.at), "behind")
    } else {
        (judged.at.since(answered), "ahead")
    };
    if apart < SAME { "clock ok".to_owned() } else { format!("clock {} {side}", span(apart)) }
}

/// What is wrong first, or why nothing is told of it.
pub(super) fn wrong(pen: &mut Pen<'_>, area: Rect, state: &State) {
    let unanswered = state.refused.values().find(|refusal| refusal.why == Why::NoAnswer);
    let cell = if let (Some(_), Some(refusal)) = (state.silence(), unanswered) {
        Cell::new(Ink::Odd, format!("{}; what is shown is as it was", safe(&refusal.told)))
    } else if state.silence().is_some() {
        Cell::new(Ink::Odd, "the server takes its time; what is shown is as it was")
    } else if let Some(refusal) = state.refused.get(&Slot::Verdict) {
        Cell::new(Ink::Odd, safe(&refusal.told))
    } else if let Some(first) = state.known.judged.as_ref().and_then(|judged| judged.found.first()) {
        Cell::new(ink(first.weight), safe(&first.message))
    } else {
        return;
    };
    pen.put(area.x, area.y, area.width, &cell);
}

fn ink(weight: Weight) -> Ink {
    match weight {
        Weight::Error => Ink::Bad,
        Weight::Warning => Ink::Odd,
    }
}

/// How much there is of everything.
pub(super) fn totals(pen: &mut Pen<'_>, area: Rect, state: &State) {
    let Some((stats, _)) = &state.known.stats else {
        let told = state.refused.get(&Slot::Stats).filter(|refusal| refusal.why == Why::Denied);
        if told.is_some() {
            let text = "statistics are for tokens that may see everything: queues are told one by one";
            pen.put(area.x, area.y, area.width, &Cell::new(Ink::Dim, text));
        }
        return;
    };
    let of = |state: &str| stats.states.get(state).copied().unwrap_or_default();
    let workers = stats.workers;
    let mut told = vec![Cell::plain(format!("{} wait ", count(of("waiting"))))];
    if of("blocked") > 0 {
        told.push(Cell::plain(format!("{} blocked ", count(of("blocked")))));
    }
    told.push(Cell::plain(format!("{} run ", count(of("running")))));
    let ink = if of("failed") > 0 { Ink::Odd } else { Ink::Plain };
    told.push(Cell::new(ink, format!("{} failed", count(of("failed")))));
    if let Some(all) = state.known.rates.all() {
        told.push(Cell::plain(format!("  in {} out {}/s", rate(all.into), rate(all.out))));
    }
    let word = if workers.alive == 1 { "worker" } else { "workers" };
    told.push(Cell::plain(format!("  {} {word} ", count(workers.alive))));
    if workers.lost > 0 {
        told.push(Cell::new(Ink::Bad, format!("{} lost ", count(workers.lost))));
    }
    told.push(Cell::plain(format!("{} busy", count(workers.busy))));
    let mut x = area.x;
    for cell in &told {
        x = pen.put(x, area.y, area.right().saturating_sub(x), cell);
    }
    let left = area.right().saturating_sub(x).min(30);
    let trend = state.known.rates.trend_of_all(usize::from(left));
    pen.put_right(area.right() - left, area.y, left, &Cell::new(Ink::Good, spark(&trend)));
}

/// All that is wrong, each with what mends it, and what shows more.
pub(super) fn all_wrong(pen: &mut Pen<'_>, area: Rect, state: &mut State) {
    let mut lines = Vec::new();
    match (&state.known.judged, state.refused.get(&Slot::Verdict)) {
        (_, Some(refusal)) => lines.push(Line::text(Ink::Odd, safe(&refusal.told))),
        (None, None) => lines.push(Line::text(Ink::Dim, "asking for what the verdict is judged from")),
        (Some(judged), None) => {
            if judged.found.is_empty() {
                lines.push(Line::text(Ink::Good, "nothing is wrong"));
            }
            for (number, one) in judged.found.iter().enumerate() {
                let weight = match one.weight {
                    Weight::Error => "error",
                    Weight::Warning => "warning",
                };
                let text = format!("{}. {weight}: {}", number + 1, safe(&one.message));
                lines.push(Line::text(ink(one.weight), text));
                let told = [Some((Ink::Plain, &one.next)), one.more.as_ref().map(|more| (Ink::Dim, more))];
                let told = told.into_iter().flatten();
                lines.extend(told.map(|(ink, told)| Line { indent: 3, ..Line::text(ink, safe(told)) }));
            }
        }
    }
    let scroll = pen.page(area, &lines, state.stay().scroll);
    state.stay_mut().scroll = scroll;
}
