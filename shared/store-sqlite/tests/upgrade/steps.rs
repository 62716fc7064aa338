//! The steps of the schema stay as they were: files were brought up to date by them, and would be otherwise than new ones.

use std::path::Path;

use baton_model::Digest;

/// The first 16 bytes of the SHA-256 of each step, from the first one on. A new step gets a line here.
pub(super) const STEPS: &[&str] = &[
    "52662cec8dd21e98882e6d57ca4068d6",
    "48f3f2ac497044b4808795535ff7e8b1",
    "bf6048e429de6a5a425532727438b048",
    "2188ce45866dc5826ecd413925facc37",
    "8e5f108bd1818a609c259ec646542d0a",
    "93c6d131e4161bdb9c5701258d7861d6",
    "aae10348dc21a0830f5d339c60d1c279",
    "35ec406a51216aaf260f902f6fca877c",
    "bb8b9324060454e3650db556488a47d1",
    "b0d4a47bf96436bbf5fc1ea4227a75f1",
    "f2379bcf9b5637bcf7c2478b430c3a7b",
    "a9b54713384c7700f9b07da3e0c02718",
    "0a407dbf3c50ce18d28fc331f84389cf",
    "e6c957a1aaba54cf591c6e952305e937",
    "d93e3c49a4ffacfa9f39a3109ab3bc6c",
    "98458d218d67872bb0e27a9fd58e8321",
    "b915daa1ba15906f989b452164407861",
    "e3a26a38c11fa6a3c5d0e6ea7ec31f5b",
];

/// The file of the step that leads to a version.
pub(super) fn name(version: usize) -> String {
    if version == 1 { "schema.sql".to_owned() } else { format!("schema-{version}.sql") }
}

#[test]
fn no_step_is_edited_once_files_were_brought_up_to_date_by_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (version, kept) in (1..).zip(STEPS) {
        let name = name(version);
        let text = std::fs::read(folder.join(&name)).unwrap();
        assert_eq!(Digest::of_bytes(&text).to_string(), *kept, "{name} was edited: add a step instead");
    }
    let next = name(STEPS.len() + 1);
    assert!(!folder.join(&next).exists(), "{next} has no line here");
}
