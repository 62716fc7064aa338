//! The query of a table, as PostgREST has it: which columns of which rows, in which order, and which part of them.

use std::cmp::Ordering;

use baton_model::Timestamp;
use serde_json::{Map, Value};

use crate::words::{Said, read_time, table_error};

/// What is asked of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Query {
    /// The columns; all if none is named.
    pub(crate) columns: Vec<String>,
    /// Whether only the number of rows is asked for.
    pub(crate) counts: bool,
    /// What holds for the rows.
    pub(crate) filters: Vec<Filter>,
    /// The columns that rows go by, each with whether the largest comes first.
    pub(crate) order: Vec<(String, bool)>,
    /// How many rows at most.
    pub(crate) limit: Option<usize>,
    /// How many rows are passed over.
    pub(crate) offset: usize,
    /// By which column a row that is there already is known.
    pub(crate) on_conflict: Option<String>,
}

/// What holds for a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filter {
    pub(crate) column: String,
    pub(crate) negated: bool,
    pub(crate) test: Test,
}

/// A test of a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    Equal(String),
    Unequal(String),
    Less(String),
    LessOrEqual(String),
    Greater(String),
    GreaterOrEqual(String),
    /// With `%` for anything and `_` for one character; the flag says whether letters are told apart by their case.
    Like(String, bool),
    In(Vec<String>),
    Is(Value),
    Contains(Value),
}

fn unreadable(text: &str) -> Said {
    let message = format!("failed to parse filter ({text})");
    table_error(400, "PGRST100", &message, Some("unexpected operator or value")).into()
}

impl Query {
    /// Reads a query whose columns are to be among these.
    pub(crate) fn read(query: Option<&str>, table: &str, known: &[&str]) -> Result<Self, Said> {
        let mut read = Self::default();
        let is_known = |column: &str| {
            if known.contains(&column) {
                return Ok(column.to_owned());
            }
            let message = format!("column {table}.{column} does not exist");
            Err(Said::from(table_error(400, "42703", &message, None)))
        };
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match key.as_ref() {
                "select" => read.select(&value, is_known)?,
                "order" => {
                    for term in value.split(',').map(str::trim).filter(|term| !term.is_empty()) {
                        let mut parts = term.split('.');
                        let column = is_known(parts.next().unwrap_or_default())?;
                        read.order.push((column, parts.any(|part| part == "desc")));
                    }
                }
                "limit" => read.limit = Some(value.parse().map_err(|_| unreadable(&value))?),
                "offset" => read.offset = value.parse().map_err(|_| unreadable(&value))?,
                "on_conflict" => read.on_conflict = Some(is_known(&value)?),
                // Of a write: its columns are those of the body.
                "columns" => {}
                column => {
                    let column = is_known(column)?;
                    read.filters.push(Filter::read(column, &value)?);
                }
            }
        }
        Ok(read)
    }

    fn select(&mut self, value: &str, is_known: impl Fn(&str) -> Result<String, Said>) -> Result<(), Said> {
        for column in value.split(',').map(str::trim).filter(|column| !column.is_empty()) {
            match column {
                "*" => {
                    self.columns.clear();
                    return Ok(());
                }
                "count" => self.counts = true,
                column => self.columns.push(is_known(column)?),
            }
        }
        Ok(())
    }

    /// The only value that a column may have, if a filter says so.
    pub(crate) fn only(&self, column: &str) -> Option<&str> {
        self.of(column).find_map(|filter| match &filter.test {
            Test::Equal(value) if !filter.negated => Some(value.as_str()),
            _ => None,
        })
    }

    /// The values that a column may have, if a filter lists them.
    pub(crate) fn among(&self, column: &str) -> Option<Vec<&str>> {
        self.of(column).find_map(|filter| match &filter.test {
            Test::Equal(value) if !filter.negated => Some(vec![value.as_str()]),
            Test::In(values) if !filter.negated => Some(values.iter().map(String::as_str).collect()),
            _ => None,
        })
    }

    /// From which time on a column's may be, if a filter says so.
    pub(crate) fn since(&self, column: &str) -> Option<Timestamp> {
        self.of(column).find_map(|filter| match &filter.test {
            Test::Greater(value) | Test::GreaterOrEqual(value) if !filter.negated => read_time(value),
            _ => None,
        })
    }

    fn of(&self, column: &str) -> impl Iterator<Item = &Filter> {
        self.filters.iter().filter(move |filter| filter.column == column)
    }

    /// Whether a row fits all filters.
    pub(crate) fn fits(&self, row: &Value) -> bool {
        self.filters.iter().all(|filter| filter.fits(row))
    }

    /// The same for a row whose id has another name.
    pub(crate) fn fits_as(&self, row: &Value, other: &str) -> bool {
        let renamed = serde_json::json!({ "id": other });
        self.filters.iter().all(|filter| {
            let excludes = filter.negated || matches!(filter.test, Test::Unequal(_));
            match (filter.column == "id", excludes) {
                (false, _) => filter.fits(row),
                (true, false) => filter.fits(row) || filter.fits(&renamed),
                (true, true) => filter.fits(row) && filter.fits(&renamed),
            }
        })
    }

    /// Puts rows in order; those that are equal by it stay as they are.
    pub(crate) fn sort(&self, rows: &mut [Value]) {
        rows.sort_by(|one, other| {
            let by = |(column, largest_first): &(String, bool)| {
                let order = compare_values(&one[column.as_str()], &other[column.as_str()]);
                if *largest_first { order.reverse() } else { order }
            };
            self.order.iter().map(by).find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal)
        });
    }

    /// The columns of a row that are asked for.
    pub(crate) fn pick(&self, row: Value) -> Value {
        if self.columns.is_empty() {
            return row;
        }
        let Value::Object(mut row) = row else { return row };
        let picked =
            self.columns.iter().map(|column| (column.clone(), row.remove(column).unwrap_or_default()));
        Value::Object(picked.collect::<Map<_, _>>())
    }
}

impl Filter {
    fn read(column: String, text: &str) -> Result<Self, Said> {
        let (negated, rest) = match text.strip_prefix("not.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (operator, value) = rest.split_once('.').ok_or_else(|| unreadable(text))?;
        let own = || value.to_owned();
        let test = match operator {
            "eq" => Test::Equal(own()),
            "neq" => Test::Unequal(own()),
            "lt" => Test::Less(own()),
            "lte" => Test::LessOrEqual(own()),
            "gt" => Test::Greater(own()),
            "gte" => Test::GreaterOrEqual(own()),
            "like" => Test::Like(value.replace('*', "%"), true),
            "ilike" => Test::Like(value.replace('*', "%"), false),
            "in" => Test::In(list(value).ok_or_else(|| unreadable(text))?),
            "is" => Test::Is(match value {
                "null" => Value::Null,
                "true" => true.into(),
                "false" => false.into(),
                _ => return Err(unreadable(text)),
            }),
            "cs" => Test::Contains(serde_json::from_str(value).map_err(|_| unreadable(text))?),
            _ => return Err(unreadable(text)),
        };
        Ok(Self { column, negated, test })
    }

    /// Whether a row fits. What is null fits no test but that for null, negated or not, as in SQL.
    fn fits(&self, row: &Value) -> bool {
        let value = &row[self.column.as_str()];
        if value.is_null() && !matches!(self.test, Test::Is(_)) {
            return false;
        }
        self.test.holds(value) != self.negated
    }
}

/// The values of `(a,"b, c",d)`.
fn list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('(')?.strip_suffix(')')?;
    let mut values = Vec::new();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut value = String::new();
            let mut characters = quoted.char_indices();
            let end = loop {
                match characters.next()? {
                    (at, '"') => break at + 1,
                    (_, '\\') => value.push(characters.next()?.1),
                    (_, character) => value.push(character),
                }
            };
            values.push(value);
            rest = &quoted[end..];
            rest = if rest.is_empty() { rest } else { rest.strip_prefix(',')? };
        } else {
            let (value, others) = rest.split_once(',').unwrap_or((rest, ""));
            values.push(value.trim().to_owned());
            rest = others;
        }
    }
    Some(values)
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        let compared = |with: &String| compare(value, with);
        match self {
            Self::Equal(with) => compared(with) == Some(Ordering::Equal),
            Self::Unequal(with) => compared(with) != Some(Ordering::Equal),
            Self::Less(with) => compared(with) == Some(Ordering::Less),
            Self::LessOrEqual(with) => matches!(compared(with), Some(Ordering::Less | Ordering::Equal)),
            Self::Greater(with) => compared(with) == Some(Ordering::Greater),
            Self::GreaterOrEqual(with) => matches!(compared(with), Some(Ordering::Greater | Ordering::Equal)),
            Self::Like(pattern, by_case) => {
                let text = plain(value);
                if *by_case {
                    is_like(&text, pattern)
                } else {
                    is_like(&text.to_lowercase(), &pattern.to_lowercase())
                }
            }
            Self::In(values) => values.iter().any(|with| compared(with) == Some(Ordering::Equal)),
            Self::Is(what) => value == what,
            Self::Contains(part) => contains(value, part),
        }
    }
}

/// A value as text.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// How a value stands to a text of a query: as numbers, as times, or as texts, by what the value is.
fn compare(value: &Value, with: &str) -> Option<Ordering> {
    match value {
        Value::Number(number) => number.as_f64()?.partial_cmp(&with.parse().ok()?),
        Value::String(text) => Some(compare_texts(text, with)),
        Value::Null => None,
        other => Some(other.to_string().as_str().cmp(with)),
    }
}

fn compare_texts(one: &str, other: &str) -> Ordering {
    let is_time = |text: &str| text.len() > 18 && text.as_bytes()[4] == b'-';
    if one != other && is_time(one) && is_time(other) {
        // Of a row's own microseconds more is known than its time tells.
        if let (Some(first), Some(second)) = (read_time(one), read_time(other))
            && first != second
        {
            return first.cmp(&second);
        }
    }
    one.cmp(other)
}

/// How two values of one column stand; what is null comes last.
fn compare_values(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Greater,
        (_, Value::Null) => Ordering::Less,
        (Value::Number(one), Value::Number(other)) => {
            one.as_f64().partial_cmp(&other.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Value::String(one), Value::String(other)) => compare_texts(one, other),
        (one, other) => one.to_string().cmp(&other.to_string()),
    }
}

/// Whether a text fits a pattern of SQL, in time that grows with the product of their lengths at most.
fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut place) = (0, 0);
    // Where the latest `%` stands, and how far what it stands for has come.
    let mut open: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(place) {
            Some('%') => {
                open = Some((place, at));
                place += 1;
            }
            Some(expected) if *expected == '_' || *expected == text[at] => {
                at += 1;
                place += 1;
            }
            _ => match open {
                Some((percent, from)) => {
                    open = Some((percent, from + 1));
                    place = percent + 1;
                    at = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[place..].iter().all(|rest| *rest == '%')
}

/// Whether JSON contains other JSON (PostgreSQL's `@>`).
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|found| contains(found, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|value| whole.iter().any(|found| contains(found, value)))
        }
        (Value::Array(whole), scalar) => whole.contains(scalar),
        (whole, part) => whole == part,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KNOWN: &[&str] = &["id", "status", "attempts", "worker_id", "created_at", "params", "message"];

    fn query(text: &str) -> Query {
        match Query::read(Some(text), "tasks", KNOWN) {
            Ok(query) => query,
            Err(_) => panic!("{text} is refused"),
        }
    }

    fn row() -> Value {
        json!({
            "id": "a", "status": "In Progress", "attempts": 2, "worker_id": "api-worker-main",
            "created_at": "2026-01-31T08:15:00.250000+00:00",
            "params": {"orchestrator_task_id_ref": "o", "list": [1, 2]}, "message": null,
        })
    }

    #[test]
    fn each_filter_that_clients_send_is_understood() {
        for fits in [
            "status=eq.In+Progress",
            "status=eq.In%20Progress",
            "status=neq.Queued",
            "status=in.(Queued,In Progress)",
            "status=in.(Queued,\"In Progress\")",
            "worker_id=like.api-worker-%25",
            "worker_id=not.is.null",
            "message=is.null",
            "attempts=lt.3",
            "attempts=gte.2",
            "created_at=gte.2026-01-31T08:15:00Z",
            "created_at=gte.2026-01-31T08:00:00&created_at=lte.2026-01-31T09:00:00",
            "params=cs.{\"orchestrator_task_id_ref\": \"o\"}",
            "params=cs.{\"list\":[2]}",
            "id=in.(a,b)&status=eq.In Progress",
        ] {
            assert!(query(fits).fits(&row()), "{fits}");
        }
        for fits_not in [
            "status=eq.in progress",
            "worker_id=not.like.api-worker-%25",
            "worker_id=is.null",
            "worker_id=in.()",
            "message=ilike.%25x%25",
            "message=neq.x",
            "message=not.eq.x",
            "attempts=lt.2",
            "created_at=lt.2026-01-31T08:15:00Z",
            "params=cs.{\"orchestrator_task_id_ref\":\"p\"}",
        ] {
            assert!(!query(fits_not).fits(&row()), "{fits_not}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in [
            "status=Queued",
            "status=eq",
            "nothing=eq.1",
            "limit=many",
            "status=in.a",
            "params=cs.{",
            "worker_id=is.x",
            "select=nothing",
        ] {
            assert!(Query::read(Some(bad), "tasks", KNOWN).is_err(), "{bad}");
        }
    }

    #[test]
    fn columns_are_picked_and_rows_go_in_order() {
        let query = query("select=id, attempts&order=attempts.desc,id&limit=2&offset=1");
        let mut rows = vec![
            json!({"id": "b", "attempts": 1}),
            json!({"id": "a", "attempts": 1}),
            json!({"id": "c", "attempts": 10}),
            json!({"id": "d", "attempts": null}),
        ];
        query.sort(&mut rows);
        let order: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(
            order,
            ["d", "c", "a", "b"],
            "what is null comes first where the largest does, as in PostgreSQL"
        );
        assert_eq!(
            query.pick(json!({"id": "a", "attempts": 1, "status": "x"})),
            json!({"id": "a", "attempts": 1})
        );
        assert_eq!((query.limit, query.offset), (Some(2), 1));
    }

    #[test]
    fn a_pattern_stands_for_what_sql_has_it_stand_for() {
        for (text, pattern, fits) in [
            ("Finished task (Success: False)", "%finished%", false),
            ("Finished task", "Finished%", true),
            ("abcabc", "%abc", true),
            ("abcab", "%abc", false),
            ("a", "_", true),
            ("", "%", true),
            ("", "_", false),
            ("aaaaaaaaaaaaaaaaaaaab", "%a%a%a%a%c", false),
        ] {
            assert_eq!(is_like(text, pattern), fits, "{text} {pattern}");
        }
        assert!(query("message=ilike.%25FINISHED%25").fits(&json!({"message": "it has finished"})));
    }
}
