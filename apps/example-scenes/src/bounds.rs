//! Which sphere a ray meets, without asking each: a tree of bounding spheres.
//!
//! A leaf is a sphere of the scene, an inner node a sphere round all below it, so one test serves both. Nodes lie in
//! depth-first order and each knows where its subtree ends: a ray that misses a node goes on there, with no stack.

use crate::scene::Sphere;
use crate::vector::Vector;

#[derive(Debug)]
pub(crate) struct Bounds {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    centre: Vector,
    radius_squared: f64,
    /// Index of the first node that is not below this one.
    end: usize,
    /// Index in the scene's spheres, for a leaf.
    sphere: Option<usize>,
}

impl Bounds {
    pub(crate) fn new(spheres: &[Sphere]) -> Self {
        let mut bounds = Self { nodes: Vec::with_capacity(spheres.len() * 2) };
        let mut order: Vec<usize> = (0..spheres.len()).collect();
        if !order.is_empty() {
            bounds.add(spheres, &mut order);
        }
        bounds
    }

    /// Adds a subtree over `order`, which is not empty, halving it across the axis along which it is longest.
    fn add(&mut self, spheres: &[Sphere], order: &mut [usize]) {
        if let [sphere] = *order {
            let Sphere { centre, radius, .. } = spheres[sphere];
            let end = self.nodes.len() + 1;
            self.nodes.push(Node { centre, radius_squared: radius * radius, end, sphere: Some(sphere) });
            return;
        }
        let extent = |axis: fn(Vector) -> f64| {
            let places = order.iter().map(|&index| axis(spheres[index].centre));
            places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(at), high.max(at)))
        };
        let axes: [fn(Vector) -> f64; 3] = [|v| v.x, |v| v.y, |v| v.z];
        let [x, y, z] = axes.map(extent);
        let centre = Vector::new((x.0 + x.1) / 2.0, (y.0 + y.1) / 2.0, (z.0 + z.1) / 2.0);
        let reach = |&index: &usize| (spheres[index].centre - centre).length() + spheres[index].radius;
        let radius = order.iter().map(reach).fold(0.0, f64::max);
        let (dx, dy, dz) = (x.1 - x.0, y.1 - y.0, z.1 - z.0);
        let axis = if dx >= dy && dx >= dz {
            axes[0]
        } else if dy >= dz {
            axes[1]
        } else {
            axes[2]
        };
        order.sort_by(|&a, &b| axis(spheres[a].centre).total_cmp(&axis(spheres[b].centre)));

        let node = self.nodes.len();
        self.nodes.push(Node { centre, radius_squared: radius * radius, end: node, sphere: None });
        let (low, high) = order.split_at_mut(order.len() / 2);
        self.add(spheres, low);
        self.add(spheres, high);
        self.nodes[node].end = self.nodes.len();
    }

    /// The nearest sphere that the ray meets before `limit`, and the distance to it. `direction` has length 1.
    pub(crate) fn nearest(&self, origin: Vector, direction: Vector, limit: f64) -> Option<(f64, usize)> {
        let mut found = None;
        let mut limit = limit;
        self.visit(origin, direction, limit, |distance, sphere| {
            if distance < limit {
                limit = distance;
                found = Some((distance, sphere));
            }
            limit
        });
        found
    }

    /// Whether any sphere lies on the ray before `limit`. `direction` has length 1.
    pub(crate) fn any(&self, origin: Vector, direction: Vector, limit: f64) -> bool {
        let mut found = false;
        self.visit(origin, direction, limit, |distance, _| {
            found |= distance < limit;
            if found { f64::NEG_INFINITY } else { limit }
        });
        found
    }

    /// Calls `meet` with the distance to each sphere on the ray that may lie before `limit`; it answers with the new
    /// limit, a negative one to end the search.
    ///
    /// The quadratic equation of ray and sphere is solved in plain numbers: an unoptimised build spends most of its
    /// time here.
    #[inline(always)]
    fn visit(
        &self,
        origin: Vector,
        direction: Vector,
        mut limit: f64,
        mut meet: impl FnMut(f64, usize) -> f64,
    ) {
        let mut index = 0;
        while index < self.nodes.len() {
            let node = &self.nodes[index];
            let x = node.centre.x - origin.x;
            let y = node.centre.y - origin.y;
            let z = node.centre.z - origin.z;
            let along = x * direction.x + y * direction.y + z * direction.z;
            let outside = x * x + y * y + z * z - node.radius_squared;
            let half_squared = along * along - outside;
            if half_squared < 0.0 || (along <= 0.0 && outside > 0.0) {
                index = node.end;
                continue;
            }
            let half = half_squared.sqrt();
            if outside > 0.0 && along - half >= limit {
                index = node.end;
                continue;
            }
            if let Some(sphere) = node.sphere {
                limit = meet(if outside > 0.0 { along - half } else { along + half }, sphere);
                if limit < 0.0 {
                    return;
                }
            }
            index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Material;

    fn spheres(count: u32) -> Vec<Sphere> {
        let material = Material { colour: Vector::ZERO, reflectivity: 0.0, roughness: 1.0, specular: 0.0 };
        let place = |n: u32| {
            let n = f64::from(n);
            Vector::new((n * 0.618).fract() * 20.0, (n * 0.755).fract() * 5.0, (n * 0.57).fract() * 20.0)
        };
        (0..count)
            .map(|n| Sphere { centre: place(n), radius: 0.2 + 0.1 * f64::from(n % 7), material })
            .collect()
    }

    /// Distance to one sphere by the textbook's quadratic formula.
    fn distance(sphere: &Sphere, origin: Vector, direction: Vector) -> Option<f64> {
        let to_origin = origin - sphere.centre;
        let b = 2.0 * direction.dot(to_origin);
        let c = to_origin.dot(to_origin) - sphere.radius * sphere.radius;
        let root = (b * b - 4.0 * c).sqrt();
        [(-b - root) / 2.0, (-b + root) / 2.0].into_iter().find(|t| *t > 0.0)
    }

    #[test]
    fn the_tree_finds_what_asking_each_sphere_finds() {
        for count in [0, 1, 2, 3, 40, 500] {
            let spheres = spheres(count);
            let bounds = Bounds::new(&spheres);
            for ray in 0..400 {
                let n = f64::from(ray);
                let origin = Vector::new(n * 0.05, (n * 0.7).sin() * 8.0, -6.0 + n * 0.06);
                let direction = Vector::new((n * 1.3).sin(), (n * 2.1).cos() * 0.4, (n * 0.9).cos()).unit();
                let each =
                    spheres.iter().filter_map(|s| distance(s, origin, direction)).min_by(f64::total_cmp);
                let found = bounds.nearest(origin, direction, f64::INFINITY).map(|(distance, _)| distance);
                match (each, found) {
                    (Some(each), Some(found)) => assert!((each - found).abs() < 1e-9, "{each} {found}"),
                    (each, found) => assert_eq!(each, found),
                }
                for limit in [0.5, 3.0, 12.0] {
                    let before = each.filter(|each| *each < limit);
                    assert_eq!(bounds.any(origin, direction, limit), before.is_some());
                    assert_eq!(bounds.nearest(origin, direction, limit).is_some(), before.is_some());
                }
            }
        }
    }
}
