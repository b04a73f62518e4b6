//! One row: a mesh with topics of its own, the load, the fault, and the verdict.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::catalog::FaultRow;
use super::environment::FaultEnvironment;
use super::load::{ConstantLoad, LoadRates, LoadTargets, now_us};
use super::replicas::{READY, Replicas};
use super::topic_admin::TopicAdmin;
use super::verdict::{RowTimes, RowVerdict};
use crate::error::LoadtestError;
use crate::mesh_under_test::{MESH_TOPICS, MeshUnderTest, TopicReader, TopicRecord};

/// How a run is done, the same for every row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunOptions {
    pub(crate) seed: u64,
    /// How long the load lasts, at least.
    pub(crate) seconds: f64,
    /// Short sessions and shorter faults: what CI has time for.
    pub(crate) quick: bool,
    /// How long the ids of answered requests are remembered.
    pub(crate) window: u32,
}

/// What a fault's action works on.
#[derive(Debug)]
pub(crate) struct FaultRun<'r> {
    pub(crate) environment: &'r FaultEnvironment,
    pub(crate) options: RunOptions,
    pub(crate) mesh: &'r MeshUnderTest,
    pub(crate) replicas: &'r Replicas,
    pub(crate) load: &'r ConstantLoad,
    pub(crate) random: Mutex<StdRng>,
    /// Requests of the action itself that must be in the dead letters, each once.
    pub(crate) wanted_dead_letters: Mutex<u64>,
    /// What the action itself found wrong.
    pub(crate) complaints: Mutex<Vec<String>>,
    /// Results of a topic that the action deleted.
    pub(crate) earlier_results: Mutex<Vec<TopicRecord>>,
}

impl<'r> FaultRun<'r> {
    fn new(
        environment: &'r FaultEnvironment,
        options: RunOptions,
        mesh: &'r MeshUnderTest,
        replicas: &'r Replicas,
        load: &'r ConstantLoad,
    ) -> Self {
        let random = Mutex::new(StdRng::seed_from_u64(options.seed));
        let (wanted_dead_letters, complaints, earlier_results) = Default::default();
        Self { environment, options, mesh, replicas, load, random, wanted_dead_letters, complaints, earlier_results }
    }

    pub(crate) fn sleep(&self, seconds: f64) {
        std::thread::sleep(Duration::from_secs_f64(seconds));
    }

    /// How long a lost member keeps its partitions.
    pub(crate) fn session(&self) -> f64 {
        if self.options.quick { 6.0 } else { 10.0 }
    }

    pub(crate) fn admin(&self) -> Result<TopicAdmin, LoadtestError> {
        TopicAdmin::new(&self.environment.brokers)
    }

    pub(crate) fn complain(&self, what: impl Into<String>) {
        self.complaints.lock().push(what.into().chars().take(400).collect());
    }
}

/// What is known of a row that was run.
#[derive(Debug)]
pub(crate) struct RowEvidence {
    mesh: Arc<MeshUnderTest>,
    load: ConstantLoad,
    earlier_results: Vec<TopicRecord>,
    wanted_dead_letters: u64,
    times: RowTimes,
    pub(crate) complaints: Vec<String>,
    pub(crate) restarts: u64,
    pub(crate) largest_mib: f64,
    pub(crate) panics: usize,
}

/// Runs a row; its topics stay for [`RowEvidence::judge`].
pub(crate) fn run_row(
    row: &FaultRow,
    action: super::catalog::Action,
    environment: &FaultEnvironment,
    options: RunOptions,
) -> Result<RowEvidence, LoadtestError> {
    let mesh = make_mesh(row, environment, options)?;
    let mut replicas = Replicas::start(Arc::clone(&mesh))?;
    let mut load = start_load(&mesh, environment, &replicas, options)?;
    load.wait_for_answers(10, Duration::from_secs(30))?;
    std::thread::sleep(Duration::from_secs_f64((options.seconds / 6.0).clamp(2.0, 10.0)));

    let began = Instant::now();
    let mut times = RowTimes { fault_began_us: now_us(), ..RowTimes::default() };
    let run = FaultRun::new(environment, options, &mesh, &replicas, &load);
    let applied = action(&run);
    times.fault_ended_us = now_us();
    let FaultRun { wanted_dead_letters, complaints, earlier_results, .. } = run;
    let (mut complaints, wanted) = (complaints.into_inner(), wanted_dead_letters.into_inner());
    if let Err(error) = applied {
        complaints.push(format!("the fault could not be applied: {error}"));
    }
    environment.heal()?;
    let rest = Duration::from_secs_f64(options.seconds).saturating_sub(began.elapsed());
    std::thread::sleep(rest.max(Duration::from_secs(5)));
    let largest_mib = replicas.largest_mib();
    load.end();
    times.load_ended_us = now_us();
    // the deadline of the last request, and a session for the take-over of what had it
    load.wait_answered(Duration::from_secs(75));
    if let Err(error) = replicas.wait_ready(READY) {
        complaints.push(error.to_string());
    }
    // doubles come after the first answer
    std::thread::sleep(Duration::from_secs(3));
    let restarts = replicas.restarts();
    complaints.extend(replicas.stop_all());
    let broken = load.close();
    if broken > 0 {
        complaints.push(format!("{broken} threads of the load panicked"));
    }
    let panics = panics(&mesh);
    let earlier_results = earlier_results.into_inner();
    Ok(RowEvidence {
        mesh,
        load,
        earlier_results,
        wanted_dead_letters: wanted,
        times,
        complaints,
        restarts,
        largest_mib,
        panics,
    })
}

fn make_mesh(
    row: &FaultRow,
    environment: &FaultEnvironment,
    options: RunOptions,
) -> Result<Arc<MeshUnderTest>, LoadtestError> {
    let mut mesh = environment.mesh(&format!("fault{}", row.id));
    if options.quick {
        mesh.set("FOREBAY__KAFKA__SESSION_TIMEOUT", "6s");
    }
    mesh.set("FOREBAY__DELIVERY__DEDUPE_WINDOW", format!("{}s", options.window));
    for (name, value) in row.settings {
        mesh.set(name, *value);
    }
    mesh.create_topics()?;
    Ok(Arc::new(mesh))
}

fn start_load(
    mesh: &MeshUnderTest,
    environment: &FaultEnvironment,
    replicas: &Replicas,
    options: RunOptions,
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
    let rates = LoadRates { kafka: 80.0 * share, http: 20.0 * share, rabbitmq: 20.0 * share };
    ConstantLoad::start(targets, rates, options.seed)
}

/// How many times the logs of the mesh's processes say that a thread panicked.
fn panics(mesh: &MeshUnderTest) -> usize {
    let name = mesh.topic("");
    let name = name.trim_end_matches('.');
    let Ok(entries) = std::fs::read_dir(mesh.logs()) else { return 0 };
    let ours = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{name}-")));
    let panics =
        |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).matches("panicked at").count();
    ours.map(|entry| panics(entry.path())).sum()
}

impl RowEvidence {
    /// Reads all topics of the row, and judges.
    pub(crate) fn judge(&self, brokers: &str) -> Result<RowVerdict, LoadtestError> {
        let read =
            |topic: &str| TopicReader::from_start(brokers, &self.mesh.topic(topic))?.all(Duration::from_secs(60));
        let (results, dead_letters) = (read("results_out")?, read("dead_letters")?);
        let time = |record: &TopicRecord| u64::try_from(record.timestamp_ms).unwrap_or(0) * 1000;
        let answers: Vec<(&[u8], u64)> = self
            .earlier_results
            .iter()
            .chain(&results)
            .map(|record| (record.payload.as_slice(), time(record)))
            .collect();
        let mut verdict = RowVerdict { dead_letters: dead_letters.len() as u64, ..RowVerdict::default() };
        let (kafka, http, rabbitmq) = (&self.load.kafka, &self.load.http, &self.load.rabbitmq);
        verdict.take_entrance("kafka", kafka, &answers, &dead_letters);
        let answered = http.answers();
        let answers: Vec<(&[u8], u64)> = answered.iter().map(|it| (it.body.as_slice(), it.at_us)).collect();
        verdict.take_entrance("http", http, &answers, &[]);
        verdict.take_replies(rabbitmq, &dead_letters);
        verdict.take_times(&[kafka, http, rabbitmq], kafka, self.times);
        Ok(verdict)
    }

    /// How many dead letters the row should have.
    pub(crate) fn wanted_dead_letters(&self) -> u64 {
        self.wanted_dead_letters
    }

    /// Deletes the topics between the stages, which are read no more.
    pub(crate) fn forget_inner_topics(&self, brokers: &str) -> Result<(), LoadtestError> {
        let inner = MESH_TOPICS.iter().filter(|topic| !["results_out", "dead_letters"].contains(topic));
        let inner: Vec<String> = inner.map(|topic| self.mesh.topic(topic)).collect();
        TopicAdmin::new(brokers)?.delete(&inner.iter().map(String::as_str).collect::<Vec<_>>())
    }
}
