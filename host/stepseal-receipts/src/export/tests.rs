use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::dsse::{IN_TOTO, Signature};
use crate::keys::SigningKey;
use crate::note::VerifierKey;
use crate::trust::{RecordKey, TrustFile};
use sigstore::{BundleError, Bundles};

const ORIGIN: &str = "log.example/1";

fn log_key() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

fn record_key(number: u8) -> SigningKey {
    SigningKey::from_seed([number; 32])
}

/// Keys 2 and 3 sign records, key 3 only from index 10 to 20.
fn trust() -> TrustFile {
    let record = |number, from_index, to_index| RecordKey {
        key: record_key(number).public(),
        from_index,
        to_index,
    };
    TrustFile {
        origin: ORIGIN.to_owned(),
        log: vec![VerifierKey::new(ORIGIN, &log_key().public()).unwrap()],
        records: vec![record(2, 0, None), record(3, 10, Some(20))],
        approvers: Vec::new(),
        root: Vec::new(),
    }
}

fn checkpoint(size: u64) -> String {
    let root = Digest::of(b"root");
    let origin = ORIGIN.to_owned();
    Checkpoint { origin, size, root }.sign(&log_key()).unwrap()
}

fn entry(index: u64, signer: u8) -> Entry {
    Entry {
        index,
        envelope: Envelope::sign(IN_TOTO, b"{}".to_vec(), &record_key(signer)),
        proof: vec![Digest::of(b"one"), Digest::of(b"two")],
    }
}

fn bundle(entry: &Entry) -> Vec<u8> {
    let (note, trust) = (checkpoint(100), trust());
    Bundles::new(&note, &trust).unwrap().bundle(entry).unwrap()
}

fn changed(bundle: &[u8], pointer: &str, value: Option<Value>) -> Vec<u8> {
    let mut bundle: Value = serde_json::from_slice(bundle).unwrap();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = bundle.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => Some(parent.remove(name).unwrap()),
    };
    serde_json::to_vec(&bundle).unwrap()
}

prop_compose! {
    /// A record with a proof, signed by key 2; nothing in it depends on the rest.
    fn any_entry()(
        index: u64, payload in vec(any::<u8>(), 0..300), payload_type in "\\PC{0,40}", keyid in proptest::option::of("\\PC{0,80}"),
        proof in vec(any::<[u8; 32]>(), 0..=64)
    ) -> Entry {
        let mut envelope = Envelope::sign(&payload_type, payload, &record_key(2));
        envelope.signatures[0].keyid = keyid;
        Entry { index, envelope, proof: proof.into_iter().map(Digest::from_bytes).collect() }
    }
}

proptest! {
    #[test]
    fn a_tlog_proof_is_read_back_as_it_was(entry in any_entry(), checkpoint in "(\\PC|\n){0,200}", more in vec(any::<[u8; 64]>(), 0..3)) {
        let mut entry = entry;
        entry.envelope.signatures.extend(more.into_iter().map(|sig| Signature { keyid: None, sig }));
        let text = tlog_proof::write(&checkpoint, &entry);
        prop_assert_eq!(read(&text).unwrap(), Proved { checkpoint, entry });
    }

    #[test]
    fn a_bundle_is_read_back_as_it_was(entry in any_entry(), size in 1..=crate::tree::SIZE_MAX) {
        let (note, trust) = (checkpoint(size), trust());
        let bundle = Bundles::new(&note, &trust).unwrap().bundle(&entry).unwrap();
        prop_assert_eq!(read(&bundle).unwrap(), Proved { checkpoint: note, entry });
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in vec(any::<u8>(), 0..256), header: bool) {
        let bytes = if header { [tlog_proof::HEADER.as_bytes(), &bytes].concat() } else { bytes };
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_never_panics(place: prop::sample::Index, byte: u8, text: bool) {
        let entry = entry(1, 2);
        let mut file = if text { tlog_proof::write(&checkpoint(2), &entry) } else { bundle(&entry) };
        let place = place.index(file.len());
        file[place] = byte;
        let _ = read(&file);
    }

    #[test]
    fn proofs_of_a_receipt_make_its_records_again_in_any_order(entries in vec(any_entry(), 1..6), turn: prop::sample::Index) {
        let mut entries = entries;
        entries.sort_by_key(|entry| entry.index);
        entries.dedup_by_key(|entry| entry.index);
        let mut proved: Vec<Proved> = entries.iter()
            .map(|entry| read(&tlog_proof::write("a note", entry)).unwrap()).collect();
        let turn = turn.index(proved.len());
        proved.rotate_left(turn);
        let receipt = gather(proved).unwrap();
        prop_assert_eq!((receipt.checkpoint.as_str(), receipt.entries), ("a note", entries));
    }
}

#[test]
fn a_tlog_proof_has_the_form_of_the_standard() {
    let text = String::from_utf8(tlog_proof::write("the\ncheckpoint\n", &entry(7, 2))).unwrap();
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!(lines[0], "c2sp.org/tlog-proof@v1");
    let extra = STANDARD
        .decode(lines[1].strip_prefix("extra ").unwrap())
        .unwrap();
    assert_eq!(extra, entry(7, 2).envelope.to_json());
    assert_eq!(lines[2], "index 7");
    assert_eq!(lines[3], STANDARD.encode(Digest::of(b"one").as_bytes()));
    assert_eq!(lines[5..], ["", "the", "checkpoint", ""]);
}

#[test]
fn a_bundle_has_the_forms_of_sigstore() {
    let bundle: Value = serde_json::from_slice(&bundle(&entry(7, 2))).unwrap();
    assert_eq!(bundle["mediaType"], sigstore::BUNDLE_MEDIA_TYPE);
    let material = &bundle["verificationMaterial"];
    let key = record_key(2).public();
    assert_eq!(material["publicKey"]["hint"], key.id().to_hex());
    let logged = &material["tlogEntries"][0];
    assert_eq!(
        (&logged["logIndex"], &logged["inclusionProof"]["treeSize"]),
        (&json!("7"), &json!("100"))
    );
    let body = STANDARD
        .decode(logged["canonicalizedBody"].as_str().unwrap())
        .unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&body["kind"], &body["apiVersion"]),
        (
            &logged["kindVersion"]["kind"],
            &logged["kindVersion"]["version"]
        )
    );
    // What names the log in the bundle is in the trusted root, and begins with the key id of the checkpoint.
    let root: Value = serde_json::from_slice(&sigstore::trusted_root(&trust())).unwrap();
    let log = &root["tlogs"][0];
    assert_eq!(log["logId"], logged["logId"]);
    let id = STANDARD
        .decode(log["logId"]["keyId"].as_str().unwrap())
        .unwrap();
    assert_eq!((id.len(), &id[..4]), (32, &trust().log[0].key_id()[..]));
    assert_eq!(log["baseUrl"], "https://log.example/1");
    assert_eq!(
        log["publicKey"]["rawBytes"],
        log_key().public().spki_base64()
    );
    let keys: Value = serde_json::from_slice(&sigstore::record_keys(&trust())).unwrap();
    assert_eq!(keys.as_object().unwrap().len(), 2);
    assert_eq!(keys[key.id().to_hex()]["rawBytes"], key.spki_base64());
}

#[test]
fn a_log_is_named_as_rekor_names_its_own() {
    // Sigstore's public instance of Rekor v2, as its trusted root has it.
    let key = "MCowBQYDK2VwAyEAt8rlp1knGwjfbcXAYPYAkn0XiLz1x8O4t0YkEhie244=";
    let key = crate::keys::PublicKey::from_spki_base64(key).unwrap();
    let log = VerifierKey::new("log2025-1.rekor.sigstore.dev", &key).unwrap();
    assert_eq!(
        STANDARD.encode(log.key_hash().as_bytes()),
        "zxGZFVvd0FEmjR8WrFwMdcAJ9vtaY/QXf44Y1wUeP6A="
    );
}

#[test]
fn a_bundle_is_made_only_with_keys_of_the_trust_file() {
    let (note, trust) = (checkpoint(100), trust());
    let bundles = Bundles::new(&note, &trust).unwrap();
    assert!(bundles.bundle(&entry(10, 3)).is_ok() && bundles.bundle(&entry(20, 3)).is_ok());
    for (index, signer) in [(9, 3), (21, 3), (10, 4), (10, 1)] {
        assert_eq!(
            bundles.bundle(&entry(index, signer)),
            Err(BundleError::Signer { index })
        );
    }
    let mut twice = entry(5, 2);
    let signature = twice.envelope.signatures[0].clone();
    twice.envelope.signatures.push(signature);
    assert_eq!(
        bundles.bundle(&twice),
        Err(BundleError::Signatures {
            index: 5,
            signatures: 2
        })
    );
    let foreign = checkpoint(100).replace(ORIGIN, "log.example/2");
    assert!(matches!(
        Bundles::new(&foreign, &trust),
        Err(BundleError::Checkpoint(_))
    ));
}

#[test]
fn lines_are_the_envelopes_in_order() {
    let proved = [8, 7].map(|index| Proved {
        checkpoint: "c".to_owned(),
        entry: entry(index, 2),
    });
    let receipt = gather(proved.to_vec()).unwrap();
    let lines = dsse_lines::write(&receipt);
    let lines: Vec<Envelope> = lines
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines, [entry(7, 2).envelope, entry(8, 2).envelope]);
    assert!(matches!(
        read(&dsse_lines::write(&receipt)),
        Err(ImportError::OnlyEnvelopes)
    ));
}

#[test]
fn proofs_that_are_not_of_one_receipt_are_not_put_together() {
    let proved = |checkpoint: &str, index| Proved {
        checkpoint: checkpoint.to_owned(),
        entry: entry(index, 2),
    };
    assert_eq!(gather(Vec::new()), Err(GatherError::Nothing));
    assert_eq!(
        gather(vec![proved("a", 1), proved("b", 2)]),
        Err(GatherError::OtherCheckpoint { number: 2 })
    );
    assert_eq!(
        gather(vec![proved("a", 2), proved("a", 1), proved("a", 2)]),
        Err(GatherError::Twice { index: 2 })
    );
}

#[test]
fn a_tlog_proof_says_which_line_is_wrong() {
    let good = String::from_utf8(tlog_proof::write("c\n", &entry(7, 2))).unwrap();
    let extra = good.split('\n').nth(1).unwrap();
    let hash = STANDARD.encode(Digest::of(b"one").as_bytes());
    let many = format!("{hash}\n").repeat(65);
    for (from, to, at) in [
        ("\n\n", "\n", 1),
        (extra, "extra !", 2),
        (&*format!("{extra}\n"), "", 2),
        ("index 7", "index 07", 3),
        ("index 7", "index -7", 3),
        ("index 7", "index 18446744073709551616", 3),
        (&*hash, "AAAA", 4),
        (&*format!("{hash}\n"), &*many, 68),
    ] {
        let bad = good.replacen(from, to, 1);
        match read(bad.as_bytes()) {
            Err(ImportError::Line { line, .. }) => assert_eq!(line, at, "{to}"),
            other => panic!("{to}: {other:?}"),
        }
    }
    let other = format!("extra {}", STANDARD.encode("{}"));
    assert!(matches!(
        read(good.replace(extra, &other).as_bytes()),
        Err(ImportError::Extra(_))
    ));
}

#[test]
fn a_file_that_is_too_large_is_not_looked_at() {
    for begin in [tlog_proof::HEADER, "{"] {
        let mut large = begin.as_bytes().to_vec();
        large.resize(FILE_BYTES_MAX + 1, b'\n');
        assert!(matches!(read(&large), Err(ImportError::TooLarge { .. })));
    }
}

#[test]
fn the_largest_record_under_the_largest_checkpoint_fits() {
    let mut large = entry(u64::MAX, 2);
    large.envelope = Envelope::sign(
        &"\u{1}".repeat(255),
        vec![0; crate::dsse::PAYLOAD_BYTES_MAX],
        &record_key(2),
    );
    large.envelope.signatures[0].keyid = Some("\u{1}".repeat(crate::dsse::KEYID_BYTES_MAX));
    large.proof = vec![Digest::of(b"one"); 64];
    // Unknown signatures may be added to a note, up to its limit.
    let mut note = checkpoint(100);
    let line = format!("\u{2014} w {}\n", STANDARD.encode([7; 600]));
    while note.len() + line.len() <= crate::note::NOTE_BYTES_MAX
        && note.matches('\u{2014}').count() < 100
    {
        note.push_str(&line);
    }
    let trust = trust();
    for file in [
        tlog_proof::write(&note, &large),
        Bundles::new(&note, &trust).unwrap().bundle(&large).unwrap(),
    ] {
        assert_eq!(
            read(&file).unwrap(),
            Proved {
                checkpoint: note.clone(),
                entry: large.clone()
            }
        );
    }
}

#[test]
fn a_bundle_that_says_what_no_receipt_can_is_refused() {
    let good = bundle(&entry(7, 2));
    let log = "/verificationMaterial/tlogEntries/0";
    let at = |rest: &str| format!("{log}{rest}");
    let other_root = json!(STANDARD.encode([9; 32]));
    for (pointer, value, member) in [
        (
            "/mediaType".to_owned(),
            Some(json!("application/json")),
            "mediaType",
        ),
        ("/dsseEnvelope".to_owned(), None, "dsseEnvelope"),
        (
            "/dsseEnvelope/more".to_owned(),
            Some(json!("x")),
            "dsseEnvelope.more",
        ),
        (
            "/verificationMaterial/publicKey".to_owned(),
            None,
            "verificationMaterial.publicKey",
        ),
        (
            "/verificationMaterial/certificate".to_owned(),
            Some(json!({})),
            "verificationMaterial.certificate",
        ),
        (
            "/verificationMaterial/tlogEntries".to_owned(),
            Some(json!([])),
            "verificationMaterial.tlogEntries",
        ),
        (
            at("/integratedTime"),
            Some(json!("1")),
            "verificationMaterial.tlogEntries[0].integratedTime",
        ),
        (
            at("/logIndex"),
            Some(json!(7)),
            "verificationMaterial.tlogEntries[0].logIndex",
        ),
        (
            at("/kindVersion/version"),
            Some(json!("0.0.1")),
            "verificationMaterial.tlogEntries[0].kindVersion.version",
        ),
        (
            at("/inclusionProof/hashes"),
            Some(json!(["AA=="])),
            "verificationMaterial.tlogEntries[0].inclusionProof.hashes[0]",
        ),
        (
            at("/inclusionProof/hashes"),
            Some(vec!["x"; 65].into()),
            "verificationMaterial.tlogEntries[0].inclusionProof.hashes",
        ),
        (
            at("/canonicalizedBody"),
            Some(json!("AAAA")),
            "verificationMaterial.tlogEntries[0].canonicalizedBody",
        ),
    ] {
        match read(&changed(&good, &pointer, value)) {
            Err(ImportError::Member(error)) => assert_eq!(error.member(), member),
            other => panic!("{pointer}: {other:?}"),
        }
    }
    for (pointer, value, member) in [
        (at("/logIndex"), Some(json!("8")), "inclusionProof.logIndex"),
        (at("/logIndex"), None, "inclusionProof.logIndex"),
        (
            at("/inclusionProof/treeSize"),
            Some(json!("101")),
            "inclusionProof.treeSize",
        ),
        (
            at("/inclusionProof/rootHash"),
            Some(other_root),
            "inclusionProof.rootHash",
        ),
        (
            at("/inclusionProof/checkpoint/envelope"),
            Some(json!("x")),
            "inclusionProof.rootHash",
        ),
    ] {
        match read(&changed(&good, &pointer, value)) {
            Err(ImportError::OtherTree { member: found }) => assert_eq!(found, member),
            other => panic!("{pointer}: {other:?}"),
        }
    }
    let payload = changed(&good, "/dsseEnvelope/payload", Some(json!("e30K")));
    assert!(matches!(read(&payload), Err(ImportError::OtherLeaf)));
    let foreign: Value = serde_json::from_slice(&bundle(&entry(10, 3))).unwrap();
    let body = foreign.pointer(&at("/canonicalizedBody")).cloned();
    let swapped = changed(&good, &at("/canonicalizedBody"), body);
    assert!(matches!(read(&swapped), Err(ImportError::OtherLeaf)));
}

#[test]
fn numbers_that_are_0_may_be_left_out() {
    let mut first = bundle(&entry(0, 2));
    for rest in ["/logIndex", "/inclusionProof/logIndex"] {
        let pointer = format!("/verificationMaterial/tlogEntries/0{rest}");
        first = changed(&first, &pointer, None);
    }
    assert_eq!(read(&first).unwrap().entry, entry(0, 2));
}
