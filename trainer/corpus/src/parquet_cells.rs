//! A Parquet file's columns as text.

use std::fs::File;
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use crate::table::Cells;

/// What every Parquet file begins with.
pub(crate) const MAGIC: &[u8] = b"PAR1";

/// Reads all rows; an empty value is an empty text.
///
/// Uncompressed, Snappy and Zstandard files are read; nested columns become a text that no column takes.
pub(crate) fn read_cells(path: &Path) -> Result<Cells, ParquetError> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    let schema = reader.metadata().file_metadata().schema();
    let header = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let mut rows = Vec::new();
    for (index, row) in reader.get_row_iter(None)?.enumerate() {
        let cells = row?.into_columns().into_iter().map(|(_, field)| text(field)).collect();
        rows.push((index + 1, cells));
    }
    Ok(Cells { header, rows })
}

fn text(field: Field) -> String {
    match field {
        Field::Null => String::new(),
        Field::Str(text) => text,
        // Some writers do not mark their texts as such.
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned(),
        // Shortest digits that give the same number: an f32 of 4.1 is 4.1, as in the CSV it was made from.
        Field::Float(value) => value.to_string(),
        Field::Double(value) => value.to_string(),
        other => other.to_string(),
    }
}
