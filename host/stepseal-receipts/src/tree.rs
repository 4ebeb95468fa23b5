//! The Merkle tree of the log (RFC 6962 §2.1): appending, proofs, and their verification.
//!
//! The tree never lives in memory as a whole. A [`Frontier`] holds its right edge and hands out each node that an append
//! completes; storage keeps those, for a complete node never changes. A [`ProofPlan`] says which of them a proof needs.

use crate::digest::Digest;
use crate::leaf::node_hash;

/// Most leaves of a tree: more than any log lives to see, and a signed 64-bit column holds it with room to spare.
pub const SIZE_MAX: u64 = 1 << 62;

/// Most hashes in a proof. An honest one over [`SIZE_MAX`] leaves has fewer.
pub const PROOF_HASHES_MAX: usize = 64;

/// Most bytes of a [`Frontier`] in storage: its size and one hash for each bit of it.
pub const FRONTIER_BYTES_MAX: usize = 8 + 63 * 32;

/// Why something is impossible in this tree, or why a proof is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// There is no such leaf.
    #[error("there is no leaf {index} in a tree of {size} leaves")]
    IndexOutOfRange {
        /// The leaf asked for, from 0.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// A tree only grows.
    #[error("a tree of {new} leaves cannot follow a tree of {old}")]
    Shrunk {
        /// Leaves of the tree said to be older.
        old: u64,
        /// Leaves of the tree said to be newer.
        new: u64,
    },
    /// More leaves than this crate handles.
    #[error("a tree has at most 2^62 leaves, not {size}")]
    TooLarge {
        /// The size asked for.
        size: u64,
    },
    /// Storage does not have a node it must have.
    #[error("node {} of level {} is missing from storage", .0.index, .0.level)]
    MissingNode(NodeId),
    /// Too many or too few hashes.
    #[error("the proof has {found} hashes, for these sizes it has {expected}")]
    ProofLength {
        /// What these sizes need.
        expected: usize,
        /// What the proof has.
        found: usize,
    },
    /// The proof leads to another root.
    #[error("the proof does not lead to the root of the checkpoint")]
    RootMismatch,
    /// The proof leads to another older root: the newer tree does not continue the older one.
    #[error("the proof does not lead to the root of the older checkpoint")]
    OldRootMismatch,
    /// Stored bytes that are no frontier.
    #[error("the stored right edge of the tree has {found} bytes, for its size it has {expected}")]
    FrontierBytes {
        /// What its size needs.
        expected: usize,
        /// What there is.
        found: usize,
    },
}

/// A complete subtree: the `2^level` leaves from `index * 2^level` on. Level 0 is the leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// Height above the leaves.
    pub level: u8,
    /// Position within the level, from 0.
    pub index: u64,
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Digest {
    Digest::of(&[])
}

/// The right edge of a growing tree (a compact range from 0): its size, and the root of one complete subtree for each
/// bit that is set in the size, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Digest>,
}

impl Frontier {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash. Returns every node that is complete from now on, the leaf first; store them all.
    pub fn append(&mut self, leaf_hash: Digest) -> Vec<(NodeId, Digest)> {
        let mut node = NodeId {
            level: 0,
            index: self.size,
        };
        let mut hash = leaf_hash;
        let mut completed = vec![(node, hash)];
        while node.index % 2 == 1 {
            let left = self
                .hashes
                .pop()
                .expect("each bit set in the size has its subtree");
            hash = node_hash(&left, &hash);
            node = NodeId {
                level: node.level + 1,
                index: node.index / 2,
            };
            completed.push((node, hash));
        }
        self.hashes.push(hash);
        // Cannot overflow: storage holds sizes to SIZE_MAX, and nobody appends 2^63 leaves after that.
        self.size += 1;
        completed
    }

    /// The root (RFC 6962 §2.1, MTH).
    pub fn root(&self) -> Digest {
        fold_right(&self.hashes).unwrap_or_else(empty_root)
    }

    /// For storage: the size as 8 bytes, big-endian, then the hashes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        for hash in &self.hashes {
            bytes.extend_from_slice(hash.as_bytes());
        }
        bytes
    }

    /// The inverse of [`to_bytes`](Self::to_bytes), for exactly its output.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TreeError> {
        let malformed = |expected| TreeError::FrontierBytes {
            expected,
            found: bytes.len(),
        };
        let (size, rest) = bytes.split_first_chunk::<8>().ok_or(malformed(8))?;
        let size = u64::from_be_bytes(*size);
        check_size(size)?;
        let (hashes, tail) = rest.as_chunks::<32>();
        let expected = size.count_ones() as usize;
        if hashes.len() != expected || !tail.is_empty() {
            return Err(malformed(8 + 32 * expected));
        }
        Ok(Self {
            size,
            hashes: hashes.iter().copied().map(Digest::from_bytes).collect(),
        })
    }
}

/// The hash over subtrees side by side, largest first; `None` without any.
fn fold_right(hashes: &[Digest]) -> Option<Digest> {
    let (last, rest) = hashes.split_last()?;
    Some(
        rest.iter()
            .rev()
            .fold(*last, |right, left| node_hash(left, &right)),
    )
}

fn check_size(size: u64) -> Result<(), TreeError> {
    if size > SIZE_MAX {
        Err(TreeError::TooLarge { size })
    } else {
        Ok(())
    }
}

/// Which complete nodes a proof is made of. Each hash of the proof covers a range of leaves; a range at the right edge is
/// no complete node, but several of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofPlan {
    /// For each hash of the proof, in its order, the complete nodes under it, largest first.
    parts: Vec<Vec<NodeId>>,
}

impl ProofPlan {
    /// The proof that leaf `index` is in the tree of `size` leaves (RFC 6962 §2.1.1, PATH).
    pub fn inclusion(index: u64, size: u64) -> Result<Self, TreeError> {
        check_size(size)?;
        if index >= size {
            return Err(TreeError::IndexOutOfRange { index, size });
        }
        let (mut start, mut end) = (0, size);
        let mut parts = Vec::new();
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                parts.push(complete_nodes(middle, end));
                end = middle;
            } else {
                parts.push(complete_nodes(start, middle));
                start = middle;
            }
        }
        parts.reverse();
        Ok(Self { parts })
    }

    /// The proof that the tree of `new` leaves continues the tree of `old` (RFC 6962 §2.1.2, PROOF). Empty where `old` is
    /// 0 or equals `new`: there is nothing to prove then.
    pub fn consistency(old: u64, new: u64) -> Result<Self, TreeError> {
        check_size(new)?;
        if old > new {
            return Err(TreeError::Shrunk { old, new });
        }
        let mut parts = Vec::new();
        if old == 0 || old == new {
            return Ok(Self { parts });
        }
        let (mut start, mut end) = (0, new);
        // Whether the range starts at leaf 0 still: then the older root itself stands for it, and it is not in the proof.
        let mut is_old_tree = true;
        while end != old {
            let middle = start + split(end - start);
            if old <= middle {
                parts.push(complete_nodes(middle, end));
                end = middle;
            } else {
                parts.push(complete_nodes(start, middle));
                start = middle;
                is_old_tree = false;
            }
        }
        if !is_old_tree {
            parts.push(complete_nodes(start, end));
        }
        parts.reverse();
        Ok(Self { parts })
    }

    /// The complete nodes to fetch from storage.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.parts.concat()
    }

    /// The proof, from the nodes fetched.
    pub fn assemble(
        &self,
        node: impl Fn(NodeId) -> Option<Digest>,
    ) -> Result<Vec<Digest>, TreeError> {
        let mut proof = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let hashes = part
                .iter()
                .map(|&id| node(id).ok_or(TreeError::MissingNode(id)))
                .collect::<Result<Vec<_>, _>>()?;
            proof.push(fold_right(&hashes).expect("a part covers at least one leaf"));
        }
        Ok(proof)
    }
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The complete nodes under the leaves from `start` to `end`, largest first, for a range that RFC 6962 splits off.
fn complete_nodes(start: u64, end: u64) -> Vec<NodeId> {
    let mut nodes = Vec::new();
    let mut position = start;
    while position < end {
        let level = (end - position).ilog2();
        let index = position >> level;
        nodes.push(NodeId {
            level: u8::try_from(level).expect("a level is below 64"),
            index,
        });
        position += 1 << level;
    }
    nodes
}

/// Checks that the leaf with `leaf_hash` is at `index` of the tree of `size` leaves under `root` (RFC 9162 §2.1.3.2).
pub fn verify_inclusion(
    leaf_hash: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), TreeError> {
    check_size(size)?;
    if index >= size {
        return Err(TreeError::IndexOutOfRange { index, size });
    }
    // Below the level where the leaf's path joins the right edge every level has a hash; above, only the set bits do.
    let inner = u64::BITS - (index ^ (size - 1)).leading_zeros();
    let border = (index >> inner).count_ones();
    let expected = (inner + border) as usize;
    if proof.len() != expected {
        return Err(TreeError::ProofLength {
            expected,
            found: proof.len(),
        });
    }
    let (inner_hashes, border_hashes) = proof.split_at(inner as usize);
    let mut hash = *leaf_hash;
    for (level, sibling) in inner_hashes.iter().enumerate() {
        hash = if index >> level & 1 == 0 {
            node_hash(&hash, sibling)
        } else {
            node_hash(sibling, &hash)
        };
    }
    for left in border_hashes {
        hash = node_hash(left, &hash);
    }
    if hash == *root {
        Ok(())
    } else {
        Err(TreeError::RootMismatch)
    }
}

/// Checks that the tree of `new_size` leaves under `new_root` continues the tree of `old_size` under `old_root`
/// (RFC 9162 §2.1.4.2). Every tree continues the empty one.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Digest,
    new_size: u64,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), TreeError> {
    check_size(new_size)?;
    let expected = ProofPlan::consistency(old_size, new_size)?.parts.len();
    if proof.len() != expected {
        return Err(TreeError::ProofLength {
            expected,
            found: proof.len(),
        });
    }
    if old_size == 0 && *old_root != empty_root() {
        return Err(TreeError::OldRootMismatch);
    }
    if old_size == new_size {
        return if old_root == new_root {
            Ok(())
        } else {
            Err(TreeError::RootMismatch)
        };
    }
    if old_size == 0 {
        return Ok(());
    }
    // An older tree of 2^k leaves is itself a node of the newer one, so the proof leaves it out.
    let with_old_root: Vec<Digest>;
    let path = if old_size.is_power_of_two() {
        with_old_root = [&[*old_root], proof].concat();
        &with_old_root
    } else {
        proof
    };
    let (old_hash, new_hash) = roots_of(old_size, new_size, path);
    if old_hash != *old_root {
        Err(TreeError::OldRootMismatch)
    } else if new_hash != *new_root {
        Err(TreeError::RootMismatch)
    } else {
        Ok(())
    }
}

/// Whether the tree of `new_size` leaves under `new_root` surely holds another tree of `old_size` leaves than the one under
/// `old_root`: whoever signed both roots rewrote the tree. `path` is the consistency proof as of the newer tree, with the root
/// of its first `old_size` leaves in front where that is a power of two, since the proof alone leaves that hash out.
pub fn contradicts(
    old_size: u64,
    old_root: &Digest,
    new_size: u64,
    new_root: &Digest,
    path: &[Digest],
) -> bool {
    let Ok(plan) = ProofPlan::consistency(old_size, new_size) else {
        return false;
    };
    let expected = plan.parts.len() + usize::from(old_size.is_power_of_two());
    if old_size == 0 || old_size == new_size || path.len() != expected {
        return false;
    }
    let (old_hash, new_hash) = roots_of(old_size, new_size, path);
    new_hash == *new_root && old_hash != *old_root
}

/// The roots of the older and of the newer tree that a path from the older one's last complete subtree leads to. The older
/// tree is not empty and smaller than the newer one, and the path has as many hashes as these sizes need.
fn roots_of(old_size: u64, new_size: u64, path: &[Digest]) -> (Digest, Digest) {
    let (first, rest) = path.split_first().expect("sizes that differ have a proof");
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    let skipped = node.trailing_ones();
    node >>= skipped;
    last >>= skipped;
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    (old_hash, new_hash)
}

#[cfg(test)]
mod tests;
