//! Parquet, one row group after another.

use std::fs::File;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Compression;
use parquet::errors::ParquetError;

/// Bytes of decoded values at which a batch ends, whatever the number of its rows.
const MAX_BATCH: u64 = 8 << 20;

pub(super) struct ParquetFile {
    file: File,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    /// Most rows of a batch.
    batch: usize,
    /// The row group to read next.
    group: usize,
    reader: Option<ParquetRecordBatchReader>,
}

impl ParquetFile {
    /// Reads the footer.
    pub(super) fn open(file: File) -> Result<Self, String> {
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(damaged)?;
        let options = ArrowReaderOptions::new().with_schema(text_as_views(metadata.schema()));
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options).map_err(damaged)?;
        Ok(Self { file, metadata, mask: ProjectionMask::all(), batch: 1, group: 0, reader: None })
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(self.metadata.schema())
    }

    /// Number of rows in all.
    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Reads the columns with these indices alone, at most `batch` rows at a time.
    ///
    /// # Errors
    /// A column that is compressed in a way that is not read.
    pub(super) fn select(&mut self, columns: Vec<usize>, batch: usize) -> Result<(), String> {
        self.mask = ProjectionMask::roots(self.metadata.parquet_schema(), columns);
        self.batch = batch.max(1);
        let groups = self.metadata.metadata().row_groups();
        let selected = groups.iter().flat_map(|group| group.columns().iter().enumerate());
        for (_, column) in selected.filter(|(leaf, _)| self.mask.leaf_included(*leaf)) {
            if matches!(column.compression(), Compression::BROTLI(_) | Compression::LZO) {
                let (name, codec) = (column.column_path(), column.compression());
                return Err(format!("column {name} is compressed with {codec}; read are snappy, gzip, zstd and lz4"));
            }
        }
        Ok(())
    }

    /// The next rows; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>, String> {
        loop {
            if let Some(reader) = &mut self.reader
                && let Some(batch) = reader.next()
            {
                return batch.map(Some).map_err(|error| damaged(ParquetError::from(error)));
            }
            if self.group >= self.metadata.metadata().num_row_groups() {
                return Ok(None);
            }
            self.reader = Some(self.open_group().map_err(damaged)?);
            self.group += 1;
        }
    }

    fn open_group(&self) -> Result<ParquetRecordBatchReader, ParquetError> {
        let group = self.metadata.metadata().row_group(self.group);
        let selected = group.columns().iter().enumerate().filter(|(leaf, _)| self.mask.leaf_included(*leaf));
        let bytes: u64 = selected.map(|(_, column)| u64::try_from(column.uncompressed_size()).unwrap_or(0)).sum();
        let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
        let most = MAX_BATCH / (bytes / rows).max(1);
        let batch = self.batch.min(usize::try_from(most).unwrap_or(usize::MAX)).max(1);
        ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.try_clone()?, self.metadata.clone())
            .with_row_groups(vec![self.group])
            .with_projection(self.mask.clone())
            .with_batch_size(batch)
            .build()
    }
}

/// The schema with text as views, which stay in the page that they were read from: a long text that many rows share is in
/// memory once.
fn text_as_views(schema: &SchemaRef) -> SchemaRef {
    let view = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => Arc::clone(field),
    };
    let fields: Vec<Arc<Field>> = schema.fields().iter().map(view).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn damaged(error: ParquetError) -> String {
    format!("is damaged, or no Parquet that is read here: {error}")
}
