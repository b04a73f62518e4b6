//! Types, bounds and damage; what pandas and pyarrow write is in `tests/score_columns.rs`.

use std::path::Path;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, NullArray,
    StringArray, TimestampSecondArray, UInt64Array,
};
use arrow_ipc::writer::StreamWriter;
use forebay_contract::Value;
use forebay_model::{Column, ColumnKind};
use parquet::arrow::ArrowWriter;

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true))).unwrap()
}

fn stream(batch: &RecordBatch) -> RowSource {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    let mut source = RowSource::new(Box::new(std::io::Cursor::new(bytes)), None);
    source.begin(8).unwrap();
    source
}

fn features(names: &[&str]) -> Vec<Column> {
    let column = |name: &&str| Column { name: (*name).to_owned(), kind: ColumnKind::Text, optional: true };
    names.iter().map(column).collect()
}

/// All rows of `file` for a model with the columns `names`.
fn rows(mut file: ColumnFile, names: &[&str], batch: usize) -> Result<Vec<Vec<Value>>, String> {
    let columns = Columns::find(&file.header(), &features(names))?;
    file.select(&columns, batch)?;
    let mut rows = Vec::new();
    while let Some(batch) = file.next(batch)? {
        assert_eq!(batch.numbers().next(), Some(rows.len() as u64 + 1));
        rows.extend((0..batch.len()).map(|index| batch.values(index)));
    }
    Ok(rows)
}

#[test]
fn a_value_is_what_it_would_be_in_json() {
    let mut categories = StringDictionaryBuilder::<Int8Type>::new();
    categories.append_value("Łódź");
    categories.append_null();
    categories.append_value("");
    let table = batch(vec![
        ("category", Arc::new(categories.finish())),
        ("float", Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(-0.5), None]))),
        ("integer", Arc::new(Int64Array::from(vec![Some(9_007_199_254_740_993), None, Some(-1)]))),
        ("large", Arc::new(UInt64Array::from(vec![u64::MAX, 1, 2]))),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("nothing", Arc::new(NullArray::new(3))),
        ("__index_level_0__", Arc::new(Int64Array::from(vec![1, 2, 3]))),
    ]);
    let file = ColumnFile::open("-", Format::Arrow, stream(&table)).unwrap();
    assert_eq!(file.header(), ["category", "float", "integer", "large", "flag", "nothing"]);
    let got = rows(file, &["large", "category", "float", "integer", "absent", "flag", "nothing"], 2).unwrap();
    let missing = Value::MISSING;
    let large = Value::float(18_446_744_073_709_551_615.0);
    let first = Value::integer(9_007_199_254_740_993);
    let expected = [
        [large, Value::text("Łódź"), missing.clone(), first, missing.clone(), Value::boolean(true), missing.clone()],
        [
            1.into_value(),
            missing.clone(),
            Value::float(-0.5),
            missing.clone(),
            missing.clone(),
            missing.clone(),
            missing.clone(),
        ],
        [
            2.into_value(),
            Value::text(""),
            missing.clone(),
            (-1).into_value(),
            missing.clone(),
            Value::boolean(false),
            missing,
        ],
    ];
    assert_eq!(got, expected);
}

/// Shortens the table above.
trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for i64 {
    fn into_value(self) -> Value {
        Value::integer(self)
    }
}

#[test]
fn other_types_are_refused_unless_the_model_does_not_take_them() {
    let columns: Vec<(&str, ArrayRef, &str)> = vec![
        ("bytes", Arc::new(BinaryArray::from(vec![b"a".as_slice()])), "Binary"),
        ("day", Arc::new(Date32Array::from(vec![1])), "Date32"),
        ("price", Arc::new(Decimal128Array::from(vec![150])), "Decimal128(38, 10)"),
        ("at", Arc::new(TimestampSecondArray::from(vec![1])), "Timestamp(s)"),
    ];
    for (name, values, kind) in columns {
        let table = batch(vec![(name, values), ("x", Arc::new(Int64Array::from(vec![5])))]);
        let open = || ColumnFile::open("-", Format::Arrow, stream(&table)).unwrap();
        assert_eq!(
            rows(open(), &[name, "x"], 9).unwrap_err(),
            format!("column {name} is of type {kind}, expected integers, floats, booleans or text")
        );
        assert_eq!(rows(open(), &["x"], 9).unwrap(), [[Value::integer(5)]]);
    }
}

#[test]
fn a_category_without_any_value_is_missing() {
    let mut categories = StringDictionaryBuilder::<Int8Type>::new();
    categories.append_null();
    let table = batch(vec![("x", Arc::new(categories.finish()))]);
    let file = ColumnFile::open("-", Format::Arrow, stream(&table)).unwrap();
    assert_eq!(rows(file, &["x"], 9).unwrap(), [[Value::MISSING]]);
}

#[test]
fn wide_rows_come_in_small_batches_and_a_shared_text_is_in_memory_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let distinct: Vec<String> = (0..64).map(|index| format!("{index}{}", "x".repeat(1 << 20))).collect();
    let shared = vec!["y".repeat(1 << 20); 64];
    let table = batch(vec![
        ("distinct", Arc::new(StringArray::from(distinct.clone())) as ArrayRef),
        ("shared", Arc::new(StringArray::from(shared))),
    ]);
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), table.schema(), None).unwrap();
    writer.write(&table).unwrap();
    writer.close().unwrap();
    let open = || {
        let path = path.to_str().unwrap();
        let mut source = RowSource::open(path).unwrap();
        source.begin(8).unwrap();
        ColumnFile::open(path, Format::Parquet, source).unwrap()
    };
    let largest = |name: &str| {
        let mut file = open();
        let columns = Columns::find(&file.header(), &features(&[name])).unwrap();
        file.select(&columns, 1 << 20).unwrap();
        let (mut largest, mut count) = (0, 0);
        while let Some(batch) = file.decode().unwrap() {
            largest = largest.max(batch.get_array_memory_size());
            count += batch.num_rows();
        }
        assert_eq!(count, 64);
        largest
    };
    assert!(largest("distinct") <= 24 << 20, "{}", largest("distinct"));
    assert!(largest("shared") <= 8 << 20, "{}", largest("shared"));
}

#[test]
fn damaged_files_are_errors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/columnar");
    let scratch = tempfile::tempdir().unwrap();
    let names = ["age", "income", "city", "plan", "active", "grade", "ratio"];
    let (mut read, mut refused) = (0, 0);
    for file in ["zstd.parquet", "category.parquet", "v2.parquet", "arrow", "arrows", "category.feather"] {
        let whole = std::fs::read(folder.join(format!("missing_categories.{file}"))).unwrap();
        let cut = (0..whole.len()).step_by(97).map(|at| whole[..at].to_vec());
        let flipped = (0..whole.len()).step_by(29).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xa5;
            bytes
        });
        for bytes in cut.chain(flipped) {
            let path = scratch.path().join("x");
            std::fs::write(&path, &bytes).unwrap();
            let path = path.to_str().unwrap();
            let mut source = RowSource::open(path).unwrap();
            let format = Format::Auto.settle(file, &mut source).unwrap();
            let all = || ColumnFile::open(path, format, source).and_then(|file| rows(file, &names, 5));
            match all() {
                Ok(rows) => read += usize::from(!rows.is_empty()),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read > 50 && refused > 250, "{read} read, {refused} refused");
}
