//! Time per batch of the sample's versions and of boosters, over rotating real rows.
//!
//! `cargo bench -p forebay-model --bench predict`

#![expect(clippy::unwrap_used, reason = "a bench that cannot load its models must stop")]

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay_model::{LoadedVersion, Rows, load_folder, open};
use forebay_registry::{Registry, sample};

const BATCHES: [usize; 4] = [1, 16, 64, 256];

/// The diabetes rows, shuffled by a fixed stride and repeated, so that no batch repeats soon.
fn diabetes() -> Vec<f64> {
    let text = include_str!("../sample/diabetes.csv");
    let rows: Vec<Vec<f64>> =
        text.lines().skip(1).map(|l| l.split(',').take(10).map(|v| v.parse().unwrap()).collect()).collect();
    (0..4 * rows.len()).flat_map(|i| rows[i * 97 % rows.len()].clone()).collect()
}

fn bench_model(c: &mut Criterion, name: &str, loaded: &LoadedVersion, rows: &[f64]) {
    let width = loaded.model.signature().width();
    let total = rows.len() / width;
    let mut group = c.benchmark_group(name);
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        let mut at = 0;
        group.bench_function(BenchmarkId::from_parameter(batch), |b| {
            b.iter(|| {
                at = (at + batch) % (total - batch);
                let rows = Rows::new(width, &rows[at * width..(at + batch) * width]).unwrap();
                black_box(loaded.model.predict(rows).unwrap())
            });
        });
    }
    group.finish();
}

fn benches(c: &mut Criterion) {
    let rows = diabetes();
    let registry = Registry::open("sample").unwrap();
    let forest = registry.load(sample::MODEL, 1, open).unwrap();
    bench_model(c, "forest of 100 unlimited trees", &forest, &rows);
    let net = registry.load(sample::MODEL, 3, open).unwrap();
    bench_model(c, "net 10-64-64-1", &net, &rows);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    // raw units: the rows are stretched to the models' inputs, so that splits are exercised
    let raw: Vec<f64> = rows.iter().map(|v| v * 300.0 + 50.0).collect();
    let histogram = load_folder(&golden.join("mlflow/hist_gbr_missing.pickle")).unwrap();
    bench_model(c, "histogram boosting, 40 trees", &histogram, &raw);
    let boosting = load_folder(&golden.join("classes/gbr_depth_one")).unwrap();
    bench_model(c, "gradient boosting, 20 stumps", &boosting, &raw);
    c.bench_function("load the forest", |b| b.iter(|| registry.load(sample::MODEL, 1, open).unwrap()));
}

criterion_group!(all, benches);
criterion_main!(all);
