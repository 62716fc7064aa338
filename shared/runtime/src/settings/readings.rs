//! Rules about workers' readings.

use baton_model::{Expected, ReadingRule};

use super::read::Reader;

/// Every setting of a rule about readings with its default, as TOML with comments.
pub const READING_DEFAULTS: &str = include_str!("../../readings.toml");

/// The most rules.
const RULES: usize = 100;
/// Beyond this there is no bound.
const FAR: f64 = 1e18;

pub(super) fn read(reader: &mut Reader<'_>) -> Vec<ReadingRule> {
    reader.sections("readings", "rules about readings", (READING_DEFAULTS, RULES), rule)
}

fn rule(reader: &mut Reader<'_>) -> Option<ReadingRule> {
    let name = reader.text("name", str::parse);
    let reading = reader.text("reading", |text| match text.len() {
        1..=128 => Ok(text.to_owned()),
        _ => Err(Expected::text("the name of a reading, 1 to 128 bytes", text)),
    });
    let least = reader.number("least", "the reading", -FAR..=FAR);
    let most = reader.number("most", "the reading", -FAR..=FAR);
    let margin = reader.number("margin", "the reading", 0.0..=FAR);
    let is_whole = !reader.refused("least") && !reader.refused("most") && !reader.refused("margin");
    if is_whole && least <= -FAR && most >= FAR {
        reader.refuse("most", Expected::new("a bound by least or most", "none"));
    } else if is_whole && least + margin > most - margin {
        let problem = Expected::new("at least least, with room for the margin at both", most.to_string());
        reader.refuse("most", problem);
    }
    let lasting = reader.seconds("lasting_seconds", 0.0..=86_400.0);
    let resume = reader.flag("resume");
    Some(ReadingRule { name: name?, reading: reading?, least, most, margin, lasting, resume })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Settings, Sources};

    fn load(text: &str) -> Result<Vec<ReadingRule>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baton.toml");
        std::fs::write(&file, text).unwrap();
        let sources = Sources { file: Some(file), ..Sources::default() };
        Settings::load(&sources).map(|settings| settings.readings).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_are_as_their_settings_say() {
        let [rule] = &load("[[readings]]\nname = \"hot\"\nreading = \"celsius\"\nmost = 85\nmargin = 5\n")
            .unwrap()[..]
        else {
            panic!("one")
        };
        assert_eq!((rule.reading.as_str(), rule.most, rule.margin), ("celsius", 85.0, 5.0));
        assert_eq!((rule.lasting, rule.resume), (Duration::from_secs(30), true));
        assert!(load("").unwrap().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let text = "[[readings]]\nname = \"a\"\n[[readings]]\nname = \"b\"\nreading = \"x\"\nleast = 3\nmost = 4\nmargin = 1\n\
                    lasting_seconds = -1\n";
        let told = load(text).unwrap_err();
        for part in [
            "readings.a.reading: expected the name of a reading, 1 to 128 bytes, got \"\"",
            "readings.a.most: expected a bound by least or most, got none",
            "readings.b.most: expected at least least, with room for the margin at both, got 4",
            "readings.b.lasting_seconds: expected a number of seconds from 0 to 86400, got -1",
        ] {
            assert!(told.contains(part), "{part}\nnot in\n{told}");
        }
    }
}
