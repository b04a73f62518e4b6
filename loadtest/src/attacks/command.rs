//! `attacks`: the command line, and the order of things.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::attack_run::AttackRun;
use super::attacked_mesh::{AttackedMesh, MeshForm};
use super::catalog::{ATTACKS, Attack};
use super::normal_http::NormalHttp;
use super::normal_load::NormalLoad;
use super::outcome::{AttackOutcome, HEAD, ProcessPeak};
use crate::error::LoadtestError;
use crate::faults::environment::{BrokerKind, FaultEnvironment, binaries_folder};

/// Attacks a running mesh under the memory limits of its manifests, with normal traffic beside: hostile model files, callers,
/// connections, records, messages and issuers.
#[derive(Debug, Args)]
#[command(after_help = "\
Each attack meets a mesh that runs: `forebay up` with keys, tokens and a folder registry, the same behind TLS, or the five services over
Kafka, Redis and RabbitMQ of their own. A control group holds each process to the limit of its manifest where the machine permits that;
its peak of resident memory is compared with the limit everywhere. Normal requests are repeated while they are refused for a reason that
passes, and compared with scikit-learn's own predictions.

Exit code 1 if a normal request was not answered, a process ended or passed its limit, or an attack was answered as it must not be.
Start it from the root of the repository.")]
pub struct AttacksArgs {
    /// Only attacks whose name or group contains this; may be given several times, or with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// What there is, and nothing more
    #[arg(long)]
    list: bool,
    /// How long each attack lasts, at most
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Share of each attack's threads and connections, 0 to 1: binaries without optimisation take ten times as long
    #[arg(long, default_value_t = 1.0)]
    share: f64,
    /// The script that starts the services
    #[arg(long, env = "REAL_NATIVE", default_value = "compose/native.sh", value_name = "FILE")]
    native: PathBuf,
    /// Folder of the mesh's binaries; the one of this program if absent
    #[arg(long, env = "FOREBAY_BIN_DIR", value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// Keep all logs in this folder
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

impl AttacksArgs {
    /// Runs the attacks; `true` when all of them failed to harm anyone.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        let chosen = self.chosen()?;
        if self.list {
            chosen.iter().for_each(|attack| println!("{:24} {:12} {}", attack.name, attack.group, attack.form.name()));
            return Ok(true);
        }
        let temporary = || std::env::temp_dir().join(format!("forebay-attacks-{}", std::process::id()));
        let folder = self.keep.clone().unwrap_or_else(temporary);
        std::fs::create_dir_all(folder.join("logs")).map_err(LoadtestError::file(&folder))?;
        let folder = std::path::absolute(&folder).map_err(LoadtestError::file(&folder))?;
        let mut outcomes = Vec::new();
        let mut ran = Ok(());
        for form in MeshForm::ALL {
            let attacks: Vec<&Attack> = chosen.iter().filter(|attack| attack.form == form).copied().collect();
            if !attacks.is_empty() && ran.is_ok() {
                ran = self.attack_form(form, &attacks, &folder, &mut outcomes);
            }
        }
        if self.keep.is_none() {
            let _ = std::fs::remove_dir_all(&folder);
        }
        println!("{HEAD}");
        outcomes.iter().for_each(|outcome| println!("{}", outcome.line()));
        println!();
        outcomes.iter().for_each(|outcome| print!("{}", outcome.details()));
        ran.map(|()| outcomes.iter().all(|outcome| outcome.failures().is_empty()))
    }

    fn chosen(&self) -> Result<Vec<&'static Attack>, LoadtestError> {
        let matches = |attack: &Attack, word: &str| attack.name.contains(word) || attack.group == word;
        for word in &self.only {
            if !ATTACKS.iter().any(|attack| matches(attack, word)) {
                return Err(LoadtestError::Input(format!("there is no attack {word}; see --list")));
            }
        }
        let wanted = |attack: &&Attack| self.only.is_empty() || self.only.iter().any(|word| matches(attack, word));
        Ok(ATTACKS.iter().filter(wanted).collect())
    }

    /// Runs the attacks on one form of the mesh, which is started again if one of them ends it.
    fn attack_form(
        &self,
        form: MeshForm,
        attacks: &[&'static Attack],
        folder: &Path,
        outcomes: &mut Vec<AttackOutcome>,
    ) -> Result<(), LoadtestError> {
        let binaries = binaries_folder(self.binaries.as_deref())?;
        let environment = match form {
            MeshForm::Services => {
                let kept = self.keep.is_some().then(|| folder.join("services"));
                Some(FaultEnvironment::start(&self.native, binaries.clone(), kept.as_deref(), BrokerKind::Single)?)
            }
            MeshForm::Up | MeshForm::UpTls => None,
        };
        let start = || match &environment {
            Some(environment) => AttackedMesh::start_services(environment),
            None => AttackedMesh::start_up(&binaries, folder, form == MeshForm::UpTls),
        };
        let mut mesh = start()?;
        if !mesh.processes.iter().all(super::attacked_process::AttackedProcess::is_limited) {
            eprintln!("no control groups here: memory is measured, and not limited");
        }
        for (number, attack) in attacks.iter().enumerate() {
            eprintln!("--- {} ({})", attack.name, form.name());
            let outcome = self.attack(attack, &mut mesh, environment.as_ref(), number)?;
            eprintln!("{}\n{}", outcome.line(), outcome.details());
            outcomes.push(outcome);
            if mesh.ended().is_empty() {
                mesh.wait_until_calm();
            } else {
                mesh = start()?;
            }
        }
        Ok(())
    }

    fn attack(
        &self,
        attack: &Attack,
        mesh: &mut AttackedMesh,
        environment: Option<&FaultEnvironment>,
        number: usize,
    ) -> Result<AttackOutcome, LoadtestError> {
        let normal = match environment {
            Some(environment) => {
                Normal::All(NormalLoad::start(mesh.targets(environment), number as u64 + 1)?, environment)
            }
            // rows that no attack before this one has put into the cache
            None => Normal::Http(NormalHttp::start(mesh.normal_caller(), number * 997)?),
        };
        mesh.processes.iter().for_each(super::attacked_process::AttackedProcess::forget_peak);
        let run = AttackRun::new(mesh, environment, self.seconds, self.share);
        let sent = (attack.action)(&run);
        // what was sent last is still being worked on
        std::thread::sleep(Duration::from_secs(1));
        let AttackRun { answers, complaints, .. } = run;
        let mut complaints = complaints.into_inner();
        let sent = sent.unwrap_or_else(|error| {
            complaints.push(format!("could not be run: {error}"));
            "-".to_owned()
        });
        let normal = match normal {
            Normal::All(load, environment) => load.finish(environment, &mesh.mesh)?,
            Normal::Http(traffic) => traffic.finish(),
        };
        let peaks = mesh.processes.iter().map(|process| ProcessPeak {
            name: process.name().to_owned(),
            peak: process.peak().unwrap_or(0),
            limit: process.limit,
        });
        let peaks = peaks.collect();
        complaints.extend(mesh.ended());
        let (name, form, answers) = (attack.name, attack.form.name(), answers.to_string());
        Ok(AttackOutcome { name, form, sent, answers, peaks, normal, complaints })
    }
}

/// Normal traffic of either kind.
enum Normal<'e> {
    Http(NormalHttp),
    All(NormalLoad, &'e FaultEnvironment),
}
