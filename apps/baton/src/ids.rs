//! Task ids on the command line: whole, or the beginning of exactly one.

use std::fmt::Display;

use baton_client::Client;
use baton_model::TaskId;

use crate::exit::Failure;
use crate::names;

/// The task that `text` means.
pub(crate) async fn resolve(client: &Client, text: &str) -> Result<TaskId, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let Some(prefix) = prefix(text) else {
        return Err(Failure::usage(format!(
            "expected a task's id or at least 4 of its first characters, such as 01980a6e-5b7c, got {text:?}; `baton task list` shows ids"
        )));
    };
    let found = client.task_ids(&prefix).await?.ids;
    let next = match found.is_empty() {
        true => names::task_like(client, &prefix).await.map(|near| format!("the nearest is {near}")),
        false => None,
    };
    only(&found, "task", &prefix, next.as_deref().unwrap_or("`baton task list` shows ids"))
}

/// The same of an id that may be left out.
pub(crate) async fn resolve_if(client: &Client, text: Option<&str>) -> Result<Option<TaskId>, Failure> {
    match text {
        Some(text) => resolve(client, text).await.map(Some),
        None => Ok(None),
    }
}

/// The one thing whose id begins so; `next` says what to do if there is none.
pub(crate) fn only<I: Copy + Display>(
    found: &[I],
    what: &str,
    prefix: &str,
    next: &str,
) -> Result<I, Failure> {
    match found {
        [id] => Ok(*id),
        [] => Err(Failure::NotFound(format!("no {what}'s id begins with {prefix}; {next}"))),
        several => {
            let candidates: String = several.iter().map(|id| format!("\n  {id}")).collect();
            Err(Failure::usage(format!(
                "the ids of several {what}s begin with {prefix}; give more of the one you mean:{candidates}"
            )))
        }
    }
}

/// The beginning of an id with its hyphens in place, however it was typed; none if no id can begin so.
pub(crate) fn prefix(text: &str) -> Option<String> {
    let digits: Vec<char> = text.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    if !(4..=32).contains(&digits.len()) || !digits.iter().all(char::is_ascii_hexdigit) {
        return None;
    }
    let mut prefix = String::new();
    for (at, digit) in digits.into_iter().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            prefix.push('-');
        }
        prefix.push(digit);
    }
    Some(prefix)
}

/// How many characters of these ids tell them apart; 13, which is down to the millisecond, at least.
pub(crate) fn unique_length(ids: impl Iterator<Item = TaskId>) -> usize {
    let mut texts: Vec<String> = ids.map(|id| id.to_string()).collect();
    texts.sort();
    let shared = |pair: &[String]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    texts.windows(2).map(|pair| shared(pair) + 1).fold(13, usize::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shortened_as_far_as_they_differ() {
        let id = |text: &str| text.parse().unwrap();
        let (a, b) = (id("01980a6e-5b7c-7cc3-98c4-dc0c0c07398f"), id("01980a6e-5b7c-7cd3-98c4-dc0c0c07398f"));
        assert_eq!(unique_length([a].into_iter()), 13);
        assert_eq!(unique_length([b, a].into_iter()), 17);
    }

    #[test]
    fn a_prefix_may_be_typed_with_or_without_hyphens() {
        for (typed, meant) in [
            ("0198", "0198"),
            ("01980A6E", "01980a6e"),
            ("01980a6e-", "01980a6e"),
            ("01980a6e5b7c7", "01980a6e-5b7c-7"),
            ("01980a6e-5b7c-7", "01980a6e-5b7c-7"),
        ] {
            assert_eq!(prefix(typed).as_deref(), Some(meant), "{typed}");
        }
        for wrong in ["", "019", "task", "01980a6e5b7c7cc398c4dc0c0c07398f0"] {
            assert_eq!(prefix(wrong), None, "{wrong}");
        }
    }
}
