//! Sizes of rows and strings.

/// Maximum size of one row on an edge, in bytes. The default record limit of a broker is 1 MiB.
pub const MAX_ROW_BYTES: usize = 512 * 1024;
/// Maximum size of a request id, a model name or a version, in bytes. Every row carries them.
pub const MAX_TEXT_BYTES: usize = 512;
