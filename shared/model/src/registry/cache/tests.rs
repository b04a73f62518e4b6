//! The cache by itself.

use super::*;

fn files() -> Files {
    Files::from([
        ("MLmodel".to_owned(), b"flavors: {}".to_vec()),
        ("preprocessing/model.pkl".to_owned(), vec![0x80, 4]),
    ])
}
