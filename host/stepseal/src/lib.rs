//! Stepseal: runs the steps of AI agents' plans as sandboxed WebAssembly components and signs what ran.

pub mod api;
pub mod clock;
pub mod engine;
pub mod store;
