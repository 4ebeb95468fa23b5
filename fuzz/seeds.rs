//! Writes what the fuzzers start from: one honest file for each target, made anew each time.

use std::fs;
use std::path::PathBuf;

use stepseal_fuzz::{log, policy, trust};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::log_export::{Header, Line, LineEntry};
use stepseal_receipts::leaf::leaf;
use stepseal_receipts::leaf::leaf_hash;
use stepseal_receipts::receipt::{Entry, Receipt};
use stepseal_receipts::verify::{LogVerifier, Options, open_line, verify_bytes};

fn main() {
    let directory = PathBuf::from(std::env::args().nth(1).expect("a directory to write to"));
    let (envelopes, tree, head) = log();
    let key = trust().records[0].key.clone();
    let leaves: Vec<Digest> = envelopes
        .iter()
        .map(|envelope| {
            let sig = &envelope.signatures[0].sig;
            leaf_hash(&leaf(&envelope.pae_digest(), sig, &key))
        })
        .collect();
    let entries = envelopes.iter().zip(0..).map(|(envelope, index)| Entry {
        index,
        envelope: envelope.clone(),
        proof: vec![leaves[if index == 0 { 1 } else { 0 }]],
    });
    let receipt = Receipt {
        checkpoint: head.clone(),
        entries: entries.collect(),
        erased: Vec::new(),
        approvals: Vec::new(),
        disclosures: Vec::new(),
        consistency: Vec::new(),
        unrecognised: serde_json::Map::new(),
    }
    .to_json();
    let report = verify_bytes(&receipt, &trust(), &Options::default());
    assert!(report.passed(), "{:?}", report.faults);

    let header = Header {
        checkpoint: head.clone(),
    }
    .to_line();
    let mut verifier = LogVerifier::new(header.trim_ascii_end(), &trust(), &Options::default())
        .expect("it is a header");
    let mut export = header;
    for (envelope, index) in envelopes.iter().zip(0..) {
        let entry = LineEntry::Envelope(envelope.clone());
        let line = Line { index, entry }.to_line();
        let opened = open_line(line.trim_ascii_end(), &verifier.keys()).expect("it is a line");
        assert!(verifier.add(opened));
        export.extend(line);
    }
    let report = verifier.finish();
    assert!(report.passed(), "{:?}", report.faults);

    let mut proof = [0_u64, 2].map(u64::to_be_bytes).concat();
    for hash in [leaves[0], tree.root(), leaves[1]] {
        proof.extend(hash.as_bytes());
    }
    for (target, bytes) in [
        ("receipt", receipt),
        ("envelope", envelopes[0].to_json()),
        ("note", head.into_bytes()),
        ("proof", proof),
        ("trust", trust().to_json()),
        ("policy", policy().into_bytes()),
        ("export", export),
    ] {
        let directory = directory.join(target);
        fs::create_dir_all(&directory).expect("the directory can be made");
        fs::write(directory.join("honest"), bytes).expect("the seed can be written");
    }
}
