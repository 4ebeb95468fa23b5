//! Black-box tests: the built program, a real data directory, real components, and nothing but HTTP and files between
//! the test and the host.
//!
//! Each test starts its own host (`host/`). Its client holds every answer against `openapi.json`, so a test that passes
//! also says that the answers it got are documented. Nothing sleeps: a test waits for the host itself to say that
//! something happened, or looks again until a deadline.

mod acts;
mod approvals;
mod approvers;
mod buckets;
mod cli;
mod compiling;
mod components;
mod concurrency;
mod contract;
mod data_dir;
mod erasure;
mod host;
#[path = "../hostile/mod.rs"]
mod hostile;
mod hosts;
mod keys;
mod languages;
mod log;
mod metrics;
mod outbound;
mod plans;
mod policies;
mod postgres;
mod private_ca;
mod receipts;
mod recovery;
mod replay;
mod requests;
mod rules;
mod schedules;
mod server;
mod support;
mod tasks;
mod tenants;
mod torture;
mod waiting;
/// Components as text: the sandbox's own, so that there is one text that knows the canonical ABI.
#[path = "../../host/stepseal-sandbox/src/tests/wat.rs"]
mod wat;
mod witnessed;
