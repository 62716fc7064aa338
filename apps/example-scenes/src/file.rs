//! The shape of a scene file, before its values are judged, and where in a file a JSON error lies.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::colour::Colour;

// Whole numbers are read as i64, so that a negative one is refused with the field's own limits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SceneFile {
    pub(crate) name: String,
    pub(crate) width: i64,
    pub(crate) height: i64,
    pub(crate) samples_per_pixel: i64,
    pub(crate) camera: CameraFile,
    pub(crate) background: BackgroundFile,
    pub(crate) lights: Vec<LightFile>,
    pub(crate) ground: Option<GroundFile>,
    pub(crate) materials: BTreeMap<String, MaterialFile>,
    pub(crate) spheres: Vec<SphereFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CameraFile {
    pub(crate) position: [f64; 3],
    pub(crate) look_at: [f64; 3],
    pub(crate) fov_degrees: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackgroundFile {
    pub(crate) zenith: Colour,
    pub(crate) horizon: Colour,
    pub(crate) nadir: Colour,
    pub(crate) ambient: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LightFile {
    pub(crate) position: [f64; 3],
    pub(crate) radius: f64,
    pub(crate) colour: Colour,
    pub(crate) intensity: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroundFile {
    pub(crate) height: f64,
    pub(crate) square: f64,
    pub(crate) fade_distance: f64,
    pub(crate) checker: [String; 2],
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MaterialFile {
    pub(crate) colour: Colour,
    pub(crate) reflectivity: f64,
    pub(crate) roughness: f64,
    pub(crate) specular: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SphereFile {
    pub(crate) centre: [f64; 3],
    pub(crate) radius: f64,
    pub(crate) material: String,
}

/// The field that a JSON error is about, such as `spheres[3].radius`: serde_json tells only the line and the column.
/// Empty when the error is about the file as a whole.
pub(crate) fn field_at(text: &str, error: &serde_json::Error) -> String {
    let line_start: usize =
        text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    // serde_json has read up to the end of a wrong value: to the brace, if an object lacks a field.
    let end = (line_start + error.column()).min(text.len());
    let mut path = Path::default();
    let mut string: Option<Vec<u8>> = None;
    let mut escaped = false;
    for &byte in &text.as_bytes()[..end] {
        match (&mut string, byte) {
            (Some(_), b'\\') if !escaped => escaped = true,
            (Some(read), b'"') if !escaped => {
                path.last_string = String::from_utf8_lossy(read).into_owned();
                string = None;
            }
            (Some(read), _) => {
                read.push(byte);
                escaped = false;
            }
            (None, b'"') => string = Some(Vec::new()),
            (None, _) => path.step(byte),
        }
    }
    path.to_string()
}

/// Where a reader of JSON stands: one step for each object or array that is open.
#[derive(Default)]
struct Path {
    steps: Vec<Step>,
    last_string: String,
}

enum Step {
    Key(Option<String>),
    Index(usize),
}

impl Path {
    fn step(&mut self, byte: u8) {
        match byte {
            b'{' => self.steps.push(Step::Key(None)),
            b'[' => self.steps.push(Step::Index(0)),
            b'}' | b']' => drop(self.steps.pop()),
            b':' => {
                if let Some(Step::Key(key)) = self.steps.last_mut() {
                    *key = Some(std::mem::take(&mut self.last_string));
                }
            }
            b',' => match self.steps.last_mut() {
                Some(Step::Key(key)) => *key = None,
                Some(Step::Index(index)) => *index += 1,
                None => {}
            },
            _ => {}
        }
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, step) in self.steps.iter().enumerate() {
            match step {
                Step::Key(Some(key)) if place == 0 => write!(f, "{key}")?,
                Step::Key(Some(key)) => write!(f, ".{key}")?,
                Step::Key(None) => {}
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
