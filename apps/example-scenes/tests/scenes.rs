//! What a user of the crate sees: pictures, files and messages.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in tests, but does not know their helpers")]

use std::fs;
use std::path::PathBuf;

use baton_example_scenes::{BROKEN_SCENE, Image, ImageError, SCENES, Scene, SceneError, render};
use serde_json::{Value, json};

/// A small scene with one of everything.
fn small() -> Value {
    json!({
        "name": "small", "width": 24, "height": 16, "samples_per_pixel": 2,
        "camera": { "position": [0, 2, 8], "look_at": [0, 1, 0], "fov_degrees": 40 },
        "background": { "zenith": "#3060c0", "horizon": "#f0e0d0", "nadir": "#404040", "ambient": 0.5 },
        "lights": [{ "position": [4, 8, 6], "radius": 0.5, "colour": "#ffffff", "intensity": 1 }],
        "ground": { "height": 0, "square": 1, "fade_distance": 30, "checker": ["chalk", "chrome"] },
        "materials": {
            "chalk": { "colour": "#ffffff", "reflectivity": 0, "roughness": 1, "specular": 0 },
            "chrome": { "colour": "#e0e8f0", "reflectivity": 0.9, "roughness": 0.2, "specular": 0.8 }
        },
        "spheres": [
            { "centre": [0, 1, 0], "radius": 1, "material": "chrome" },
            { "centre": [2, 0.5, 1], "radius": 0.5, "material": "chalk" }
        ]
    })
}

/// The small scene with the value at a JSON pointer replaced.
fn small_with(pointer: &str, value: Value) -> Value {
    let mut scene = small();
    *scene.pointer_mut(pointer).unwrap() = value;
    scene
}

fn parse(scene: &Value) -> Result<Scene, SceneError> {
    Scene::parse(&serde_json::to_string_pretty(scene).unwrap())
}

/// A folder for one test, removed with all in it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("baton-scenes-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn decode(path: &std::path::Path) -> Image {
    let mut reader =
        png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut rgb).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    Image { width: info.width, height: info.height, rgb }
}

#[test]
fn every_built_in_scene_parses_and_has_its_own_name_and_picture_size() {
    assert_eq!(SCENES.len(), 12);
    let mut names = std::collections::BTreeSet::new();
    for (file, text) in SCENES {
        let scene = Scene::parse(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!((scene.width(), scene.height()), (320, 200), "{file}");
        assert!(file.ends_with(".json"), "{file}");
        assert!(names.insert(scene.name().to_owned()), "{file} has another scene's name");
    }
}

#[test]
fn every_built_in_scene_makes_its_own_picture_neither_black_nor_washed_out() {
    let mut pictures = std::collections::BTreeSet::new();
    for (file, text) in SCENES {
        // A tenth of the size at one sample: enough to tell pictures apart.
        let mut scene: Value = serde_json::from_str(text).unwrap();
        for (field, value) in [("width", 32), ("height", 20), ("samples_per_pixel", 1)] {
            scene[field] = json!(value);
        }
        let image = render(&parse(&scene).unwrap(), |_| ());
        let luminance = image.mean_luminance();
        assert!((0.05..0.8).contains(&luminance), "{file}: {luminance}");
        assert!(pictures.insert(image.rgb), "{file} looks like another scene");
    }
}

#[test]
fn the_broken_scene_names_its_field_and_both_numbers() {
    let (file, text) = BROKEN_SCENE;
    assert_eq!(file, "broken-lens.json");
    let error = Scene::parse(text).unwrap_err().to_string();
    assert!(error.starts_with("camera.fov_degrees: expected a number in 1..=170, got 400"), "{error}");
}

#[test]
fn each_limit_is_refused_with_the_field_what_was_expected_and_what_came() {
    let sphere = small()["spheres"][0].clone();
    let light = small()["lights"][0].clone();
    let material = small()["materials"]["chalk"].clone();
    let many_materials: serde_json::Map<_, _> = (0..257).map(|n| (n.to_string(), material.clone())).collect();
    let cases = [
        ("/name", json!(""), "name: expected 1 to 100 bytes, got 0 bytes"),
        ("/name", json!("n".repeat(101)), "name: expected 1 to 100 bytes, got 101 bytes"),
        ("/width", json!(0), "width: expected a whole number in 1..=4096, got 0"),
        ("/width", json!(4097), "width: expected a whole number in 1..=4096, got 4097"),
        ("/width", json!(-5), "width: expected a whole number in 1..=4096, got -5"),
        ("/height", json!(0), "height: expected a whole number in 1..=4096, got 0"),
        ("/height", json!(1_i64 << 40), "height: expected a whole number in 1..=4096, got 1099511627776"),
        ("/samples_per_pixel", json!(0), "samples_per_pixel: expected a whole number in 1..=64, got 0"),
        ("/samples_per_pixel", json!(65), "samples_per_pixel: expected a whole number in 1..=64, got 65"),
        ("/camera/fov_degrees", json!(0.5), "camera.fov_degrees: expected a number in 1..=170, got 0.5"),
        ("/camera/fov_degrees", json!(171), "camera.fov_degrees: expected a number in 1..=170, got 171"),
        (
            "/camera/position/1",
            json!(1e300),
            "camera.position[1]: expected a number in -10000..=10000, got 1e300",
        ),
        (
            "/camera/look_at",
            json!([0, 2, 8]),
            "camera.look_at: expected a point other than camera.position, got ",
        ),
        ("/background/ambient", json!(1.5), "background.ambient: expected a number in 0..=1, got 1.5"),
        ("/lights", json!(vec![light; 9]), "lights: expected at most 8, got 9"),
        ("/lights/0/radius", json!(-1), "lights[0].radius: expected a number in 0..=1000, got -1"),
        ("/lights/0/intensity", json!(101), "lights[0].intensity: expected a number in 0..=100, got 101"),
        ("/ground/square", json!(0), "ground.square: expected a number in 0.001..=10000, got 0"),
        (
            "/ground/fade_distance",
            json!(0),
            "ground.fade_distance: expected a number in 0.001..=10000, got 0",
        ),
        ("/ground/height", json!(20_000), "ground.height: expected a number in -10000..=10000, got 20000"),
        (
            "/ground/checker/1",
            json!("marble"),
            r#"ground.checker[1]: expected one of the file's materials ("chalk", "chrome"), got "marble""#,
        ),
        ("/materials", Value::Object(many_materials), "materials: expected at most 256, got 257"),
        (
            "/materials/chalk/roughness",
            json!(2),
            "materials.chalk.roughness: expected a number in 0..=1, got 2",
        ),
        ("/spheres", json!(vec![sphere; 501]), "spheres: expected at most 500, got 501"),
        ("/spheres/1/radius", json!(0), "spheres[1].radius: expected a number in 0.001..=10000, got 0"),
        (
            "/spheres/1/centre/2",
            json!(-1e5),
            "spheres[1].centre[2]: expected a number in -10000..=10000, got -100000",
        ),
        (
            "/spheres/1/material",
            json!("glass"),
            r#"spheres[1].material: expected one of the file's materials ("chalk", "chrome"), got "glass""#,
        ),
    ];
    for (pointer, value, expected) in cases {
        let error = parse(&small_with(pointer, value)).unwrap_err();
        assert!(matches!(error, SceneError::OutOfLimits { .. }), "{error:?}");
        assert!(error.to_string().starts_with(expected), "expected {expected}\ngot      {error}");
    }
}

#[test]
fn the_values_at_the_limits_are_accepted() {
    let sphere = small()["spheres"][0].clone();
    let cases = [
        ("/width", json!(1)),
        ("/width", json!(4096)),
        ("/height", json!(4096)),
        ("/samples_per_pixel", json!(64)),
        ("/camera/fov_degrees", json!(1)),
        ("/camera/fov_degrees", json!(170)),
        ("/spheres", json!(vec![sphere; 500])),
        ("/spheres", json!([])),
        ("/lights", json!([])),
        ("/ground", Value::Null),
    ];
    for (pointer, value) in cases {
        parse(&small_with(pointer, value)).unwrap();
    }
}

#[test]
fn a_field_of_the_wrong_type_is_named_with_its_place_in_pretty_and_in_compact_files() {
    let cases = [
        (
            "/camera/fov_degrees",
            json!("wide"),
            "camera.fov_degrees",
            "invalid type: string \"wide\", expected f64",
        ),
        ("/width", json!(2.5), "width", "invalid type: floating point `2.5`, expected i64"),
        ("/spheres/1/centre/0", json!(null), "spheres[1].centre[0]", "invalid type: null, expected f64"),
        ("/spheres/1/centre", json!([1, 2]), "spheres[1].centre", "expected an array of length 3"),
        (
            "/materials/chrome/colour",
            json!("gold"),
            "materials.chrome.colour",
            "expected a colour such as \"#d4af37\"",
        ),
        ("/spheres/1", json!({"centre": [0, 0, 0], "radius": 1}), "spheres[1]", "missing field `material`"),
        ("/camera", json!({"position": [0, 0, 0], "lens": 3}), "camera", "unknown field `lens`"),
        ("/lights", json!({"sun": 1}), "lights", "invalid type: map, expected a sequence"),
    ];
    for (pointer, value, expected_field, expected_reason) in cases {
        let scene = small_with(pointer, value);
        for text in [serde_json::to_string_pretty(&scene).unwrap(), scene.to_string()] {
            let Err(SceneError::WrongShape { field, reason }) = Scene::parse(&text) else {
                panic!("{pointer}")
            };
            assert_eq!(field, expected_field, "{reason}");
            assert!(reason.contains(expected_reason) && reason.contains(" at line "), "{reason}");
        }
    }
}

#[test]
fn a_missing_and_an_unknown_field_of_the_whole_scene_are_named() {
    let mut scene = small();
    scene.as_object_mut().unwrap().remove("camera");
    let error = parse(&scene).unwrap_err().to_string();
    assert!(error.starts_with("scene: missing field `camera`"), "{error}");

    let mut scene = small();
    scene["aperture"] = json!(1);
    let error = parse(&scene).unwrap_err().to_string();
    assert!(error.starts_with("scene: unknown field `aperture`"), "{error}");
}

#[test]
fn a_text_that_is_not_json_is_refused_with_its_place_however_it_is_cut() {
    let text = small().to_string();
    for end in 0..text.len() {
        let error = Scene::parse(&text[..end]).unwrap_err();
        assert!(
            matches!(&error, SceneError::NotJson { reason } if reason.contains("line 1")),
            "{end}: {error}"
        );
    }
    for text in ["1e999", "[]", "null", "{\"name\": 1e999}", "\u{feff}{}", "{\"\\\"x\": {\"ü"] {
        Scene::parse(text).unwrap_err();
    }
}

#[test]
fn deserialising_judges_values_as_parsing_does() {
    assert_eq!(serde_json::from_value::<Scene>(small()).unwrap(), parse(&small()).unwrap());
    let error = serde_json::from_str::<Scene>(BROKEN_SCENE.1).unwrap_err().to_string();
    assert!(error.contains("camera.fov_degrees"), "{error}");
}

#[test]
fn the_same_scene_renders_the_same_bytes() {
    let scene = parse(&small()).unwrap();
    let first = render(&scene, |_| ());
    assert_eq!(first.rgb.len(), 24 * 16 * 3);
    assert_eq!(first, render(&scene, |_| ()));

    let moved = parse(&small_with("/spheres/0/centre/0", json!(0.2))).unwrap();
    assert_ne!(first, render(&moved, |_| ()));
}

#[test]
fn an_odd_point_of_view_still_gives_a_picture() {
    let views = [
        ("/camera/position", json!([0, 9, 0])),       // straight down
        ("/camera/position", json!([0, 1.2, 0])),     // inside a sphere
        ("/camera/position", json!([0, -3, 5])),      // below the ground
        ("/camera/position", json!([0, 0, 5])),       // in the ground
        ("/lights/0/position", json!([0, 1, 0])),     // a light inside a sphere
        ("/spheres/1/centre", json!([0, 1, 0])),      // a sphere within another
        ("/materials/chrome/reflectivity", json!(1)), // light that is never absorbed
        ("/camera/fov_degrees", json!(170)),
        ("/spheres", json!([])),
    ];
    for (pointer, value) in views {
        let image = render(&parse(&small_with(pointer, value)).unwrap(), |_| ());
        assert_eq!(image.rgb.len(), 24 * 16 * 3, "{pointer}");
    }
}

#[test]
fn a_ball_out_of_sight_only_throws_its_shadow() {
    let mut scene = small();
    scene["ground"]["checker"] = json!(["chalk", "chalk"]);
    scene["spheres"] = json!([]);
    let without = render(&parse(&scene).unwrap(), |_| ()).rgb;
    // Half way from the light to what the camera looks at, above the picture's edge.
    scene["spheres"] = json!([{ "centre": [2, 4, 3], "radius": 0.6, "material": "chalk" }]);
    let with = render(&parse(&scene).unwrap(), |_| ()).rgb;

    assert!(with.iter().zip(&without).all(|(with, without)| with <= without));
    assert!(with.iter().zip(&without).any(|(with, without)| with.saturating_add(40) < *without));
}

#[test]
fn progress_is_monotone_starts_at_0_and_ends_at_1() {
    for (height, calls) in [(1, 2), (7, 8), (16, 17), (20, 21), (33, 21), (200, 21)] {
        let mut scene = small_with("/height", json!(height));
        scene["width"] = json!(2);
        let mut seen = Vec::new();
        render(&parse(&scene).unwrap(), |share| seen.push(share));
        assert_eq!(seen.len(), calls, "{height}: {seen:?}");
        assert_eq!((seen[0], seen[seen.len() - 1]), (0.0, 1.0));
        assert!(seen.is_sorted_by(|a, b| a < b), "{height}: {seen:?}");
    }
}

#[test]
fn the_png_decodes_to_the_same_pixels_and_is_alone_in_its_folder() {
    let folder = Folder::new("decodes");
    let path = folder.0.join("small.png");
    let image = render(&parse(&small()).unwrap(), |_| ());
    fs::write(&path, "an older picture").unwrap();
    image.write_png(&path).unwrap();
    assert_eq!(decode(&path), image);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn readers_beside_several_writers_always_find_a_whole_picture() {
    let folder = Folder::new("writers");
    let path = folder.0.join("small.png");
    let image = render(&parse(&small()).unwrap(), |_| ());
    image.write_png(&path).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..20).for_each(|_| image.write_png(&path).unwrap()));
        }
        for _ in 0..60 {
            assert_eq!(decode(&path), image);
        }
    });
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn a_picture_that_cannot_be_written_leaves_nothing_and_names_its_path() {
    let folder = Folder::new("refused");
    let image = render(&parse(&small()).unwrap(), |_| ());

    let missing = folder.0.join("missing").join("small.png");
    let error = image.write_png(&missing).unwrap_err();
    assert!(matches!(error, ImageError::Write { .. }), "{error:?}");
    assert!(error.to_string().contains(&missing.display().to_string()), "{error}");

    let short = Image { rgb: vec![0; 5], ..image };
    let error = short.write_png(&folder.0.join("short.png")).unwrap_err();
    assert!(matches!(error, ImageError::Encode { .. }), "{error:?}");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn mean_luminance_weighs_the_channels_as_bt_709_does() {
    let of =
        |rgb: &[u8]| Image { width: rgb.len() as u32 / 3, height: 1, rgb: rgb.to_vec() }.mean_luminance();
    for (rgb, expected) in [
        (&[0, 0, 0][..], 0.0),
        (&[255, 255, 255], 1.0),
        (&[255, 0, 0], 0.2126),
        (&[0, 255, 0], 0.7152),
        (&[0, 0, 255], 0.0722),
        (&[0, 0, 0, 255, 255, 255], 0.5),
        (&[], 0.0),
    ] {
        assert!((of(rgb) - expected).abs() < 1e-12, "{rgb:?}: {}", of(rgb));
    }
}
