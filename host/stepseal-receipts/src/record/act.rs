//! What records of the host's own acts say (format §2, "Acts of the host").
//!
//! Only their form is here. Which of them a kind must have, and what they must say together, is
//! [`check_act`](crate::verify::check_act)'s.

use super::Mode;
use super::names::{BindingChange, ErasureScope, KeyRole};
use crate::digest::Digest;
use crate::keys::PublicKey;

/// Most bytes of the name of an actor or of a plugin, of a role, and of the basis of an erasure.
pub const LABEL_BYTES_MAX: usize = 255;

/// Who asked for an act: a claim of the host's client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Who.
    pub name: String,
    /// The role they acted in.
    pub role: Option<String>,
}

/// What happened to the binding of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Whether it began or ended.
    pub change: BindingChange,
    /// Whether the policy's word counts.
    pub mode: Mode,
    /// Digest of the settings it is bound with, as in a verdict.
    pub settings: Digest,
}

/// A key that counts from or to an index of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// What the key signs.
    pub role: KeyRole,
    /// Whose key it is: an approver's only.
    pub name: Option<String>,
    /// The key.
    pub key: PublicKey,
    /// `key.rotate` only: first index at which it counts. An approver's counts from the record itself on.
    pub from_index: Option<u64>,
    /// `key.revoke` only: last index at which it counts. An approver's counts up to the record itself.
    pub to_index: Option<u64>,
}

/// What was deleted for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Payloads, or records too.
    pub scope: ErasureScope,
    /// Why it had to be: a law, a contract, a request.
    pub basis: String,
    /// Id of the task that it was all of, or that the entries are of.
    pub task: Option<String>,
    /// Digests of the blobs that were deleted, where it was not all of a task.
    pub blobs: Vec<Digest>,
    /// The entries whose envelopes were deleted.
    pub entries: Vec<ErasedEntry>,
}

/// The link of an entry whose envelope is gone: what the chain of its task cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasedEntry {
    /// Its index in the log.
    pub index: u64,
    /// Its number in the task.
    pub seq: u64,
    /// Leaf hash of the task's record before it; absent only at 0.
    pub prev: Option<Digest>,
}

/// Which part of the host's history a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub number: u64,
    /// The head that the log before ended with; absent only at 0.
    pub previous: Option<ShardHead>,
}

/// The last head of a log that goes on in another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardHead {
    /// The log's origin.
    pub origin: String,
    /// Its leaves.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Digest,
}
