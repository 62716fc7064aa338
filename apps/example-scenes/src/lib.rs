//! The scenes that Baton's built-in example renders, and the renderer.
//!
//! A scene is a JSON file ([`Scene::parse`]); [`render`] traces it on the processor, reporting how far it is, and
//! [`Image::write_png`] puts the picture on disk so that a reader never sees half of it. The same scene gives the same
//! bytes, so a task that two workers ran can be compared by its file's digest.
//!
//! ```
//! let (_, text) = baton_example_scenes::SCENES[0];
//! let scene = baton_example_scenes::Scene::parse(text)?;
//! assert_eq!((scene.width(), scene.height()), (320, 200));
//! # Ok::<(), baton_example_scenes::SceneError>(())
//! ```

mod bounds;
mod colour;
mod file;
mod image;
mod render;
mod scene;
mod vector;

pub use image::{Image, ImageError, is_half_written};
pub use render::render;
pub use scene::{Scene, SceneError};

macro_rules! scene_file {
    ($name:literal) => {
        ($name, include_str!(concat!("../scenes/", $name)))
    };
}

/// Twelve scenes as (file name, content), each 320 by 200 pixels and well under a second of work for one core even in
/// an unoptimised build.
pub const SCENES: &[(&str, &str)] = &[
    scene_file!("metal-row.json"),
    scene_file!("golden-spiral.json"),
    scene_file!("cannonball-pyramid.json"),
    scene_file!("ringed-planet.json"),
    scene_file!("double-helix.json"),
    scene_file!("mirror-garden.json"),
    scene_file!("sunset-lagoon.json"),
    scene_file!("billiard-rack.json"),
    scene_file!("rainbow-arch.json"),
    scene_file!("winter-snowmen.json"),
    scene_file!("colour-cube.json"),
    scene_file!("sphereflake.json"),
];

/// A scene as (file name, content) that [`Scene::parse`] refuses, its field of view being 400 degrees: the example's
/// failing task.
pub const BROKEN_SCENE: (&str, &str) = scene_file!("broken-lens.json");
