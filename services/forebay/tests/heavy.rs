//! Models of hundreds of MB: what loading them takes at its peak, and what is left of it afterwards.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// Memory of the program without a model, in bytes.
const PROGRAM: u64 = 64 << 20;

/// Writes pickles of protocol 5, as scikit-learn's estimators are written.
#[derive(Default)]
struct Pickle(Vec<u8>);

impl Pickle {
    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn global(&mut self, module: &str, name: &str) -> &mut Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.raw(&[0x8c, text.len() as u8]).raw(text.as_bytes())
    }

    fn int(&mut self, value: usize) -> &mut Self {
        self.raw(b"J").raw(&(value as u32).to_le_bytes())
    }

    /// A matrix of doubles whose element `i` is `value(i)`.
    fn matrix(&mut self, shape: [usize; 2], value: impl Fn(usize) -> f64) -> &mut Self {
        let count = shape[0] * shape[1];
        self.global("numpy._core.numeric", "_frombuffer").raw(b"(\x8e").raw(&(8 * count as u64).to_le_bytes());
        (0..count).for_each(|index| self.0.extend_from_slice(&value(index).to_le_bytes()));
        // numpy.dtype("f8", False, True) with the state of a little-endian type
        self.global("numpy", "dtype").text("f8").raw(b"\x89\x88\x87R(").int(3).text("<").raw(b"NNN");
        self.raw(b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb");
        self.int(shape[0]).int(shape[1]).raw(b"\x86").text("C").raw(b"tR")
    }
}

fn estimator(module: &str, name: &str, state: impl FnOnce(&mut Pickle)) -> Vec<u8> {
    let mut pickle = Pickle::default();
    pickle.raw(b"\x80\x05").global(module, name).raw(b")\x81}(");
    state(&mut pickle);
    pickle.raw(b"ub.");
    pickle.0
}

/// Stops the program if the test ends early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn memory(process: u32, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field)).context("no such field")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse::<u64>()? * 1024)
}

/// A multiple of the file's size, without the program itself.
fn multiple(bytes: u64, file: &Path) -> Result<f64> {
    Ok(bytes.saturating_sub(PROGRAM) as f64 / std::fs::metadata(file)?.len() as f64)
}

/// The highest memory of a process that scores one row of `width` values.
fn peak(file: &Path, width: usize) -> Result<f64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(["score", "--threads", "1", "--model"]).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut scoring = Running(command.stderr(Stdio::null()).spawn()?);
    let mut input = scoring.0.stdin.take().context("stdin")?;
    writeln!(input, "{:?}", vec![0.5; width])?;
    input.flush()?;
    let mut line = String::new();
    BufReader::new(scoring.0.stdout.take().context("stdout")?).read_line(&mut line)?;
    ensure!(line.starts_with("{\"prediction\":"), "{line:?}");
    multiple(memory(scoring.0.id(), "VmHWM")?, file)
}

/// The memory of a mesh that serves the file, once it is `enough` for three seconds, or after a minute. A read of the registry returns what
/// loading took.
fn rest(file: &Path, enough: f64) -> Result<f64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(["up", "--set", "models.refresh=1s", "--model"]).arg(file).stdin(Stdio::null()).stdout(Stdio::null());
    for address in ["http.listen", "admin.listen", "grpc.listen"] {
        command.args(["--set", &format!("{address}=127.0.0.1:0")]);
    }
    let serving = Running(command.stderr(Stdio::null()).spawn()?);
    let (process, until, mut calm) = (serving.0.id(), Instant::now() + Duration::from_secs(60), 0);
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = multiple(memory(process, "VmRSS")?, file)?;
        // the file itself was in memory, and neither the banner nor the loader reads it any more
        let loaded = multiple(memory(process, "VmHWM")?, file)? > 0.9;
        calm = if loaded && now <= enough { calm + 1 } else { 0 };
        if calm > 15 || Instant::now() > until {
            return Ok(now);
        }
    }
}

#[test]
fn loading_takes_two_and_a_half_times_the_file_at_most_and_little_is_left() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let neighbours = estimator("sklearn.neighbors._regression", "KNeighborsRegressor", |state| {
        state.text("n_features_in_").int(50).text("n_neighbors").int(5).text("weights").text("uniform");
        state.text("effective_metric_").text("euclidean").text("effective_metric_params_").raw(b"}");
        state.text("_fit_X").matrix([400_000, 50], |index| (index % 977) as f64);
        state.text("_y").matrix([400_000, 1], |index| index as f64);
    });
    let process = estimator("sklearn.gaussian_process._gpr", "GaussianProcessRegressor", |state| {
        state.text("n_features_in_").int(4).text("X_train_").matrix([4_000, 4], |index| (index % 977) as f64);
        state.text("alpha_").matrix([4_000, 1], |index| index as f64);
        state.text("_y_train_mean").matrix([1, 1], |_| 0.0).text("_y_train_std").matrix([1, 1], |_| 1.0);
        // what predictions without their deviations do not need
        state.text("L_").matrix([4_000, 4_000], |index| index as f64);
        state.text("kernel_").global("sklearn.gaussian_process.kernels", "RBF").raw(b")\x81}(");
        state.text("length_scale").matrix([1, 1], |_| 1.0).raw(b"ub");
    });
    for (name, bytes, width, enough) in [("neighbours", neighbours, 50, 1.3), ("process", process, 4, 0.3)] {
        let file = folder.path().join(format!("{name}.pkl"));
        std::fs::write(&file, &bytes)?;
        drop(bytes);
        let (peak, left) = (peak(&file, width)?, rest(&file, enough)?);
        println!("{name}: {peak:.2} times the file at the peak, {left:.2} afterwards");
        ensure!(peak <= 2.5 && left <= enough, "{name}: {peak:.2} times the file at the peak, {left:.2} afterwards");
    }
    Ok(())
}
