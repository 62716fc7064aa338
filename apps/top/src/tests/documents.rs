//! docs/top.md shows what the program shows, and names the keys that it has. `UPDATE=1` writes its picture anew.

use super::world::World;
use crate::view::help::KEYS;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/top.md");
const BEGIN: &str = "<!-- the picture: made by the tests of apps/top -->\n```text\n";
const END: &str = "```\n";

#[test]
fn the_picture_is_what_the_terminal_shows() {
    let mut world = World::answered();
    world.stats["queues"][1]["run"]["count"] = serde_json::json!(671);
    for step in 1..=8_u32 {
        for (queue, done) in [(0, 3), (1, 10 + 4 * (step % 5)), (2, 0)] {
            let count = &mut world.stats["queues"][queue]["run"]["count"];
            *count = serde_json::json!(count.as_u64().unwrap() + u64::from(done));
        }
        world.passes(2.0);
        world.answer();
    }
    let lines = world.shows(100, 24);
    let shown: String = lines[..8].iter().chain(&lines[22..]).flat_map(|line| [line, "\n"]).collect();
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("docs/top.md has a place for the picture");
    let (picture, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
        std::fs::write(PAGE, format!("{before}{BEGIN}{shown}{END}{after}")).unwrap();
    } else {
        assert_eq!(picture, shown, "docs/top.md is stale: UPDATE=1 cargo test -p baton-top");
    }
}

#[test]
fn the_page_names_every_key() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    for (keys, _) in KEYS {
        for key in keys.split([' ', ',']).filter(|key| !key.is_empty()) {
            assert!(page.contains(&format!("`{key}`")), "docs/top.md does not name {key}");
        }
    }
}
