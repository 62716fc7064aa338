//! Writes into a frame: pieces of text, tables, pages of lines. What is written here was made harmless before, and is cut to its place.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr as _;

use crate::text::{cut, wrapped};

/// From so many columns on, more is told.
pub(crate) const WIDE: u16 = 110;

/// How something is written: by what it means. Without colours, what is bad stands out all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ink {
    #[default]
    Plain,
    Good,
    Odd,
    Bad,
    Dim,
    Head,
}

/// A piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) ink: Ink,
}

impl Cell {
    pub(crate) fn new(ink: Ink, text: impl Into<String>) -> Self {
        Self { text: text.into(), ink }
    }

    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::new(Ink::Plain, text)
    }
}

/// How wide a column is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Width {
    /// So many columns of the terminal.
    Fixed(u16),
    /// A share of what the others leave.
    Share(u16),
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    width: Width,
    right: bool,
}

impl Column {
    pub(crate) fn left(title: &'static str, width: Width) -> Self {
        Self { title, width, right: false }
    }

    /// One of numbers.
    pub(crate) fn right(title: &'static str, width: u16) -> Self {
        Self { title, width: Width::Fixed(width), right: true }
    }
}

/// A line of a page: the pieces stand behind each other, and go on below themselves from where `indent` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) text: Cell,
    /// How far the text is moved in.
    pub(crate) indent: u16,
}

/// How wide the names of facts are.
const NAMES: u16 = 11;

impl Line {
    /// A fact with its name before it.
    pub(crate) fn fact(name: &'static str, ink: Ink, text: impl Into<String>) -> Self {
        Self { name, text: Cell::new(ink, text), indent: NAMES }
    }

    pub(crate) fn text(ink: Ink, text: impl Into<String>) -> Self {
        Self { name: "", text: Cell::new(ink, text), indent: 0 }
    }

    /// Text below a heading.
    pub(crate) fn below(ink: Ink, text: impl Into<String>) -> Self {
        Self { indent: 2, ..Self::text(ink, text) }
    }
}

/// Writes into a part of a frame.
pub(crate) struct Pen<'a> {
    buffer: &'a mut Buffer,
    colours: bool,
}

impl<'a> Pen<'a> {
    pub(crate) fn new(buffer: &'a mut Buffer, colours: bool) -> Self {
        Self { buffer, colours }
    }

    fn style(&self, ink: Ink) -> Style {
        let coloured = |colour| if self.colours { Style::new().fg(colour) } else { Style::new() };
        match ink {
            Ink::Plain => Style::new(),
            Ink::Good => coloured(Color::Green),
            Ink::Odd => coloured(Color::Yellow),
            Ink::Bad => coloured(Color::Red).add_modifier(Modifier::BOLD),
            Ink::Dim => Style::new().add_modifier(Modifier::DIM),
            Ink::Head => Style::new().add_modifier(Modifier::BOLD),
        }
    }

    /// Writes a piece of text into at most so many columns; the answer is the column behind it.
    pub(crate) fn put(&mut self, x: u16, y: u16, width: u16, cell: &Cell) -> u16 {
        let style = self.style(cell.ink);
        let text = cut(&cell.text, usize::from(width));
        self.buffer.set_stringn(x, y, text, usize::from(width), style).0
    }

    /// Writes it so that it ends where its place ends.
    pub(crate) fn put_right(&mut self, x: u16, y: u16, width: u16, cell: &Cell) {
        let taken = u16::try_from(cell.text.width()).unwrap_or(u16::MAX).min(width);
        self.put(x + width - taken, y, taken, cell);
    }

    /// Turns the colours of a part round.
    pub(crate) fn choose(&mut self, area: Rect) {
        self.buffer.set_style(area, Style::new().add_modifier(Modifier::REVERSED));
    }

    /// Draws a table with its titles; rows begin at `top`, and the chosen one stands out.
    pub(crate) fn table(
        &mut self,
        area: Rect,
        columns: &[Column],
        rows: &[Vec<Cell>],
        (top, chosen): (usize, Option<usize>),
    ) {
        let places = places(area, columns);
        for (column, (x, width)) in columns.iter().zip(&places) {
            let title = Cell::new(Ink::Dim, column.title);
            self.aligned(column, *x, area.y, *width, &title);
        }
        let shown = rows.iter().enumerate().skip(top).take(usize::from(area.height.saturating_sub(1)));
        for ((number, row), y) in shown.zip(area.y + 1..) {
            for ((column, (x, width)), cell) in columns.iter().zip(&places).zip(row) {
                self.aligned(column, *x, y, *width, cell);
            }
            if chosen == Some(number) {
                self.choose(Rect { y, height: 1, ..area });
            }
        }
    }

    fn aligned(&mut self, column: &Column, x: u16, y: u16, width: u16, cell: &Cell) {
        if column.right {
            self.put_right(x, y, width, cell);
        } else {
            self.put(x, y, width, cell);
        }
    }

    /// Draws a page of lines from the line `top` on; the answer is `top`, held within what there is.
    pub(crate) fn page(&mut self, area: Rect, lines: &[Line], top: usize) -> usize {
        let all = laid(lines, area.width);
        let top = top.min(all.len().saturating_sub(usize::from(area.height)));
        for ((name, indent, text), y) in all.iter().skip(top).zip(area.y..area.bottom()) {
            self.put(area.x, y, *indent, &Cell::new(Ink::Dim, *name));
            self.put(area.x + indent, y, area.width - indent, text);
        }
        top
    }
}

/// Lines as they go over a page of this width: each with what stands before it, where it begins, and its text.
fn laid(lines: &[Line], width: u16) -> Vec<(&'static str, u16, Cell)> {
    let mut all = Vec::new();
    for line in lines {
        let indent = line.indent.min(width);
        for (number, part) in wrapped(&line.text.text, usize::from(width - indent)).into_iter().enumerate() {
            all.push((if number == 0 { line.name } else { "" }, indent, Cell::new(line.text.ink, part)));
        }
    }
    all
}

/// How high lines are on a page of this width.
pub(crate) fn height(lines: &[Line], width: u16) -> u16 {
    u16::try_from(laid(lines, width).len()).unwrap_or(u16::MAX)
}

/// Where each column begins, and how wide it is. A column stands between any two.
fn places(area: Rect, columns: &[Column]) -> Vec<(u16, u16)> {
    let gaps = u16::try_from(columns.len().saturating_sub(1)).unwrap_or(u16::MAX);
    let (mut fixed, mut shares) = (gaps, 0);
    for column in columns {
        match column.width {
            Width::Fixed(width) => fixed += width,
            Width::Share(share) => shares += share,
        }
    }
    let (mut left, mut shares) = (area.width.saturating_sub(fixed), shares);
    let mut x = area.x;
    let place = |column: &Column| {
        let width = match column.width {
            Width::Fixed(width) => width,
            Width::Share(share) => {
                let width = left * share / shares.max(1);
                (left, shares) = (left - width, shares - share);
                width
            }
        };
        let width = width.min(area.right().saturating_sub(x));
        let place = (x, width);
        x = (x + width + 1).min(area.right());
        place
    };
    columns.iter().map(place).collect()
}
