//! One row: a mesh with topics of its own, the load, the fault, and the verdict.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::catalog::FaultRow;
use super::environment::FaultEnvironment;
use super::evidence::{RowEvidence, panics};
use super::load::{ConstantLoad, LoadRates, LoadTargets, now_us};
use super::replicas::{READY, Replicas};
use super::topic_admin::TopicAdmin;
use super::verdict::RowTimes;
use crate::error::LoadtestError;
use crate::mesh_under_test::{MeshUnderTest, TopicRecord};

/// How a run is done, the same for every row.
#[derive(Debug, Clone)]
pub(crate) struct RunOptions {
    pub(crate) seed: u64,
    /// How long the load lasts, at least.
    pub(crate) seconds: f64,
    /// Short sessions and shorter faults: what CI has time for.
    pub(crate) quick: bool,
    /// How long the ids of answered requests are remembered.
    pub(crate) window: u32,
    /// Binaries of the previous release, if there are some.
    pub(crate) previous: Option<PathBuf>,
}

impl RunOptions {
    /// The session of a group's members, in seconds.
    pub(crate) fn session(&self) -> f64 {
        if self.quick { 6.0 } else { 10.0 }
    }
}

/// What a fault's action works on.
#[derive(Debug)]
pub(crate) struct FaultRun<'r> {
    pub(crate) environment: &'r FaultEnvironment,
    pub(crate) options: &'r RunOptions,
    pub(crate) mesh: &'r MeshUnderTest,
    pub(crate) replicas: &'r Replicas,
    pub(crate) load: &'r ConstantLoad,
    pub(crate) random: Mutex<StdRng>,
    /// Requests of the action itself that must be in the dead letters, each once.
    pub(crate) wanted_dead_letters: Mutex<u64>,
    /// What the action itself found wrong.
    pub(crate) complaints: Mutex<Vec<String>>,
    /// What it measured.
    pub(crate) notes: Mutex<Vec<String>>,
    /// Results of a topic that the action deleted.
    pub(crate) earlier_results: Mutex<Vec<TopicRecord>>,
}

impl<'r> FaultRun<'r> {
    fn new(
        environment: &'r FaultEnvironment,
        options: &'r RunOptions,
        mesh: &'r MeshUnderTest,
        replicas: &'r Replicas,
        load: &'r ConstantLoad,
    ) -> Self {
        let random = Mutex::new(StdRng::seed_from_u64(options.seed));
        let (wanted_dead_letters, complaints, notes, earlier_results) = Default::default();
        Self {
            environment,
            options,
            mesh,
            replicas,
            load,
            random,
            wanted_dead_letters,
            complaints,
            notes,
            earlier_results,
        }
    }

    pub(crate) fn sleep(&self, seconds: f64) {
        std::thread::sleep(Duration::from_secs_f64(seconds));
    }

    /// How long a lost member keeps its partitions.
    pub(crate) fn session(&self) -> f64 {
        self.options.session()
    }

    pub(crate) fn admin(&self) -> Result<TopicAdmin, LoadtestError> {
        TopicAdmin::new(&self.environment.brokers)
    }

    pub(crate) fn complain(&self, what: impl Into<String>) {
        self.complaints.lock().push(what.into().chars().take(400).collect());
    }

    pub(crate) fn note(&self, what: impl Into<String>) {
        self.notes.lock().push(what.into());
    }
}

/// Runs a row; its topics stay for [`RowEvidence::judge`].
pub(crate) fn run_row(
    row: &FaultRow,
    environment: &FaultEnvironment,
    options: &RunOptions,
) -> Result<RowEvidence, LoadtestError> {
    let mesh = make_mesh(row, environment, options)?;
    let mut replicas = Replicas::start(Arc::clone(&mesh), row.named)?;
    let mut watch = replicas.watch();
    let mut load = start_load(row, &mesh, environment, &replicas, options)?;
    load.wait_for_answers(10, Duration::from_secs(30))?;
    std::thread::sleep(Duration::from_secs_f64((options.seconds / 6.0).clamp(2.0, 10.0)));

    let began = Instant::now();
    let mut times = RowTimes { fault_began_us: now_us(), ..RowTimes::default() };
    let run = FaultRun::new(environment, options, &mesh, &replicas, &load);
    let applied = (row.action)(&run);
    times.fault_ended_us = now_us();
    let FaultRun { wanted_dead_letters, complaints, notes, earlier_results, .. } = run;
    let (mut complaints, wanted) = (complaints.into_inner(), wanted_dead_letters.into_inner());
    if let Err(error) = applied {
        complaints.push(format!("the fault could not be applied: {error}"));
    }
    environment.heal()?;
    let rest = Duration::from_secs_f64(options.seconds).saturating_sub(began.elapsed());
    std::thread::sleep(rest.max(Duration::from_secs(5)));
    load.end();
    times.load_ended_us = now_us();
    // the deadline of the last request, and a session for the take-over of what had it
    load.wait_answered(Duration::from_secs(75));
    if let Err(error) = replicas.wait_ready(READY) {
        complaints.push(error.to_string());
    }
    // doubles come after the first answer
    std::thread::sleep(Duration::from_secs(3));
    let (restarts, usage) = (replicas.restarts(), watch.end());
    complaints.extend(replicas.stop_all());
    let broken = load.close();
    if broken > 0 {
        complaints.push(format!("{broken} threads of the load panicked"));
    }
    let panics = panics(&mesh);
    let earlier_results = earlier_results.into_inner();
    Ok(RowEvidence {
        brokers: environment.brokers.clone(),
        rabbit_url: environment.rabbit_url.clone(),
        mesh,
        load,
        earlier_results,
        wanted_dead_letters: wanted,
        times,
        complaints,
        notes: notes.into_inner(),
        restarts,
        usage,
        panics,
    })
}

fn make_mesh(
    row: &FaultRow,
    environment: &FaultEnvironment,
    options: &RunOptions,
) -> Result<Arc<MeshUnderTest>, LoadtestError> {
    let mut mesh = environment.mesh(&format!("fault{}", row.id), row.proxied);
    if options.quick {
        mesh.set("FOREBAY__KAFKA__SESSION_TIMEOUT", "6s");
    }
    mesh.set("FOREBAY__DELIVERY__DEDUPE_WINDOW", format!("{}s", options.window));
    for (name, value) in row.settings {
        mesh.set(name, *value);
    }
    if let Some(prepare) = row.prepare {
        prepare(environment, &mut mesh)?;
    }
    mesh.create_topics()?;
    Ok(Arc::new(mesh))
}

fn start_load(
    row: &FaultRow,
    mesh: &MeshUnderTest,
    environment: &FaultEnvironment,
    replicas: &Replicas,
    options: &RunOptions,
) -> Result<ConstantLoad, LoadtestError> {
    let targets = LoadTargets {
        brokers: environment.brokers.clone(),
        requests_in: mesh.topic("requests_in"),
        results_out: mesh.topic("results_out"),
        http: replicas.addresses(),
        rabbit_url: environment.rabbit_url.clone(),
        rabbit_queue: mesh.topic("queue"),
    };
    let share = if options.quick { 0.5 } else { 1.0 };
    let usual = LoadRates { kafka: 80.0 * share, http: 20.0 * share, rabbitmq: 20.0 * share };
    ConstantLoad::start(targets, row.rates.unwrap_or(usual), options.seed)
}
