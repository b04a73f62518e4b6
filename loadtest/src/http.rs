//! The HTTP side, over a minimal HTTP/1.1 client of this crate: a library's client would take more of the processor,
//! and the generator must cost less than what it measures.

mod closed_loop;
mod command;
mod connection;
mod exchange;
mod open_loop;
mod wire;

pub use command::HttpArgs;

#[cfg(test)]
mod tests;
