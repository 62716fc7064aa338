//! From a scene to its picture: a recursive ray tracer after Whitted, "An improved illumination model for shaded
//! display" (1980), with soft shadows.

use crate::bounds::Bounds;
use crate::colour::encode;
use crate::image::Image;
use crate::scene::{Material, Scene};
use crate::vector::Vector;

/// Reflections of reflections that are followed; the next shows the background only.
const MAX_DEPTH: u32 = 4;
/// A reflection that adds less than this share of its light is not followed: below half a step of an 8-bit channel.
const MIN_WEIGHT: f64 = 0.002;
/// How far above a surface a new ray starts, in scene units, so that it does not meet the surface it left.
const OFFSET: f64 = 1e-4;
/// Calls of `progress` for one picture, after the one at 0.
const PROGRESS_STEPS: u32 = 20;
/// Any number; another gives another grain.
const SEED: u64 = 0x0BA7_0000_5EED;
/// Steps of the R2 sequence, the powers of 1/1.3247… (M. Roberts, "The unreasonable effectiveness of quasirandom
/// sequences", 2018): any count of its points covers the unit square evenly.
const R2: [f64; 2] = [0.754_877_666_246_692_7, 0.569_840_290_998_053_2];

/// Renders `scene`, calling `progress` with the share of rows done: 0 at the start, then about every twentieth of the
/// rows, and 1 at the end.
///
/// The same scene gives the same bytes in every run; between machines they may differ in a last bit, where the
/// systems' mathematical functions do.
pub fn render(scene: &Scene, mut progress: impl FnMut(f64)) -> Image {
    let tracer = Tracer { scene, bounds: Bounds::new(&scene.spheres) };
    let lens = Lens::new(scene);
    let mut rgb = Vec::with_capacity(scene.width as usize * scene.height as usize * 3);
    progress(0.0);
    for y in 0..scene.height {
        for x in 0..scene.width {
            let light = tracer.pixel(&lens, x, y);
            rgb.extend([encode(light.x), encode(light.y), encode(light.z)]);
        }
        let step = |rows: u32| rows * PROGRESS_STEPS / scene.height;
        if step(y + 1) > step(y) {
            progress(f64::from(y + 1) / f64::from(scene.height));
        }
    }
    Image { width: scene.width, height: scene.height, rgb }
}

/// The picture's plane, at distance 1 before the eye.
struct Lens {
    top_left: Vector,
    right: Vector,
    down: Vector,
}

impl Lens {
    fn new(scene: &Scene) -> Self {
        let forward = (scene.camera.look_at - scene.camera.position).unit();
        // Looking straight up or down, "up" says nothing about how the picture is turned.
        let up = if forward.y.abs() > 0.9999 { Vector::new(0.0, 0.0, 1.0) } else { Vector::UP };
        let right = forward.cross(up).unit();
        let down = forward.cross(right);
        let pixel = 2.0 * (scene.camera.fov_degrees.to_radians() / 2.0).tan() / f64::from(scene.height);
        let (half_width, half_height) = (f64::from(scene.width) / 2.0, f64::from(scene.height) / 2.0);
        let (right, down) = (right * pixel, down * pixel);
        Self { top_left: forward - right * half_width - down * half_height, right, down }
    }
}

struct Tracer<'a> {
    scene: &'a Scene,
    bounds: Bounds,
}

struct Ray {
    origin: Vector,
    /// Of length 1.
    direction: Vector,
    /// Where on each light, as a point of the unit sphere, this ray's shadows are tested.
    on_light: Vector,
}

impl Tracer<'_> {
    /// The mean light of a pixel's samples, each cut off at white so that one glint does not make a jagged edge.
    fn pixel(&self, lens: &Lens, x: u32, y: u32) -> Vector {
        let mut sum = Vector::ZERO;
        let [across, along, around, above] = noise(x, y);
        for sample in 0..self.scene.samples_per_pixel {
            let place = |start: f64, step: f64| (start + f64::from(sample) * step).fract();
            let right = lens.right * (f64::from(x) + place(across, R2[0]));
            let down = lens.down * (f64::from(y) + place(along, R2[1]));
            let ray = Ray {
                origin: self.scene.camera.position,
                direction: (lens.top_left + right + down).unit(),
                on_light: on_unit_sphere(place(around, R2[0]), place(above, R2[1])),
            };
            let light = self.trace(&ray, MAX_DEPTH, 1.0);
            sum = sum + Vector::new(cut(light.x), cut(light.y), cut(light.z));
        }
        sum * (1.0 / f64::from(self.scene.samples_per_pixel))
    }

    /// The light that comes back along a ray, of which the pixel will get the share `weight`.
    fn trace(&self, ray: &Ray, depth: u32, weight: f64) -> Vector {
        let ground = self.ground_distance(ray);
        if let Some((distance, index)) = self.bounds.nearest(ray.origin, ray.direction, ground) {
            let sphere = &self.scene.spheres[index];
            let point = ray.origin + ray.direction * distance;
            let normal = (point - sphere.centre) * (1.0 / sphere.radius);
            return self.shade(ray, point, normal, &sphere.material, depth, weight);
        }
        let background = self.background(ray.direction);
        match &self.scene.ground {
            Some(plane) if ground < f64::INFINITY => {
                let clear = (-ground / plane.fade_distance).exp();
                if clear * weight < MIN_WEIGHT {
                    return background;
                }
                let point = ray.origin + ray.direction * ground;
                let odd =
                    ((point.x / plane.square).floor() + (point.z / plane.square).floor()).rem_euclid(2.0);
                let material = &plane.checker[usize::from(odd >= 1.0)];
                let light = self.shade(ray, point, Vector::UP, material, depth, weight * clear);
                background.mix(light, clear)
            }
            _ => background,
        }
    }

    fn ground_distance(&self, ray: &Ray) -> f64 {
        let Some(plane) = &self.scene.ground else { return f64::INFINITY };
        let distance = (plane.height - ray.origin.y) / ray.direction.y;
        // A level ray divides by zero, and gives infinity or, from the plane itself, no number.
        if distance > 0.0 { distance } else { f64::INFINITY }
    }

    /// Lambert's diffuse light, Blinn's highlight ("Models of light reflection for computer synthesized pictures",
    /// 1977) with the exponent 2/a² - 2 for roughness a² = roughness⁴ (Karis, "Specular BRDF reference", 2013), and a
    /// reflection that grows towards grazing angles (Schlick, "An inexpensive BRDF model", 1994).
    fn shade(
        &self,
        ray: &Ray,
        point: Vector,
        normal: Vector,
        m: &Material,
        depth: u32,
        weight: f64,
    ) -> Vector {
        let normal = if normal.dot(ray.direction) > 0.0 { -normal } else { normal };
        let facing = -normal.dot(ray.direction);
        let start = point + normal * OFFSET;
        let diffuse = m.colour * (1.0 - m.reflectivity);
        let mut light = self.background(normal) * self.scene.background.ambient * diffuse;

        for lamp in &self.scene.lights {
            let to_lamp = lamp.position + ray.on_light * lamp.radius - start;
            let distance = to_lamp.length();
            let direction = to_lamp * (1.0 / distance);
            let slant = normal.dot(direction);
            if slant <= 0.0 || self.bounds.any(start, direction, distance) {
                continue;
            }
            light = light + diffuse * lamp.colour * slant;
            if m.specular > 0.0 {
                let half = (direction - ray.direction).unit();
                let roughness = m.roughness.max(0.05);
                let exponent = 2.0 / (roughness * roughness * roughness * roughness) - 2.0;
                light = light + lamp.colour * (m.specular * normal.dot(half).max(0.0).powf(exponent));
            }
        }

        // The part of a mirror in the material, tinted by its colour, and of the clear coat over it, which is not.
        let grazing = (1.0 - facing).powi(5) * (1.0 - m.roughness);
        let strength = m.reflectivity + (1.0 - m.reflectivity) * grazing;
        if m.reflectivity > 0.0 && strength * weight > MIN_WEIGHT {
            let direction = ray.direction + normal * (2.0 * facing);
            let seen = if depth == 0 {
                self.background(direction)
            } else {
                let bounce = Ray { origin: start, direction, on_light: ray.on_light };
                self.trace(&bounce, depth - 1, strength * weight)
            };
            let tint = Vector::new(1.0, 1.0, 1.0).mix(m.colour, m.reflectivity * (1.0 - grazing));
            light = light + seen * tint * strength;
        }
        light
    }

    /// The root makes the horizon a band and not half of the sky.
    #[inline(always)]
    fn background(&self, direction: Vector) -> Vector {
        let background = &self.scene.background;
        let far = if direction.y >= 0.0 { background.zenith } else { background.nadir };
        background.horizon.mix(far, direction.y.abs().sqrt())
    }
}

#[inline(always)]
fn cut(light: f64) -> f64 {
    if light > 1.0 { 1.0 } else { light }
}

/// Four numbers in 0..1 that look random and depend on the pixel only: SplitMix64's finaliser (Steele, Lea and Flood,
/// "Fast splittable pseudorandom number generators", 2014).
fn noise(x: u32, y: u32) -> [f64; 4] {
    let mut bits = (SEED ^ (u64::from(y) << 32 | u64::from(x))).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    [0, 16, 32, 48].map(|shift| f64::from((bits >> shift) as u16) / 65_536.0)
}

/// From the unit square to the unit sphere, equal areas to equal areas (Archimedes' cylinder).
fn on_unit_sphere(around: f64, above: f64) -> Vector {
    let y = 2.0 * above - 1.0;
    let (sin, cos) = (around * std::f64::consts::TAU).sin_cos();
    let ring = (1.0 - y * y).sqrt();
    Vector::new(ring * cos, y, ring * sin)
}
