//! A proof of any length, between any sizes, is checked without a panic; an inclusion proof proves one leaf only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::tile::Tile;
use stepseal_receipts::tree::{Frontier, ProofPlan, verify_consistency, verify_inclusion};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(path) = std::str::from_utf8(bytes)
        && let Some(tile) = Tile::parse(path)
    {
        assert_eq!(tile.path(), path);
    }
    let _ = Frontier::from_bytes(bytes);
    let Some((numbers, hashes)) = bytes.split_first_chunk::<16>() else {
        return;
    };
    let (one, two) = numbers.split_at(8);
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
    let (one, two) = (number(one), number(two));
    let hashes: Vec<Digest> = hashes
        .as_chunks()
        .0
        .iter()
        .copied()
        .map(Digest::from_bytes)
        .collect();
    let _ = (
        ProofPlan::inclusion(one, two),
        ProofPlan::consistency(one, two),
    );
    if let [first, second, proof @ ..] = &hashes[..] {
        if verify_inclusion(first, one, two, proof, second).is_ok() {
            let other = Digest::of(first.as_bytes());
            assert!(verify_inclusion(&other, one, two, proof, second).is_err());
        }
        let _ = verify_consistency(one, first, two, second, proof);
    }
});
