//! Tables: which columns are shown, and how wide they are.
//!
//! Into a pipe everything is written, and nothing is cut. On a terminal, cells that may be cut are, widest first, until a
//! row fits on a line; ids, numbers and times are never cut: half of one is of no use.

use std::collections::BTreeSet;

use baton_runtime::nearest;
use unicode_width::UnicodeWidthStr as _;

use super::harmless;

/// The columns between two columns.
const GAP: usize = 2;
/// What a cell is not cut below.
const LEAST: usize = 6;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    name: &'static str,
    show: Show,
    cut: bool,
}

/// When a column is shown, if nobody asks for particular ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    Always,
    /// If its cells differ, or there is room.
    Spare,
    /// If there is room.
    Room,
    /// Not at all.
    Asked,
}

impl Column {
    /// A column that is always shown, and whole.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, show: Show::Always, cut: false }
    }

    /// Its cells may be cut where there is no room.
    pub(crate) const fn cut(self) -> Self {
        Self { cut: true, ..self }
    }

    /// It is shown if its cells differ, or if there is room.
    pub(crate) const fn spare(self) -> Self {
        Self { show: Show::Spare, ..self }
    }

    /// It is shown if there is room.
    pub(crate) const fn room(self) -> Self {
        Self { show: Show::Room, ..self }
    }

    /// It is shown only if it is asked for.
    pub(crate) const fn asked(self) -> Self {
        Self { show: Show::Asked, ..self }
    }

    /// Its name as one types it: `WAIT P50` is `wait_p50`.
    fn typed(self) -> String {
        self.name.to_lowercase().replace(' ', "_")
    }
}

/// A table in the making.
#[derive(Debug)]
pub(crate) struct Rows {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    /// The columns to show, in this order, if somebody asked for particular ones.
    chosen: Option<Vec<usize>>,
}

impl Rows {
    /// A table whose columns are all shown, and whole.
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self::of(&header.iter().map(|name| Column::new(name)).collect::<Vec<_>>())
    }

    pub(crate) fn of(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new(), chosen: None }
    }

    /// Shows these columns, in this order, if any are named.
    ///
    /// # Errors
    /// That there is no column of a name, and which there are.
    pub(crate) fn choose(&mut self, names: &[String]) -> Result<(), String> {
        if names.is_empty() {
            return Ok(());
        }
        let typed: Vec<String> = self.columns.iter().map(|column| column.typed()).collect();
        let mut chosen = Vec::new();
        for name in names {
            let wanted = name.trim().to_lowercase().replace(['-', ' '], "_");
            let Some(at) = typed.iter().position(|typed| *typed == wanted) else {
                let near = nearest(&wanted, typed.iter().map(String::as_str));
                let near = near.map(|near| format!(" (the nearest is {near})")).unwrap_or_default();
                return Err(format!("--columns: expected some of {}, got {name:?}{near}", typed.join(",")));
            };
            chosen.push(at);
        }
        self.chosen = Some(chosen);
        Ok(())
    }

    /// Adds a row: a cell for each column.
    pub(crate) fn add(&mut self, row: Vec<String>) {
        self.rows.push(row.iter().map(|cell| harmless::line(cell).into_owned()).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table's lines, its header first; `style` dresses a cell that is already as wide as it will be. Without a width,
    /// all is shown, and whole.
    pub(crate) fn lines(
        &self,
        width: Option<usize>,
        style: impl Fn(Place, &str, String) -> String,
    ) -> Vec<String> {
        let shown = self.shown(width);
        let widths = self.widths(&shown, width);
        let line = |place: Place, cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (number, (cell, &width)) in cells.zip(&widths).enumerate() {
                let cut = cut(cell, width);
                let blank = width.saturating_sub(cut.width());
                line.push_str(&style(place, cell, cut));
                if number + 1 < shown.len() {
                    line.extend(std::iter::repeat_n(' ', blank + GAP));
                }
            }
            line.truncate(line.trim_end_matches(' ').len());
            line
        };
        let header = line(Place::Header, &mut shown.iter().map(|&at| self.columns[at].name));
        let rows = self.rows.iter().map(|row| line(Place::Row, &mut shown.iter().map(|&at| cell(row, at))));
        std::iter::once(header).chain(rows).collect()
    }

    /// How wide a column is with all its cells whole.
    fn whole(&self, at: usize) -> usize {
        let cells = self.rows.iter().map(|row| cell(row, at).width());
        cells.fold(self.columns[at].name.width(), usize::max)
    }

    /// How wide a column is at least.
    fn least(&self, at: usize) -> usize {
        let whole = self.whole(at);
        if self.columns[at].cut { whole.min(LEAST.max(self.columns[at].name.width())) } else { whole }
    }

    fn differs(&self, at: usize) -> bool {
        let cells: BTreeSet<&str> = self.rows.iter().map(|row| cell(row, at)).take(1_000).collect();
        cells.len() > 1
    }

    /// The columns that are shown: those that were asked for, or those that are always, and of the spare ones those that
    /// differ as far as they can be made to fit, and all others for which there is room without cutting any.
    fn shown(&self, width: Option<usize>) -> Vec<usize> {
        if let Some(chosen) = &self.chosen {
            return chosen.clone();
        }
        let of = |show: Show| (0..self.columns.len()).filter(move |&at| self.columns[at].show == show);
        let mut shown: Vec<usize> = of(Show::Always).collect();
        let (differing, mut alike): (Vec<usize>, Vec<usize>) =
            of(Show::Spare).partition(|&at| self.differs(at));
        alike.extend(of(Show::Room));
        for (spare, width_of) in [(differing, Self::least as fn(&Self, usize) -> usize), (alike, Self::whole)]
        {
            for at in spare {
                let together: usize = shown.iter().chain([&at]).map(|&at| width_of(self, at) + GAP).sum();
                if width.is_none_or(|width| together - GAP <= width) {
                    shown.push(at);
                }
            }
        }
        shown.sort_unstable();
        shown
    }

    /// The widths of these columns. If they do not fit, the widest of those that may be cut give way.
    fn widths(&self, shown: &[usize], width: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = shown.iter().map(|&at| self.whole(at)).collect();
        let Some(width) = width else { return widths };
        let least: Vec<usize> = shown.iter().map(|&at| self.least(at)).collect();
        let mut over =
            (widths.iter().sum::<usize>() + GAP * shown.len().saturating_sub(1)).saturating_sub(width);
        while over > 0 {
            let widest = (0..widths.len()).filter(|&at| widths[at] > least[at]).max_by_key(|&at| widths[at]);
            let Some(widest) = widest else { break };
            widths[widest] -= 1;
            over -= 1;
        }
        widths
    }
}

/// Where a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Header,
    Row,
}

fn cell(row: &[String], at: usize) -> &str {
    row.get(at).map_or("", String::as_str)
}

/// A text cut to a width, with a mark if something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut room = width.saturating_sub(1);
    for c in text.chars() {
        let wide = c.to_string().width();
        if wide > room {
            break;
        }
        room -= wide;
        cut.push(c);
    }
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::{option, prop_assert, proptest};

    use super::*;

    fn tasks(queues: &[&str]) -> Rows {
        let mut rows = Rows::of(&[
            Column::new("ID"),
            Column::new("TYPE").cut(),
            Column::new("QUEUE").cut().spare(),
            Column::new("WAIT P50").spare(),
            Column::new("AT").room(),
            Column::new("DOMAIN").cut().asked(),
        ]);
        for queue in queues {
            let row = [
                "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f",
                "render-a-long-scene",
                queue,
                "1ms",
                "noon",
                "books",
            ];
            rows.add(row.map(str::to_owned).into());
        }
        rows
    }

    fn lines(rows: &Rows, width: Option<usize>) -> Vec<String> {
        rows.lines(width, |_, _, cell| cell)
    }

    #[test]
    fn into_a_pipe_all_columns_are_written_and_nothing_is_cut() {
        let lines = lines(&tasks(&["images", "images"]), None);
        assert_eq!(
            lines[0],
            "ID                                    TYPE                 QUEUE   WAIT P50  AT"
        );
        assert_eq!(
            lines[1],
            "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f  render-a-long-scene  images  1ms       noon"
        );
    }

    #[test]
    fn a_column_is_shown_where_there_is_room_or_its_cells_differ() {
        let same = lines(&tasks(&["images", "images"]), Some(66));
        assert_eq!(same[0], "ID                                    TYPE                 QUEUE");
        let same = lines(&tasks(&["images", "images"]), Some(60));
        assert_eq!(same[1], "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f  render-a-long-scene");
        let differing = lines(&tasks(&["images", "thumbs"]), Some(60));
        assert_eq!(differing[0], "ID                                    TYPE            QUEUE");
        assert_eq!(differing[2], "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f  render-a-long…  thumbs");
    }

    #[test]
    fn ids_stay_whole_however_narrow_the_terminal_is() {
        for width in 0..60 {
            let lines = lines(&tasks(&["images", "thumbs"]), Some(width));
            assert_eq!(lines.len(), 3);
            assert!(
                lines[1].starts_with("01980a6e-5b7c-7cc3-98c4-dc0c0c07398f  rende"),
                "{width}: {lines:?}"
            );
        }
    }

    #[test]
    fn columns_that_are_asked_for_are_shown_in_the_order_of_asking() {
        let mut rows = tasks(&["images"]);
        rows.choose(&["Domain".to_owned(), "wait-p50".to_owned(), "id".to_owned()]).unwrap();
        assert_eq!(lines(&rows, None)[1], "books   1ms       01980a6e-5b7c-7cc3-98c4-dc0c0c07398f");
        let told = rows.choose(&["queu".to_owned()]).unwrap_err();
        assert_eq!(
            told,
            "--columns: expected some of id,type,queue,wait_p50,at,domain, got \"queu\" (the nearest is queue)"
        );
    }

    #[test]
    fn wide_letters_take_two_columns() {
        let mut rows = Rows::new(&["A", "B"]);
        rows.add(vec!["日本".to_owned(), "x".to_owned()]);
        rows.add(vec!["abcde".to_owned(), "y".to_owned()]);
        assert_eq!(lines(&rows, None), ["A      B", "日本   x", "abcde  y"]);
        assert_eq!(cut("日本語", 4), "日…");
    }

    #[test]
    fn a_cell_stays_on_its_line_and_says_what_it_holds() {
        let mut rows = Rows::new(&["A"]);
        rows.add(vec!["one\ntwo\u{1b}[31m".to_owned()]);
        assert_eq!(lines(&rows, None), ["A", "one\\ntwo\\x1b[31m"]);
    }

    proptest! {
        #[test]
        fn a_row_fits_where_its_columns_can_be_made_to_fit(
            table in vec(("[a-z]{0,30}", "[a-z]{0,30}", "[a-z]{0,30}"), 1..6),
            width in option::of(0_usize..100),
        ) {
            let mut rows = Rows::of(&[
                Column::new("WHOLE"),
                Column::new("CUT").cut(),
                Column::new("SPARE").cut().spare(),
            ]);
            for (a, b, c) in &table {
                rows.add(vec![a.clone(), b.clone(), c.clone()]);
            }
            let lines = lines(&rows, width);
            prop_assert!(lines.len() == table.len() + 1);
            for (line, (whole, ..)) in lines[1..].iter().zip(&table) {
                prop_assert!(line.starts_with(whole.as_str()), "{line}");
            }
            let least = rows.least(0) + GAP + rows.least(1);
            if let Some(width) = width.filter(|width| *width >= least) {
                for line in &lines {
                    prop_assert!(line.width() <= width, "{line}");
                }
            }
        }
    }
}
