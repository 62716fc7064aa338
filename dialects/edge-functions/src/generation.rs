//! What a task's output record says of its place among others: a variant of one, a child of another, or one of its own.

use baton_http::fastapi;
use baton_model::{Generation, TaskType};
use serde_json::{Value, json};

use crate::types::Types;
use crate::words::{at, text_at};

/// The endings of files that are videos.
const VIDEOS: [&str; 5] = ["mp4", "mov", "webm", "mkv", "avi"];

/// The key under which a record's metadata has what its task has as its output instead of where it lies.
pub(crate) const TOLD: &str = "output_location";

/// What a completed task has as its output: what its worker told of it, else where it lies.
pub(crate) fn output_of(record: &Generation) -> Option<String> {
    let metadata = record.output.metadata.as_ref().map(|metadata| metadata.to_value());
    let told = metadata.as_ref().and_then(|metadata| text_at(metadata, &[TOLD]));
    told.or(record.output.location.as_deref()).map(str::to_owned)
}

/// What the record is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place<'a> {
    /// None of the platform's: Baton keeps one for each task that is completed.
    Hidden,
    /// A variant of another record.
    Variant(&'a str),
    /// A child of another record.
    Child(&'a str),
    /// One of its own.
    Alone,
}

fn place<'a>(task_type: &TaskType, params: &'a Value, types: &Types) -> Place<'a> {
    let is_set = |key| at(params, &[key]).is_some_and(|value| value.as_bool().unwrap_or(true));
    if types.is_orchestrator(task_type) || is_set("skip_generation") {
        return Place::Hidden;
    }
    if let Some(base) = text_at(params, &["based_on"]).filter(|_| !is_set("create_as_generation")) {
        return Place::Variant(base);
    }
    if let Some(child) = text_at(params, &["child_generation_id"]) {
        return Place::Variant(child);
    }
    let parent = text_at(params, &["parent_generation_id"])
        .or_else(|| text_at(params, &["orchestrator_details", "parent_generation_id"]));
    match parent {
        Some(parent) if matches!(task_type.as_str(), "travel_stitch" | "join_final_stitch") => {
            Place::Variant(parent)
        }
        Some(parent) => Place::Child(parent),
        None => Place::Alone,
    }
}

/// The place of a child among its siblings.
pub(crate) fn child_order(params: &Value) -> Option<i64> {
    let number = |key| at(params, &[key]).filter(|value| value.is_number()).and_then(fastapi::whole);
    ["child_order", "segment_index", "join_index"].into_iter().find_map(number)
}

/// Whether a file is an image or a video, by its name; none if it tells neither.
pub(crate) fn kind_of(location: &str) -> Option<&'static str> {
    let path = location.split(['?', '#']).next().unwrap_or_default();
    let (_, ending) = path.rsplit_once('.')?;
    let ending = ending.to_ascii_lowercase();
    if VIDEOS.contains(&ending.as_str()) {
        return Some("video");
    }
    ["png", "jpg", "jpeg", "webp", "gif", "avif"].contains(&ending.as_str()).then_some("image")
}

/// The record's fields beyond Baton's own, as its metadata.
pub(crate) fn fields(
    task_type: &TaskType,
    params: &Value,
    types: &Types,
    location: Option<&str>,
    thumbnail: Option<&str>,
) -> Value {
    let place = place(task_type, params, types);
    let (variant_type, is_primary) = match place {
        Place::Variant(_) => ("regenerated", true),
        Place::Hidden | Place::Child(_) | Place::Alone => ("original", true),
    };
    let is_child = matches!(place, Place::Child(_));
    let own = |key: &str| at(params, &[key]).cloned().unwrap_or_default();
    json!({
        "hidden": place == Place::Hidden,
        "type": location.and_then(kind_of),
        "variant_of": if let Place::Variant(of) = place { Some(of) } else { None },
        "variant_type": variant_type,
        "is_primary": is_primary,
        "is_child": is_child,
        "parent_generation_id": if let Place::Child(of) = place { Some(of) } else { None },
        "child_order": if is_child { child_order(params) } else { None },
        "based_on": own("based_on"),
        "name": own("generation_name"),
        "tool_type": own("tool_type"),
        "shot_id": own("shot_id"),
        "thumbnail_url": thumbnail,
    })
}

#[cfg(test)]
mod tests {
    use baton_runtime::settings::EdgeSettings;

    use super::*;

    fn told(task_type: &str, params: Value) -> Value {
        let types = Types::of(&EdgeSettings::default());
        fields(&task_type.parse().unwrap(), &params, &types, Some("http://x/a.MP4?t=1"), None)
    }

    #[test]
    fn the_first_place_that_fits_is_the_records() {
        assert_eq!(told("travel_orchestrator", json!({}))["hidden"], true);
        assert_eq!(told("t", json!({"skip_generation": true}))["hidden"], true);
        assert_eq!(told("t", json!({"skip_generation": false}))["hidden"], false);
        let based = json!({"based_on": "g1", "child_generation_id": "g2"});
        assert_eq!(told("t", based)["variant_of"], "g1");
        let apart = json!({"based_on": "g1", "create_as_generation": true});
        assert_eq!(told("t", apart)["variant_of"], Value::Null);
        assert_eq!(told("t", json!({"child_generation_id": "g2"}))["variant_of"], "g2");
        let parent = json!({"parent_generation_id": "g3", "segment_index": 2});
        let stitch = told("travel_stitch", parent.clone());
        assert_eq!((&stitch["variant_of"], &stitch["is_child"]), (&json!("g3"), &json!(false)));
        let child = told("travel_segment", parent);
        assert_eq!((&child["parent_generation_id"], &child["child_order"]), (&json!("g3"), &json!(2)));
        let alone = told("t", json!({"child_order": 1}));
        assert_eq!((&alone["child_order"], &alone["type"]), (&Value::Null, &json!("video")));
    }

    #[test]
    fn a_childs_order_is_found_under_three_names() {
        assert_eq!(child_order(&json!({"join_index": 3})), Some(3));
        assert_eq!(child_order(&json!({"join_index": 3.0})), Some(3));
        assert_eq!(child_order(&json!({"segment_index": 2, "join_index": 3})), Some(2));
        assert_eq!(child_order(&json!({"child_order": 0, "segment_index": 2})), Some(0));
    }
}
