use std::collections::HashMap;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof};
use proptest::prelude::*;
use sha2::Sha256;
use tlog_tiles::tlog;

use super::*;
use crate::leaf::leaf_hash;

/// How large the trees are in which every index and every pair of sizes is tried.
const EVERY: u64 = 70;

/// A growing tree with everything it ever handed out, as storage would keep it.
struct Log {
    leaves: Vec<Vec<u8>>,
    nodes: HashMap<NodeId, Digest>,
    /// By size, from 0.
    roots: Vec<Digest>,
}

impl Log {
    fn of(leaves: Vec<Vec<u8>>) -> Self {
        let mut frontier = Frontier::new();
        let mut nodes = HashMap::new();
        let mut roots = vec![frontier.root()];
        for leaf in &leaves {
            for (id, hash) in frontier.append(leaf_hash(leaf)) {
                assert_eq!(nodes.insert(id, hash), None, "{id:?} is handed out once");
            }
            roots.push(frontier.root());
        }
        Self {
            leaves,
            nodes,
            roots,
        }
    }

    fn numbered(size: u64) -> Self {
        Self::of(
            (0..size)
                .map(|index| index.to_be_bytes().to_vec())
                .collect(),
        )
    }

    fn proof(&self, plan: &ProofPlan) -> Vec<Digest> {
        plan.assemble(|id| self.nodes.get(&id).copied()).unwrap()
    }

    fn root(&self, size: u64) -> &Digest {
        &self.roots[usize::try_from(size).unwrap()]
    }

    fn leaf(&self, index: u64) -> &[u8] {
        &self.leaves[usize::try_from(index).unwrap()]
    }

    fn inclusion(&self, index: u64, size: u64) -> Vec<Digest> {
        self.proof(&ProofPlan::inclusion(index, size).unwrap())
    }

    fn consistency(&self, old: u64, new: u64) -> Vec<Digest> {
        self.proof(&ProofPlan::consistency(old, new).unwrap())
    }
}

impl tlog::HashReader for Log {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        let read = |&stored: &u64| {
            let (level, index) = tlog::split_stored_hash_index(stored);
            theirs(&self.nodes[&NodeId { level, index }])
        };
        Ok(indexes.iter().map(read).collect())
    }
}

fn theirs(digest: &Digest) -> tlog::Hash {
    tlog::Hash(*digest.as_bytes())
}

fn ours(hashes: &[tlog::Hash]) -> Vec<Digest> {
    hashes
        .iter()
        .map(|hash| Digest::from_bytes(hash.0))
        .collect()
}

fn joined(proof: &[Digest]) -> Vec<u8> {
    proof.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Every way to damage a proof that a verifier must notice.
fn damaged(proof: &[Digest]) -> Vec<Vec<Digest>> {
    let mut cases = vec![[proof, &[Digest::of(b"more")]].concat()];
    for position in 0..proof.len() {
        let mut flipped = proof.to_vec();
        let mut bytes = *flipped[position].as_bytes();
        bytes[position % 32] ^= 1;
        flipped[position] = Digest::from_bytes(bytes);
        let mut shorter = proof.to_vec();
        shorter.remove(position);
        let mut swapped = proof.to_vec();
        swapped.swap(position, 0);
        cases.extend([flipped, shorter]);
        if swapped != proof {
            cases.push(swapped);
        }
    }
    cases
}

/// The leaves of the reference tree that Certificate Transparency implementations test against, and the roots by size.
fn reference() -> (Log, [&'static str; 9]) {
    let leaves: [&[u8]; 8] = [
        &[],
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
            0x6e, 0x6f,
        ],
    ];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    (Log::of(leaves.map(<[u8]>::to_vec).to_vec()), roots)
}

fn hexes(proof: &[Digest]) -> Vec<String> {
    proof.iter().map(Digest::to_hex).collect()
}

#[test]
fn the_roots_of_the_reference_tree_are_reached() {
    let (log, roots) = reference();
    assert_eq!(hexes(&log.roots), roots);
}

#[test]
fn the_inclusion_proofs_of_the_reference_tree_are_made() {
    let (log, roots) = reference();
    let first_node = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    let fifth_leaf = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
    let first_leaf = roots[1];
    let second_leaf = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
    let right_half = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
    let last_pair = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
    for (index, size, proof) in [
        (0, 1, vec![]),
        (0, 8, vec![second_leaf, first_node, right_half]),
        (5, 8, vec![fifth_leaf, last_pair, roots[4]]),
        (2, 3, vec![roots[2]]),
        (1, 5, vec![first_leaf, first_node, fifth_leaf]),
    ] {
        assert_eq!(
            hexes(&log.inclusion(index, size)),
            proof,
            "leaf {index} of {size}"
        );
    }
}

#[test]
fn the_consistency_proofs_of_the_reference_tree_are_made() {
    let (log, roots) = reference();
    let second_leaf = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
    let first_node = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    let right_half = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
    let fifth_leaf = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
    let third_pair = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
    let last_pair = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
    for (old, new, proof) in [
        (1, 1, vec![]),
        (0, 8, vec![]),
        (1, 8, vec![second_leaf, first_node, right_half]),
        (6, 8, vec![third_pair, last_pair, roots[4]]),
        (2, 5, vec![first_node, fifth_leaf]),
    ] {
        assert_eq!(hexes(&log.consistency(old, new)), proof, "{old} to {new}");
    }
}

#[test]
fn every_leaf_of_every_small_tree_is_proved_and_damaged_proofs_are_refused() {
    let log = Log::numbered(EVERY);
    for size in 1..=EVERY {
        for index in 0..size {
            let proof = log.inclusion(index, size);
            let leaf = leaf_hash(log.leaf(index));
            let verify =
                |proof: &[Digest]| verify_inclusion(&leaf, index, size, proof, log.root(size));
            assert_eq!(verify(&proof), Ok(()), "leaf {index} of {size}");
            for proof in damaged(&proof) {
                assert!(verify(&proof).is_err(), "leaf {index} of {size}");
            }
            let other_leaf = leaf_hash(b"other");
            assert_eq!(
                verify_inclusion(&other_leaf, index, size, &proof, log.root(size)),
                Err(TreeError::RootMismatch)
            );
            for other in (0..size).filter(|&other| other != index) {
                assert!(
                    verify_inclusion(&leaf, other, size, &proof, log.root(size)).is_err(),
                    "{index} is not {other}"
                );
            }
        }
        let error = TreeError::IndexOutOfRange { index: size, size };
        assert_eq!(
            verify_inclusion(log.root(1), size, size, &[], log.root(size)),
            Err(error.clone())
        );
        assert_eq!(ProofPlan::inclusion(size, size), Err(error));
    }
}

#[test]
fn every_small_tree_is_proved_to_continue_every_smaller_one_and_damaged_proofs_are_refused() {
    let log = Log::numbered(EVERY);
    for new in 0..=EVERY {
        for old in 0..=new {
            let proof = log.consistency(old, new);
            let (old_root, new_root) = (log.root(old), log.root(new));
            assert_eq!(
                verify_consistency(old, old_root, new, new_root, &proof),
                Ok(()),
                "{old} to {new}"
            );
            for proof in damaged(&proof) {
                assert!(
                    verify_consistency(old, old_root, new, new_root, &proof).is_err(),
                    "{old} to {new}"
                );
            }
            let other = Digest::of(b"another root");
            assert!(
                verify_consistency(old, &other, new, new_root, &proof).is_err(),
                "{old} to {new}"
            );
            // An empty log promises nothing, so any tree continues it.
            let with_other_new = verify_consistency(old, old_root, new, &other, &proof);
            assert_eq!(
                with_other_new.is_ok(),
                old == 0 && new > 0,
                "{old} to {new}"
            );
        }
        let error = Err(TreeError::Shrunk { old: new + 1, new });
        assert_eq!(
            verify_consistency(new + 1, &empty_root(), new, &empty_root(), &[]),
            error
        );
    }
}

#[test]
fn ct_merkle_has_the_same_roots_and_proofs_and_accepts_ours() {
    let log = Log::numbered(EVERY);
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut roots = vec![tree.root()];
    for (size, leaf) in (1..).zip(&log.leaves) {
        tree.push(leaf.clone());
        roots.push(tree.root());
        let root = &roots[size];
        assert_eq!(
            root.as_bytes()[..],
            log.roots[size].as_bytes()[..],
            "{size}"
        );
        for (index, old_root) in roots.iter().enumerate().take(size) {
            let (wide_index, wide_size) = (index as u64, size as u64);
            let proof = joined(&log.inclusion(wide_index, wide_size));
            assert_eq!(
                tree.prove_inclusion(index).as_bytes(),
                proof,
                "leaf {index} of {size}"
            );
            let proof = InclusionProof::<Sha256>::try_from_bytes(proof).unwrap();
            root.verify_inclusion(&log.leaves[index], wide_index, &proof)
                .unwrap();
            if index > 0 {
                let proof = joined(&log.consistency(wide_index, wide_size));
                assert_eq!(
                    tree.prove_consistency(size - index).as_bytes(),
                    proof,
                    "{index} to {size}"
                );
                let proof = ConsistencyProof::<Sha256>::try_from_bytes(proof).unwrap();
                root.verify_consistency(old_root, &proof).unwrap();
            }
        }
    }
}

#[test]
fn tlog_tiles_has_the_same_proofs_from_our_nodes_and_accepts_ours() {
    let log = Log::numbered(EVERY);
    for size in 1..=EVERY {
        let root = theirs(log.root(size));
        assert_eq!(tlog::tree_hash(size, &log).unwrap(), root);
        for index in 0..size {
            let leaf = tlog::record_hash(log.leaf(index));
            let proof = tlog::prove_record(size, index, &log).unwrap();
            assert_eq!(
                ours(&proof),
                log.inclusion(index, size),
                "leaf {index} of {size}"
            );
            tlog::check_record(&proof, size, root, index, leaf).unwrap();
        }
        for old in 1..=size {
            let proof = tlog::prove_tree(size, old, &log).unwrap();
            assert_eq!(ours(&proof), log.consistency(old, size), "{old} to {size}");
            tlog::check_tree(&proof, size, root, old, theirs(log.root(old))).unwrap();
        }
    }
}

#[test]
fn a_missing_node_is_named() {
    let plan = ProofPlan::inclusion(5, 8).unwrap();
    let missing = NodeId { level: 1, index: 3 };
    assert!(plan.nodes().contains(&missing));
    let found = plan.assemble(|id| (id != missing).then(|| Digest::of(b"there")));
    assert_eq!(found, Err(TreeError::MissingNode(missing)));
}

#[test]
fn sizes_beyond_any_log_are_refused() {
    let root = empty_root();
    let too_large = TreeError::TooLarge { size: u64::MAX };
    assert_eq!(ProofPlan::inclusion(0, u64::MAX), Err(too_large.clone()));
    assert_eq!(ProofPlan::consistency(1, u64::MAX), Err(too_large.clone()));
    assert_eq!(
        verify_inclusion(&root, 0, u64::MAX, &[], &root),
        Err(too_large.clone())
    );
    assert_eq!(
        verify_consistency(1, &root, u64::MAX, &root, &[]),
        Err(too_large.clone())
    );
    assert_eq!(
        Frontier::from_bytes(&[0xff; FRONTIER_BYTES_MAX]),
        Err(too_large)
    );
    for index in [0, 1, SIZE_MAX / 2, SIZE_MAX - 1] {
        for size in [SIZE_MAX, SIZE_MAX - 1]
            .into_iter()
            .filter(|&size| index < size)
        {
            let plan = ProofPlan::inclusion(index, size).unwrap();
            let proof = plan.assemble(|_| Some(root)).unwrap();
            assert!(proof.len() <= PROOF_HASHES_MAX);
            assert_eq!(
                verify_inclusion(&root, index, size, &proof, &root),
                Err(TreeError::RootMismatch)
            );
        }
    }
}

#[test]
fn stored_bytes_that_are_no_frontier_are_refused() {
    let mut frontier = Frontier::new();
    assert_eq!(frontier.to_bytes(), [0; 8]);
    for leaf in 0..5_u8 {
        frontier.append(leaf_hash(&[leaf]));
    }
    let bytes = frontier.to_bytes();
    assert_eq!(bytes.len(), 8 + 2 * 32);
    for wrong in [
        &bytes[..0],
        &bytes[..7],
        &bytes[..8],
        &bytes[..71],
        &[&bytes[..], &[0]].concat(),
    ] {
        assert!(
            matches!(
                Frontier::from_bytes(wrong),
                Err(TreeError::FrontierBytes { .. })
            ),
            "{} bytes",
            wrong.len()
        );
    }
}

proptest! {
    #[test]
    fn a_stored_frontier_goes_on_as_if_it_had_never_been_stored(leaves in prop::collection::vec(any::<[u8; 4]>(), 0..80), cut: prop::sample::Index) {
        let cut = cut.index(leaves.len() + 1);
        let mut whole = Frontier::new();
        let mut stored = Frontier::new();
        for (index, leaf) in leaves.iter().enumerate() {
            if index == cut {
                stored = Frontier::from_bytes(&stored.to_bytes()).unwrap();
            }
            prop_assert_eq!(whole.append(leaf_hash(leaf)), stored.append(leaf_hash(leaf)));
        }
        prop_assert_eq!(&whole, &stored);
        prop_assert_eq!(whole.size(), leaves.len() as u64);
        prop_assert_eq!(Frontier::from_bytes(&whole.to_bytes()).unwrap(), whole);
    }

    #[test]
    fn arbitrary_proofs_never_panic_and_never_verify(
        index: u64, size: u64, old: u64, hashes in prop::collection::vec(any::<[u8; 32]>().prop_map(Digest::from_bytes), 0..70),
    ) {
        let root = Digest::of(b"a root");
        prop_assert!(verify_inclusion(&Digest::of(b"a leaf"), index, size, &hashes, &root).is_err());
        prop_assert!(verify_inclusion(&Digest::of(b"a leaf"), index, size % 1000, &hashes, &root).is_err());
        prop_assert!(verify_consistency(old, &Digest::of(b"old"), size, &root, &hashes).is_err());
        prop_assert!(verify_consistency(old % 1000, &Digest::of(b"old"), size % 1000, &root, &hashes).is_err());
        let _ = Frontier::from_bytes(&joined(&hashes));
    }
}
