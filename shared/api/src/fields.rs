//! Reads a JSON object field by field, so that one answer names every field that is wrong, with what was expected and
//! what came. Unknown fields are wrong, too: a misspelt option must not be ignored.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use baton_model::time::seconds;
use baton_model::{Expected, Label, Payload};
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serializer};
use serde_json::value::RawValue;

use crate::problem::FieldError;

/// A request that can be read from a JSON object.
pub trait ReadFields: Sized {
    /// What the limits of the reading are, such as sizes that an operator may set.
    type Limits: ?Sized;

    /// Reads the fields. Errors are collected in `fields`; `None` if there was one.
    fn read(fields: &mut Fields<'_>, limits: &Self::Limits) -> Option<Self>;

    /// Reads a whole body.
    ///
    /// # Errors
    /// Every field that is wrong; or, if the body is not one JSON object, one error about the body.
    fn from_json(body: &str, limits: &Self::Limits) -> Result<Self, BodyError> {
        let mut errors = Vec::new();
        let value = match members_of(body) {
            // The usual body, which is gone through once.
            Ok(Ok(members)) => read_members("", members, limits, &mut errors),
            _ => {
                let raw: &RawValue =
                    serde_json::from_str(body).map_err(|error| BodyError::NotJson(error.to_string()))?;
                read_object("", raw, limits, &mut errors)
            }
        };
        match value {
            Some(value) if errors.is_empty() => Ok(value),
            _ => Err(BodyError::Fields(errors)),
        }
    }
}

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is not JSON.
    NotJson(String),
    /// It is JSON, but some of its fields do not fit.
    Fields(Vec<FieldError>),
}

/// The fields of one JSON object while they are being read.
pub struct Fields<'a> {
    path: String,
    values: Members<'a>,
    errors: &'a mut Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// Reads a field that must be there. `None` if it is missing or wrong, which has then been noted.
    pub fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'a RawValue) -> Result<T, Expected>,
    ) -> Option<T> {
        match self.take(name) {
            Some(raw) => self.note(name, read(raw)),
            None => {
                self.refuse(name, Expected::new("a value (the field is required)", "nothing"));
                None
            }
        }
    }

    /// Reads a field that may be missing or null. The outer `None` means that it is wrong, which has then been noted.
    pub fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'a RawValue) -> Result<T, Expected>,
    ) -> Option<Option<T>> {
        match self.take(name) {
            Some(raw) if raw.get() != "null" => self.note(name, read(raw)).map(Some),
            _ => Some(None),
        }
    }

    /// Reads a field that may be missing, and that says something by being null. The outer `None` means that it is wrong, which has
    /// then been noted.
    pub fn nullable<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'a RawValue) -> Result<T, Expected>,
    ) -> Option<Option<T>> {
        match self.take(name) {
            Some(raw) => self.note(name, read(raw)).map(Some),
            None => Some(None),
        }
    }

    /// Reads an object that may be missing or null.
    pub fn optional_object<T: ReadFields>(&mut self, name: &str, limits: &T::Limits) -> Option<Option<T>> {
        match self.take(name) {
            Some(raw) if raw.get() != "null" => {
                let path = self.path_of(name);
                read_object(&path, raw, limits, self.errors).map(Some)
            }
            _ => Some(None),
        }
    }

    /// Reads a list of objects, each one's errors under its own index. `None` if any was wrong; a missing list is
    /// `Some(None)`.
    pub fn optional_objects<T: ReadFields>(
        &mut self,
        name: &str,
        size: RangeInclusive<usize>,
        limits: &T::Limits,
    ) -> Option<Option<Vec<T>>> {
        let Some(raws) = self.optional(name, |raw| elements(raw, size))? else { return Some(None) };
        let path = self.path_of(name);
        let mut whole = true;
        let mut items = Vec::with_capacity(raws.len());
        for (index, raw) in raws.into_iter().enumerate() {
            match read_object(&format!("{path}[{index}]"), raw, limits, self.errors) {
                Some(item) => items.push(item),
                None => whole = false,
            }
        }
        whole.then_some(Some(items))
    }

    /// Notes that a field, though readable, does not fit with the rest.
    pub fn refuse(&mut self, name: &str, problem: Expected) {
        let field = self.path_of(name);
        self.errors.push(FieldError { field, expected: problem.expected, got: problem.got });
    }

    /// Whether a field was given and is not yet read.
    pub fn has(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|raw| raw.get() != "null")
    }

    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        self.values.remove(name)
    }

    fn note<T>(&mut self, name: &str, read: Result<T, Expected>) -> Option<T> {
        read.map_err(|problem| self.refuse(name, problem)).ok()
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// How many fields an object may have at most; more than any request knows.
const MEMBERS: usize = 1_000;

/// How many unknown fields of one object are named.
const UNKNOWN_SHOWN: usize = 20;

/// A field's name as it is repeated to its sender: cut, as it may be as long as the body.
fn shown(name: &str) -> String {
    match name.char_indices().nth(Expected::SHOWN) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}

/// Reads one object at `path`; notes what is wrong.
pub fn read_object<T: ReadFields>(
    path: &str,
    raw: &RawValue,
    limits: &T::Limits,
    errors: &mut Vec<FieldError>,
) -> Option<T> {
    let values = match object_members(raw) {
        Ok(values) => values,
        Err(problem) => {
            let field = if path.is_empty() { "(body)".to_owned() } else { path.to_owned() };
            errors.push(FieldError { field, expected: problem.expected, got: problem.got });
            return None;
        }
    };
    read_members(path, values, limits, errors)
}

/// Reads the members of one object at `path`; notes what is wrong.
fn read_members<T: ReadFields>(
    path: &str,
    values: Members<'_>,
    limits: &T::Limits,
    errors: &mut Vec<FieldError>,
) -> Option<T> {
    let before = errors.len();
    let mut fields = Fields { path: path.to_owned(), values, errors };
    let value = T::read(&mut fields, limits);
    let unknown: Vec<_> = fields.values.keys().take(UNKNOWN_SHOWN).cloned().collect();
    for name in unknown {
        fields.refuse(
            &shown(&name),
            Expected::new("no such field (see /openapi.json for those that exist)", "a value"),
        );
    }
    value.filter(|_| errors.len() == before)
}

/// The elements of a list, each as its JSON text.
///
/// # Errors
/// If the value is not a list, or its length lies outside of `size`.
pub fn elements(raw: &RawValue, size: RangeInclusive<usize>) -> Result<Vec<&RawValue>, Expected> {
    /// Keeps the first `most` elements and counts the rest, so that a long list costs no memory.
    struct Elements(usize);

    impl<'de> Visitor<'de> for Elements {
        type Value = (Vec<&'de RawValue>, usize);

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while items.len() < self.0 {
                match list.next_element()? {
                    Some(item) => items.push(item),
                    None => return Ok((items, 0)),
                }
            }
            let mut more = 0;
            while list.next_element::<IgnoredAny>()?.is_some() {
                more += 1;
            }
            Ok((items, more))
        }
    }

    let expected = || format!("a list of {} to {}", size.start(), size.end());
    let (items, more) = serde_json::Deserializer::from_str(raw.get())
        .deserialize_seq(Elements(*size.end()))
        .map_err(|_| Expected::new(expected(), describe(raw)))?;
    if more > 0 || items.len() < *size.start() {
        return Err(Expected::new(expected(), format!("a list of {}", items.len() + more)));
    }
    Ok(items)
}

/// The members of an object by their names.
type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn object_members(raw: &RawValue) -> Result<Members<'_>, Expected> {
    if !raw.get().starts_with('{') {
        return Err(Expected::new("a JSON object", describe(raw)));
    }
    members_of(raw.get())
        .map_err(|error| Expected::new("a JSON object", format!("text with an error: {error}")))?
}

/// The members of an object that is the whole text.
fn members_of(text: &str) -> Result<Result<Members<'_>, Expected>, serde_json::Error> {
    struct Object;

    impl<'de> Visitor<'de> for Object {
        type Value = Result<Members<'de>, Expected>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = BTreeMap::new();
            let mut wrong = None;
            while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                if members.contains_key(&name) {
                    wrong = Some(Expected::text("each field once", &name));
                } else if members.len() < MEMBERS {
                    members.insert(name, value);
                } else {
                    wrong = Some(Expected::new(format!("at most {MEMBERS} fields"), "more"));
                }
            }
            Ok(wrong.map_or(Ok(members), Err))
        }
    }

    let mut reader = serde_json::Deserializer::from_str(text);
    let members = reader.deserialize_map(Object)?;
    reader.end()?;
    Ok(members)
}

/// A name where it lies in the text, unless it is written with escapes there.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Says what a JSON value is, cut to a length that can be shown.
pub fn describe(raw: &RawValue) -> String {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "a list".to_owned(),
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(inner) => Expected::text("", &inner).got,
            Err(_) => "text with a broken escape".to_owned(),
        },
        Some(b'n') => "null".to_owned(),
        _ => text.chars().take(Expected::SHOWN).collect(),
    }
}

/// Reads a JSON string into a type that checks it.
///
/// # Errors
/// If it is not a string, or the type refuses it.
pub fn parsed<T: FromStr<Err = Expected>>(raw: &RawValue) -> Result<T, Expected> {
    match serde_json::from_str::<Name<'_>>(raw.get()) {
        Ok(Name(text)) => text.parse(),
        // Ask the type what it would have liked, with a text that none accepts.
        Err(_) => match "\0".parse::<T>() {
            Err(problem) => Err(Expected::new(format!("text: {}", problem.expected), describe(raw))),
            Ok(_) => Err(Expected::new("text", describe(raw))),
        },
    }
}

/// A label that is not the sign for each one.
///
/// # Errors
/// If it is no label, or this sign.
pub(crate) fn own_name(raw: &RawValue) -> Result<Label, Expected> {
    let label: Label = parsed(raw)?;
    if label.as_str() == "*" {
        return Err(Expected::text(
            "another text than *, which stands for each name where a limit is set",
            "*",
        ));
    }
    Ok(label)
}

/// Reads text of some number of characters; `NUL` is not text.
pub fn text(chars: RangeInclusive<usize>) -> impl Fn(&RawValue) -> Result<String, Expected> {
    move |raw| {
        let expected = || format!("text of {} to {} characters", chars.start(), chars.end());
        let text: String =
            serde_json::from_str(raw.get()).map_err(|_| Expected::new(expected(), describe(raw)))?;
        let count = text.chars().count();
        if !chars.contains(&count) {
            return Err(Expected::new(expected(), format!("{count} characters")));
        }
        if text.contains('\0') {
            return Err(Expected::new(format!("{} without NUL", expected()), "text with NUL"));
        }
        Ok(text)
    }
}

/// Reads a whole number within bounds.
pub fn integer(bounds: RangeInclusive<u32>) -> impl Fn(&RawValue) -> Result<u32, Expected> {
    move |raw| {
        let number = serde_json::from_str::<u32>(raw.get()).ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| {
            Expected::new(
                format!("a whole number from {} to {}", bounds.start(), bounds.end()),
                describe(raw),
            )
        })
    }
}

/// Reads a number within bounds.
pub fn number(bounds: RangeInclusive<f64>) -> impl Fn(&RawValue) -> Result<f64, Expected> {
    move |raw| {
        let number = serde_json::from_str::<f64>(raw.get()).ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| {
            Expected::new(format!("a number from {} to {}", bounds.start(), bounds.end()), describe(raw))
        })
    }
}

/// Writes a duration as [`span`] reads it: in seconds.
pub(crate) fn as_seconds<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => to.serialize_f64(span.as_secs_f64()),
        None => to.serialize_none(),
    }
}

/// Reads a duration in seconds within bounds.
pub fn span(least: Duration, most: Duration) -> impl Fn(&RawValue) -> Result<Duration, Expected> {
    move |raw| {
        let seconds = serde_json::from_str::<f64>(raw.get()).unwrap_or(f64::NAN);
        seconds::parse(seconds, least, most).map_err(|problem| Expected::new(problem.expected, describe(raw)))
    }
}

/// Reads true or false.
///
/// # Errors
/// If it is neither.
pub fn boolean(raw: &RawValue) -> Result<bool, Expected> {
    serde_json::from_str(raw.get()).map_err(|_| Expected::new("true or false", describe(raw)))
}

/// Reads any JSON of up to `most` bytes.
pub fn payload(most: usize) -> impl Fn(&RawValue) -> Result<Payload, Expected> {
    move |raw| {
        let size = raw.get().len();
        if size > most {
            return Err(Expected::new(format!("JSON of at most {most} bytes"), format!("{size} bytes")));
        }
        Payload::parse(raw.get())
    }
}

/// Reads a list of values.
pub fn list<T>(
    size: RangeInclusive<usize>,
    read: impl Fn(&RawValue) -> Result<T, Expected>,
) -> impl FnOnce(&RawValue) -> Result<Vec<T>, Expected> {
    move |raw| {
        elements(raw, size)?
            .into_iter()
            .enumerate()
            .map(|(index, item)| {
                read(item).map_err(|p| Expected::new(format!("{} at index {index}", p.expected), p.got))
            })
            .collect()
    }
}

/// Reads an object of named values.
pub fn map<T>(
    size: RangeInclusive<usize>,
    name_chars: usize,
    read: impl Fn(&RawValue) -> Result<T, Expected>,
) -> impl FnOnce(&RawValue) -> Result<BTreeMap<String, T>, Expected> {
    move |raw| {
        let members = object_members(raw)?;
        if !size.contains(&members.len()) {
            let expected = format!("an object of {} to {} entries", size.start(), size.end());
            return Err(Expected::new(expected, format!("{} entries", members.len())));
        }
        members
            .into_iter()
            .map(|(name, value)| {
                let length = name.chars().count();
                if length == 0 || length > name_chars || name.chars().any(char::is_control) {
                    return Err(Expected::text(format!("names of 1 to {name_chars} characters"), &name));
                }
                match read(value) {
                    Ok(value) => Ok((name.into_owned(), value)),
                    Err(p) => Err(Expected::new(format!("{} at {name:?}", p.expected), p.got)),
                }
            })
            .collect()
    }
}
