//! Stepseal: runs the steps of AI agents' plans as sandboxed WebAssembly components and signs what ran.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod engine;
pub mod store;
pub mod witnesses;
