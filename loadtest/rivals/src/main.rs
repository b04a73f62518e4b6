//! Forebay's models beside onnxruntime: one process, one thread each, in turns, the same rows. Prints JSON lines, one a
//! measurement.
//!
//! `loadtest/suites/models.sh` runs it together with the rest and makes a page of it.

mod engine;
mod sampler;

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use forebay_model::load_file;
use forebay_registry::{Registry, sample};
use ort::environment::Environment;
use serde_json::json;

use engine::{Data, Engine, Forebay, Onnx, session};
use sampler::{median, thread_ns};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Times Forebay's models and onnxruntime's sessions in turns.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder made by make_models.py
    models: PathBuf,
    /// Shared library of onnxruntime
    #[arg(long)]
    library: PathBuf,
    /// Turns of each engine
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Milliseconds of a turn
    #[arg(long, default_value_t = 15)]
    turn_ms: u64,
    /// Only these models
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

const BATCHES: [usize; 4] = [1, 16, 64, 256];

/// Models, and the files Forebay reads them from. `sample` is the embedded burn net of the same shape.
const CASES: [(&str, &[&str]); 6] = [
    ("rf", &["rf.skops", "rf.onnx"]),
    ("rf6", &["rf6.skops", "rf6.onnx"]),
    ("gb", &["gb.skops", "gb.onnx"]),
    ("hgb", &["hgb.skops", "hgb.onnx"]),
    ("mlp", &["mlp.skops", "mlp.onnx", "sample"]),
    ("linear", &["linear.skops", "linear.onnx"]),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let environment = ort::init_from(&arguments.library)?.build()?;
    let data = Data::read(&arguments.models.join("rows.f64"))?;
    let cases =
        CASES.iter().filter(|(model, _)| arguments.only.is_empty() || arguments.only.iter().any(|it| it == model));
    for (model, files) in cases {
        arguments.compare(model, files, &environment, &data)?;
    }
    if arguments.only.is_empty() {
        arguments.load(&environment)?;
    }
    Ok(())
}

impl Arguments {
    /// One model at every batch size; onnxruntime is the last engine.
    fn compare(&self, model: &str, files: &[&str], environment: &Environment, data: &Data) -> Result<()> {
        let mut engines: Vec<Box<dyn Engine>> = Vec::new();
        for &file in files {
            let loaded = match file {
                "sample" => Registry::open("sample")?.load(sample::MODEL, 3, forebay_model::open)?,
                file => load_file(&self.models.join(file)).with_context(|| file.to_owned())?,
            };
            engines.push(Box::new(Forebay::new(file, loaded)));
        }
        engines.push(Box::new(Onnx::new(environment, &self.models.join(format!("{model}.onnx")))?));
        agree(&mut engines, data)?;
        for batch in BATCHES {
            let rounds = sampler::turns(&mut engines, data, batch, (self.rounds, Duration::from_millis(self.turn_ms)))?;
            let rival = rounds.last().context("an engine")?;
            for (engine, times) in engines.iter().zip(&rounds) {
                let measured = json!({
                    "engine": engine.name(), "model": model, "file": engine.file(), "batch": batch,
                    "us": median(times.iter().copied()) / 1e3,
                    "least_us": times.iter().copied().fold(f64::INFINITY, f64::min) / 1e3,
                    "times_faster": median(rival.iter().zip(times).map(|(rival, own)| rival / own)),
                });
                println!("{measured}");
            }
        }
        Ok(())
    }

    /// Reading the largest forest.
    fn load(&self, environment: &Environment) -> Result<()> {
        let [skops, pickle, onnx] = ["rf.skops", "rf.pkl", "rf.onnx"].map(|file| self.models.join(file));
        let own = |path: &PathBuf| {
            let began = thread_ns();
            black_box(load_file(path)?);
            anyhow::Ok(thread_ns() - began)
        };
        let rival = || {
            let began = thread_ns();
            black_box(session(environment, &onnx)?);
            anyhow::Ok(thread_ns() - began)
        };
        let mut times = vec![Vec::new(); 4];
        for _ in 0..self.rounds {
            for (times, took) in times.iter_mut().zip([own(&skops)?, own(&pickle)?, own(&onnx)?, rival()?]) {
                times.push(took / 1e3);
            }
        }
        let who = [("forebay", "rf.skops"), ("forebay", "rf.pkl"), ("forebay", "rf.onnx"), ("onnxruntime", "rf.onnx")];
        for ((engine, file), times) in who.into_iter().zip(times) {
            let bytes = std::fs::metadata(self.models.join(file))?.len();
            let (us, least) = (median(times.iter().copied()), times.into_iter().fold(f64::INFINITY, f64::min));
            println!(
                "{}",
                json!({ "engine": engine, "model": "rf", "load": file, "bytes": bytes, "us": us, "least_us": least })
            );
        }
        Ok(())
    }
}

/// Engines that answer different things need no stop-watch. The embedded net is another net.
fn agree(engines: &mut [Box<dyn Engine>], data: &Data) -> Result<()> {
    for at in 0..50 {
        let answers =
            engines.iter_mut().filter(|engine| engine.file() != "sample").map(|engine| engine.run(data, at, 3));
        let answers = answers.collect::<Result<Vec<f64>>>()?;
        let close = |answer: &f64| (answer - answers[0]).abs() <= 1e-4 * (1.0 + answers[0].abs());
        ensure!(answers.iter().all(close), "{} answers {answers:?}", engines[0].file());
    }
    Ok(())
}
