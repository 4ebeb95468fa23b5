//! Stepseal's records, log and receipts: bytes and keys in, values out.
//!
//! In scope: the values that are signed ([`json`], [`digest`], [`time`], [`payload`], [`record`]), how they are signed
//! ([`keys`], [`dsse`]), the log they stand in ([`leaf`], [`tree`], [`note`], [`checkpoint`], [`tile`],
//! [`cosignature`], [`witness`], [`evidence`], [`log_export`]), the file that proves them ([`receipt`], [`trust`], [`witness_policy`]) with its
//! offline verification ([`verify`]), its forms for other tools ([`export`]), and the life of tasks and steps ([`state`]).
//! `FORMAT.md` beside this crate's manifest is the specification; the modules name the sections of the standards they implement.
//!
//! Deliberately absent: a clock, randomness, files, network, threads, async, storage and the sandbox. Time, nonces, salts
//! and seeds are arguments; storage hands bytes in and takes bytes out. So the crate builds for `wasm32` too, and whoever
//! only wants to verify receipts can depend on it alone.
//!
//! Every byte that reaches a parser here is taken as hostile: sizes are bounded by named constants before anything is
//! decoded or allocated, and no input makes a function panic.

#![forbid(unsafe_code)]

mod b64;
pub mod checkpoint;
pub mod cosignature;
pub mod digest;
pub mod dsse;
pub mod evidence;
pub mod export;
pub mod json;
pub mod keys;
pub mod leaf;
pub mod log_export;
pub mod note;
pub mod payload;
pub mod receipt;
pub mod record;
pub mod state;
pub mod tile;
pub mod time;
pub mod tree;
pub mod trust;
pub mod verify;
pub mod witness;
pub mod witness_policy;
