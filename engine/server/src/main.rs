//! The program `estafette`: a node of the mail engine, and its command line.
#![forbid(unsafe_code)]

mod api;
mod background;
mod bootstrap;
mod cli;
mod cluster;
mod config;
mod descriptors;
mod engine;
mod listeners;
mod login;
mod machines;
mod node;
mod ready;
mod replies;
mod services;
mod signals;
mod sweep;
#[cfg(test)]
mod trouble;

/// Gives memory back to the system when sessions, caches or the store have done with it; RocksDB allocates by it too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
