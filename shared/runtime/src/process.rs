//! Identifies the program.

/// The name of the program, and whether it runs one stage or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// `"caching"` for a service, `"forebay"` for the all-in-one binary.
    pub name: &'static str,
    /// Whether it runs the stages of several services.
    pub all_in_one: bool,
}

impl Process {
    /// The binary of the one service `name`.
    pub const fn service(name: &'static str) -> Self {
        Self { name, all_in_one: false }
    }

    /// A binary with the stages of several services.
    pub const fn all_in_one(name: &'static str) -> Self {
        Self { name, all_in_one: true }
    }
}
