//! Runs WebAssembly components for Stepseal: plugins' steps and policies, under fuel, memory and time limits.
//!
//! In scope: loading and checking components, compiling and caching them, running one call in a fresh instance, the
//! capabilities a guest can be given (one file each under `capability/`), and telling apart every way a call can end.
//! Out of scope, deliberately: plans, grants as the operator writes them, stores, records and signatures. This crate
//! is the only one that touches wasmtime.
//!
//! Two runs of the same component with the same call give the same output bytes and the same fuel on every machine: clocks
//! are virtual, randomness is seeded, and what a step learnt from the outside is in its [`Transcript`].

mod access;
mod artifact;
mod bindings;
mod call;
mod cancel;
mod capability;
mod compiler;
mod component;
mod config;
mod descriptor;
mod error;
mod guest;
mod http;
mod keyvalue;
mod limits;
mod meter;
mod pool;
mod progress;
mod run;
mod sandbox;
mod secrets;
mod settings;
mod text;
mod ticker;
mod transcript;

#[cfg(test)]
mod tests;

pub use crate::http::{
    HttpAccess, HttpClient, HttpLimits, HttpRule, HttpUse, InjectedHeader, Origin, PathPrefix,
    Resolver, SystemResolver, TlsRoots, TlsRootsError, check_method,
};
pub use access::{Access, Live, World};
pub use call::{
    Approval, Invocation, LogLevel, LogLine, Outcome, PolicyCall, PolicyRun, Reason, StepCall,
    StepRun, Verdict,
};
pub use cancel::Cancel;
pub use compiler::compile_stdin;
pub use component::{PolicyComponent, StepComponent};
pub use config::{POOLING_ADDRESS_BITS, has_page_scan};
pub use descriptor::{
    Capability, Descriptor, Inspection, PluginDescriptor, PolicyDescriptor, Stage, StepType,
    is_pure,
};
pub use error::{LoadError, SandboxError};
pub use keyvalue::{
    BoxFuture, BucketError, BucketSource, KeyPage, KeyValueChanges, Listed, MemoryBuckets, Read,
    Versioned, Write,
};
pub use limits::{Bounds, CONFIG_VALUE_BYTES_MAX, CONFIG_VALUES_MAX, Limits};
pub use progress::Compilation;
pub use sandbox::Sandbox;
pub use secrets::{Secrets, check_secret};
pub use settings::{
    CacheSettings, CompileLimits, Compiler, CompilerProcess, PoolSettings, RuntimeInfo, Settings,
};
pub use transcript::{Call, Transcript, TranscriptError};
