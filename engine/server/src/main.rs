//! The program `estafette`: a node of the mail engine, and its command line.
#![forbid(unsafe_code)]

mod api;
mod background;
mod bootstrap;
mod cli;
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

fn main() -> std::process::ExitCode {
    cli::main()
}
