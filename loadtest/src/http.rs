//! The HTTP side: a thin HTTP/1.1 client that leaves the processor to the system under test.
mod closed_loop;
mod command;
mod connection;
mod exchange;
mod open_loop;
mod wire;

pub use command::HttpArgs;

#[cfg(test)]
mod tests;
