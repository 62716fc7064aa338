//! New simulations: a batch of tasks of so many particles each.

use axum::extract::Request;
use baton_create_task::create_each;
use baton_http::fastapi::Must;
use baton_http::{ApiError, BodyLimit};
use baton_model::limits;
use serde_json::{Map, Value, json};

use crate::ask::{Ask, Fields, Told, told};
use crate::kept::{HORIZON, Kept, PARTICLES, queue};

/// How many particles a test batch has.
const TEST_PARTICLES: u64 = 50;
/// How many hours a simulation may look ahead: an attempt may run for so long.
const LONGEST: f64 = 720.0;

/// The fields of a request that are no parameters of the simulation.
const OWN: &[&str] =
    &["name", "description", "particle_count", "particles_per_task", "priority", "parameters", "input_data"];

/// A simulation that is asked for.
struct Simulation {
    particles: u64,
    per_task: u64,
    kept: Kept,
}

impl Simulation {
    fn read(mut fields: Fields, id: String, otherwise: u64) -> Result<Self, baton_http::fastapi::Wrong> {
        let particles = fields.some("particle_count").unwrap_or(otherwise);
        let per_task = fields.some("particles_per_task").unwrap_or(PARTICLES);
        let priority = fields.whole("priority").unwrap_or(1);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let input_data = fields.maybe("input_data", Must::BeText, text).unwrap_or_default();
        let horizon = fields.amount("time_horizon");
        if horizon.is_some_and(|hours| hours <= 0.0 || hours > LONGEST) {
            fields.refuse("time_horizon", "above 0 and at most 720 hours");
        }
        if particles.div_ceil(per_task) > limits::BATCH_TASKS as u64 {
            fields.refuse("particle_count", "at most 1,000 tasks; have more particles_per_task");
        }
        let mut parameters: Map<String, Value> = fields.object("parameters").unwrap_or_default();
        // What else is said is of the simulation, too.
        parameters.extend(fields.others(OWN));
        parameters.entry("time_horizon").or_insert(json!(HORIZON));
        let kept = Kept { simulation_id: id, particle_count: per_task, parameters, input_data, priority };
        fields.none_or(Some(Self { particles, per_task, kept }))
    }

    /// Its tasks: the last one has the rest.
    fn tasks(&self) -> impl Iterator<Item = Kept> {
        let of = |task| self.per_task.min(self.particles - task * self.per_task);
        let tasks = 0..self.particles.div_ceil(self.per_task);
        tasks.map(move |task| Kept { particle_count: of(task), ..self.kept.clone() })
    }
}

async fn create(ask: &Ask<'_>, fields: Fields, otherwise: u64) -> Told {
    let id = ask.drift.app.ids.uuid().to_string();
    let simulation = Simulation::read(fields, id, otherwise)?;
    let tasks: Result<Vec<_>, ApiError> =
        simulation.tasks().map(|kept| kept.create(&ask.drift.app, None, Some(queue()))).collect();
    let mut created = Vec::new();
    for task in create_each(&ask.drift.app, ask.caller, tasks?).await? {
        created.push(task?.id);
    }
    told(&json!({
        "status": "created",
        "message": format!("Created {} tasks", created.len()),
        "batch_id": simulation.kept.simulation_id,
        "simulation_id": simulation.kept.simulation_id,
        "task_count": created.len(),
        "tasks_created": created.len(),
        "total_particles": simulation.particles,
        "particles_per_task": simulation.per_task,
        "task_ids": created,
        "timestamp": ask.now.isoformat(),
    }))
}

/// `POST /api/v1/simulations/batch` and `POST /api/v1/admin/batch/create`.
pub(crate) async fn batch(ask: &Ask<'_>, request: Request) -> Told {
    let fields = ask.fields(request, BodyLimit::Params).await?;
    create(ask, fields, PARTICLES).await
}

/// `POST /api/v1/simulations/test-batch`.
pub(crate) async fn test_batch(ask: &Ask<'_>, request: Request) -> Told {
    let fields = ask.fields_if_any(request).await?;
    create(ask, fields, TEST_PARTICLES).await
}
