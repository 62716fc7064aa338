//! Bars, drawn as SVG: how wide each is, in parts of the drawing's width.

use crate::words::count;

/// A part of a bar.
pub(crate) struct Part {
    /// What it counts, which is also its colour.
    pub(crate) what: &'static str,
    pub(crate) x: String,
    pub(crate) width: String,
    /// How many, for people.
    pub(crate) tasks: String,
}

/// The width of drawings.
const WIDTH: f64 = 1_000.0;
/// What is there at all shows.
const LEAST: f64 = 4.0;

/// One bar of parts beside each other, as wide as `whole`.
pub(crate) fn bar(numbers: &[(&'static str, u64)], whole: u64) -> Vec<Part> {
    let some = numbers.iter().filter(|(_, tasks)| *tasks > 0).count() as f64;
    // What the smallest parts get more, all share.
    let room = WIDTH - some * LEAST;
    let mut x = 0.0;
    let mut parts = Vec::new();
    for &(what, tasks) in numbers.iter().filter(|(_, tasks)| *tasks > 0) {
        let width = LEAST + room * tasks as f64 / whole.max(1) as f64;
        parts.push(Part { what, x: format!("{x:.1}"), width: format!("{width:.1}"), tasks: count(tasks) });
        x += width;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_its_width_and_hides_nothing() {
        let parts = bar(&[("waiting", 1), ("running", 0), ("completed", 999_999)], 1_000_000);
        assert_eq!(parts.len(), 2);
        let widths: Vec<f64> = parts.iter().map(|part| part.width.parse().unwrap()).collect();
        assert!(widths[0] >= LEAST && (widths.iter().sum::<f64>() - WIDTH).abs() < 0.5, "{widths:?}");
        assert!(bar(&[("waiting", 0)], 0).is_empty());
    }
}
