//! The server's words in those of the command line: commands for routes, flags for fields.

use baton_api::Problem;

/// What the server says, and what to say here instead.
const WORDS: &[(&str, &str)] = &[
    ("GET /v1/workers lists those that are known", "`baton worker list` shows those that are known"),
    ("GET /v1/queues lists those that are known", "`baton queue list` shows those that are known"),
    ("GET /v1/tokens lists those that are known", "`baton token list` shows those that are known"),
    ("mend the field and send the request again", "mend it and run the command again"),
    (
        ", and `errors` lists each; mend them and send the request again",
        "; mend them and run the command again",
    ),
    ("see /openapi.json for", "see the server's /openapi.json for"),
];

/// A problem's detail as the command line says it.
pub(crate) fn for_the_tool(detail: &str) -> String {
    WORDS.iter().fold(detail.to_owned(), |detail, (server, tool)| detail.replace(server, tool))
}

/// Names the fields of a problem by the flags (`(field, flag)`) that they came from.
pub(crate) fn by_flags(problem: &mut Problem, flags: &[(&str, &str)]) {
    for error in &mut problem.errors {
        // Of a field such as `params.id`, the flag gives the first part.
        let first = error.field.split(['.', '[']).next().unwrap_or_default();
        let Some((_, flag)) = flags.iter().find(|(field, _)| *field == first) else { continue };
        let told = error.to_string();
        error.field = format!("{flag}{}", &error.field[first.len()..]);
        problem.detail = problem.detail.replace(&told, &error.to_string());
    }
}

/// What serde_json finds wrong with a text (the beginning of its message), and that in plain words.
const FAULTS: &[(&str, &str)] = &[
    ("EOF while parsing a string", "it ends within a text; a closing \" is missing"),
    ("EOF while parsing an object", "it ends within an object; a closing } is missing"),
    ("EOF while parsing a list", "it ends within a list; a closing ] is missing"),
    ("EOF while parsing a value", "it ends where a value is due"),
    ("key must be a string", "expected a name in double quotes, and no comma after the last entry"),
    ("expected value", "expected a value: a text in double quotes, a number, true, false, null, {…} or […]"),
    ("expected `:`", "expected a colon after the name"),
    ("expected `,` or `}`", "expected a comma or }"),
    ("expected `,` or `]`", "expected a comma or ]"),
    ("trailing comma", "a comma before the closing bracket is one too many"),
    ("trailing characters", "something follows after its end"),
    ("control character", "a line break or tab within a text must be written \\n or \\t"),
    ("invalid escape", "after a backslash in a text comes one of \" \\ / b f n r t u"),
    ("invalid number", "a number is not written as JSON has it"),
    ("expected ident", "expected true, false or null"),
    ("invalid type", "expected an object, such as {\"type\": \"resize\"}"),
];

/// A message of serde_json in plain words, led by its place: `column 7: …`, and the line too if it is not the first.
/// What is not known here stays as it is.
pub(crate) fn json_fault(message: &str) -> String {
    let (what, place) = message.rsplit_once(" at line ").unwrap_or((message, ""));
    let plain = FAULTS.iter().find(|(start, _)| what.starts_with(start)).map_or(what, |(_, plain)| plain);
    match place.split_once(" column ") {
        Some(("1", column)) => format!("column {column}: {plain}"),
        Some((line, column)) => format!("line {line}, column {column}: {plain}"),
        None => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::{FieldError, ProblemCode};

    #[test]
    fn routes_become_commands() {
        assert_eq!(
            for_the_tool("there is no worker w9; GET /v1/workers lists those that are known"),
            "there is no worker w9; `baton worker list` shows those that are known"
        );
    }

    #[test]
    fn json_mistakes_are_told_in_plain_words_with_their_place() {
        let fault = |text: &str| {
            json_fault(&serde_json::from_str::<serde_json::Value>(text).unwrap_err().to_string())
        };
        for (text, told) in [
            ("{", "column 1: it ends within an object; a closing } is missing"),
            ("[1", "column 2: it ends within a list; a closing ] is missing"),
            ("{\"a", "column 3: it ends within a text; a closing \" is missing"),
            ("", "column 0: it ends where a value is due"),
            ("{a: 1}", "column 2: expected a name in double quotes, and no comma after the last entry"),
            ("{\"a\" 1}", "column 6: expected a colon after the name"),
            ("{\"a\": 1 \"b\"}", "column 9: expected a comma or }"),
            ("{\"a\": 1,}", "column 9: a comma before the closing bracket is one too many"),
            ("{} {}", "column 4: something follows after its end"),
            (
                "{\n'a': 1}",
                "line 2, column 1: expected a name in double quotes, and no comma after the last entry",
            ),
        ] {
            assert_eq!(fault(text), told, "{text}");
        }
        assert!(fault("{\"a\": 'b'}").starts_with("column 7: expected a value"));
    }

    #[test]
    fn fields_become_flags_in_the_list_and_in_the_detail() {
        let error = FieldError {
            field: "timeout_seconds".to_owned(),
            expected: "less".to_owned(),
            got: "more".to_owned(),
        };
        let mut problem = Problem::new(ProblemCode::InvalidFields, format!("{error}; mend the field"));
        problem.errors = vec![error];
        by_flags(&mut problem, &[("timeout_seconds", "--timeout")]);
        assert_eq!(problem.detail, "--timeout: expected less, got more; mend the field");
        assert!(problem.detail.contains(&problem.errors[0].to_string()));
    }
}
