//! A scene whose every value has been judged, and the messages for those that have not passed.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::file::{CameraFile, GroundFile, LightFile, MaterialFile, SceneFile, SphereFile, field_at};
use crate::vector::Vector;

const SIZE: RangeInclusive<i64> = 1..=4096;
const SAMPLES: RangeInclusive<i64> = 1..=64;
const FOV_DEGREES: RangeInclusive<f64> = 1.0..=170.0;
const MAX_SPHERES: usize = 500;
const MAX_MATERIALS: usize = 256;
const MAX_LIGHTS: usize = 8;
const MAX_NAME_BYTES: usize = 100;
/// Beyond this the ray tracer's fixed offset from a surface would no longer be small beside the objects.
const COORDINATE: RangeInclusive<f64> = -10_000.0..=10_000.0;
const LENGTH: RangeInclusive<f64> = 0.001..=10_000.0;
const LIGHT_RADIUS: RangeInclusive<f64> = 0.0..=1_000.0;
const INTENSITY: RangeInclusive<f64> = 0.0..=100.0;
const SHARE: RangeInclusive<f64> = 0.0..=1.0;

/// A scene that can be rendered; made by [`Scene::parse`] or by deserialising, both of which check every value.
///
/// # The file
///
/// Lengths are in scene units, y is up, colours are sRGB as `"#rrggbb"`. An unknown field is an error.
///
/// | field | meaning | limits |
/// |---|---|---|
/// | `name` | what the picture shows | 1 to 100 bytes |
/// | `width`, `height` | pixels | 1..=4096 |
/// | `samples_per_pixel` | rays sent through each pixel | 1..=64 |
/// | `camera.position`, `camera.look_at` | where the eye is and the point it looks at | two different points |
/// | `camera.fov_degrees` | vertical angle of view, degrees | 1..=170 |
/// | `background.zenith`, `.horizon`, `.nadir` | sky above, level, and what lies below | |
/// | `background.ambient` | share of the background's light that reaches surfaces | 0..=1 |
/// | `lights[].position`, `.radius` | a ball of light; the larger, the softer its shadows | radius 0..=1000 |
/// | `lights[].colour`, `.intensity` | light at any distance (no fall-off) | intensity 0..=100; at most 8 lights |
/// | `ground` | optional: a level plane | |
/// | `ground.height`, `.square` | its y, and the side of a checker square | square 0.001..=10000 |
/// | `ground.fade_distance` | distance over which it fades into the horizon by a factor e | 0.001..=10000 |
/// | `ground.checker` | the names of two materials | |
/// | `materials.<name>.colour` | colour of the surface; of a metal, of its reflections | at most 256 materials |
/// | `materials.<name>.reflectivity` | 0 is chalk, 0.1 lacquer, 1 a coloured mirror | 0..=1 |
/// | `materials.<name>.roughness`, `.specular` | width and strength of the lights' highlights | 0..=1 |
/// | `spheres[].centre`, `.radius`, `.material` | a ball and the name of its material | at most 500; radius 0.001..=10000 |
///
/// Coordinates are in -10000..=10000.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(try_from = "SceneFile")]
pub struct Scene {
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) samples_per_pixel: u32,
    pub(crate) camera: Camera,
    pub(crate) background: Background,
    pub(crate) lights: Vec<Light>,
    pub(crate) ground: Option<Ground>,
    pub(crate) spheres: Vec<Sphere>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Camera {
    pub(crate) position: Vector,
    pub(crate) look_at: Vector,
    pub(crate) fov_degrees: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Background {
    pub(crate) zenith: Vector,
    pub(crate) horizon: Vector,
    pub(crate) nadir: Vector,
    pub(crate) ambient: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Light {
    pub(crate) position: Vector,
    pub(crate) radius: f64,
    pub(crate) colour: Vector,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ground {
    pub(crate) height: f64,
    pub(crate) square: f64,
    pub(crate) fade_distance: f64,
    pub(crate) checker: [Material; 2],
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Material {
    pub(crate) colour: Vector,
    pub(crate) reflectivity: f64,
    pub(crate) roughness: f64,
    pub(crate) specular: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sphere {
    pub(crate) centre: Vector,
    pub(crate) radius: f64,
    pub(crate) material: Material,
}

/// Why a text is not a scene. Each case is for the author of the file to correct; trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SceneError {
    /// The text is not JSON.
    #[error("the scene is not JSON: {reason}; correct the file at that place")]
    NotJson {
        /// What the JSON reader found, with line and column.
        reason: String,
    },
    /// A field is missing, unknown or of the wrong type.
    #[error("{field}: {reason}; correct this field in the scene file")]
    WrongShape {
        /// The field, such as `spheres[3].radius`, or the object that lacks it; `scene` for the file as a whole.
        field: String,
        /// What was expected and what came, with line and column.
        reason: String,
    },
    /// A field's value is outside its limits.
    #[error("{field}: expected {expected}, got {got}; correct this field in the scene file")]
    OutOfLimits {
        /// The field, such as `camera.fov_degrees`.
        field: String,
        /// The values that would have been accepted.
        expected: String,
        /// The value that came.
        got: String,
    },
}

impl Scene {
    /// Reads a scene file's content.
    ///
    /// # Errors
    /// [`SceneError`] when the text is not JSON, does not have a scene's shape, or a value is outside its limits. The
    /// message names the field, what was expected and what came.
    pub fn parse(text: &str) -> Result<Self, SceneError> {
        let file: SceneFile = serde_json::from_str(text).map_err(|error| {
            let reason = error.to_string();
            if !error.is_data() {
                return SceneError::NotJson { reason };
            }
            let field =
                Some(field_at(text, &error)).filter(|f| !f.is_empty()).unwrap_or_else(|| "scene".into());
            SceneError::WrongShape { field, reason }
        })?;
        Self::try_from(file)
    }

    /// What the picture shows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Width of the picture in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height of the picture in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Rays sent through each pixel: work grows with it, roughness of edges shrinks.
    pub fn samples_per_pixel(&self) -> u32 {
        self.samples_per_pixel
    }
}

impl TryFrom<SceneFile> for Scene {
    type Error = SceneError;

    fn try_from(file: SceneFile) -> Result<Self, SceneError> {
        if file.name.is_empty() || file.name.len() > MAX_NAME_BYTES {
            let got = format!("{} bytes", file.name.len());
            return Err(out_of_limits("name", format!("1 to {MAX_NAME_BYTES} bytes"), got));
        }
        at_most("spheres", file.spheres.len(), MAX_SPHERES)?;
        at_most("materials", file.materials.len(), MAX_MATERIALS)?;
        at_most("lights", file.lights.len(), MAX_LIGHTS)?;
        let materials = Materials::new(&file)?;
        Ok(Self {
            width: whole("width", file.width, SIZE)?,
            height: whole("height", file.height, SIZE)?,
            samples_per_pixel: whole("samples_per_pixel", file.samples_per_pixel, SAMPLES)?,
            camera: camera(&file.camera)?,
            background: Background {
                zenith: file.background.zenith.linear(),
                horizon: file.background.horizon.linear(),
                nadir: file.background.nadir.linear(),
                ambient: number("background.ambient", file.background.ambient, SHARE)?,
            },
            lights: numbered("lights", &file.lights, light)?,
            ground: file.ground.as_ref().map(|ground| materials.ground(ground)).transpose()?,
            spheres: numbered("spheres", &file.spheres, |field, sphere| materials.sphere(field, sphere))?,
            name: file.name,
        })
    }
}

/// The file's materials by name: a sphere leaves here with its material in it, so none can name a missing one.
struct Materials(Vec<(String, Material)>);

impl Materials {
    fn new(file: &SceneFile) -> Result<Self, SceneError> {
        let judged = |(name, m): (&String, &MaterialFile)| {
            let share = |field: &str, value| number(&format!("materials.{name}.{field}"), value, SHARE);
            let material = Material {
                colour: m.colour.linear(),
                reflectivity: share("reflectivity", m.reflectivity)?,
                roughness: share("roughness", m.roughness)?,
                specular: share("specular", m.specular)?,
            };
            Ok((name.clone(), material))
        };
        Ok(Self(file.materials.iter().map(judged).collect::<Result<_, _>>()?))
    }

    fn named(&self, field: &str, name: &str) -> Result<Material, SceneError> {
        let found = self.0.iter().find(|(known, _)| known == name).map(|(_, material)| *material);
        found.ok_or_else(|| {
            let known: Vec<_> = self.0.iter().map(|(known, _)| format!("{known:?}")).collect();
            out_of_limits(
                field,
                format!("one of the file's materials ({})", known.join(", ")),
                format!("{name:?}"),
            )
        })
    }

    fn ground(&self, file: &GroundFile) -> Result<Ground, SceneError> {
        let [first, second] = &file.checker;
        Ok(Ground {
            height: number("ground.height", file.height, COORDINATE)?,
            square: number("ground.square", file.square, LENGTH)?,
            fade_distance: number("ground.fade_distance", file.fade_distance, LENGTH)?,
            checker: [self.named("ground.checker[0]", first)?, self.named("ground.checker[1]", second)?],
        })
    }

    fn sphere(&self, field: &str, file: &SphereFile) -> Result<Sphere, SceneError> {
        Ok(Sphere {
            centre: point(&format!("{field}.centre"), file.centre)?,
            radius: number(&format!("{field}.radius"), file.radius, LENGTH)?,
            material: self.named(&format!("{field}.material"), &file.material)?,
        })
    }
}

fn camera(file: &CameraFile) -> Result<Camera, SceneError> {
    let position = point("camera.position", file.position)?;
    let look_at = point("camera.look_at", file.look_at)?;
    if (look_at - position).length() < *LENGTH.start() {
        let expected = "a point other than camera.position";
        return Err(out_of_limits("camera.look_at", expected, format!("{:?}", file.look_at)));
    }
    Ok(Camera {
        position,
        look_at,
        fov_degrees: number("camera.fov_degrees", file.fov_degrees, FOV_DEGREES)?,
    })
}

fn light(field: &str, file: &LightFile) -> Result<Light, SceneError> {
    let intensity = number(&format!("{field}.intensity"), file.intensity, INTENSITY)?;
    Ok(Light {
        position: point(&format!("{field}.position"), file.position)?,
        radius: number(&format!("{field}.radius"), file.radius, LIGHT_RADIUS)?,
        colour: file.colour.linear() * intensity,
    })
}

fn numbered<F, T>(
    list: &str,
    items: &[F],
    judge: impl Fn(&str, &F) -> Result<T, SceneError>,
) -> Result<Vec<T>, SceneError> {
    items.iter().enumerate().map(|(index, item)| judge(&format!("{list}[{index}]"), item)).collect()
}

fn point(field: &str, coordinates: [f64; 3]) -> Result<Vector, SceneError> {
    for (axis, value) in coordinates.into_iter().enumerate() {
        number(&format!("{field}[{axis}]"), value, COORDINATE)?;
    }
    Ok(coordinates.into())
}

/// Limits are closed and finite, so what is infinite or not a number is refused by them too.
fn number(field: &str, value: f64, limits: RangeInclusive<f64>) -> Result<f64, SceneError> {
    if limits.contains(&value) {
        return Ok(value);
    }
    let expected = format!("a number in {}..={}", limits.start(), limits.end());
    let got = if value.abs() < 1e15 { format!("{value}") } else { format!("{value:e}") };
    Err(out_of_limits(field, expected, got))
}

fn whole(field: &str, value: i64, limits: RangeInclusive<i64>) -> Result<u32, SceneError> {
    u32::try_from(value).ok().filter(|_| limits.contains(&value)).ok_or_else(|| {
        out_of_limits(field, format!("a whole number in {}..={}", limits.start(), limits.end()), value)
    })
}

fn at_most(field: &str, count: usize, limit: usize) -> Result<(), SceneError> {
    if count <= limit { Ok(()) } else { Err(out_of_limits(field, format!("at most {limit}"), count)) }
}

fn out_of_limits(field: &str, expected: impl Display, got: impl Display) -> SceneError {
    SceneError::OutOfLimits { field: field.into(), expected: expected.to_string(), got: got.to_string() }
}
