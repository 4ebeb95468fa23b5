use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::dsse::{IN_TOTO, Signature};

fn receipt() -> Receipt {
    let envelope = Envelope {
        payload_type: IN_TOTO.to_owned(),
        payload: b"{}".to_vec(),
        signatures: vec![Signature {
            keyid: Some("k".to_owned()),
            sig: [7; 64],
        }],
    };
    let hash = |n| Digest::from_bytes([n; 32]);
    Receipt {
        checkpoint: "a note".to_owned(),
        entries: vec![Entry {
            index: u64::MAX,
            envelope: envelope.clone(),
            proof: vec![hash(1), hash(2)],
        }],
        erased: vec![Erased {
            index: 7,
            leaf: vec![5; leaf::LEAF_BYTES],
            proof: vec![hash(4)],
            erasure: 9,
        }],
        approvals: vec![envelope],
        disclosures: vec![vec![1, 2, 3], Vec::new()],
        consistency: vec![Consistency {
            size: 5,
            proof: vec![hash(3)],
        }],
        unrecognised: Map::from_iter([("remark".to_owned(), json!(["x"]))]),
    }
}

fn parse(bytes: &[u8]) -> Result<Receipt, ReceiptError> {
    Receipt::parse(bytes, &ReceiptLimits::default())
}

#[test]
fn a_receipt_is_read_back_as_it_was() {
    assert_eq!(parse(&receipt().to_json()).unwrap(), receipt());
}

#[test]
fn the_file_has_the_forms_of_the_format() {
    let file: Value = serde_json::from_slice(&receipt().to_json()).unwrap();
    assert_eq!(file["mediaType"], MEDIA_TYPE);
    assert_eq!(file["entries"][0]["index"], "18446744073709551615");
    assert_eq!(file["entries"][0]["proof"][0], b64::encode(&[1; 32]));
    assert_eq!(file["entries"][0]["envelope"]["payloadType"], IN_TOTO);
    let leaf = b64::encode(&[5; leaf::LEAF_BYTES]);
    let proof = [b64::encode(&[4; 32])];
    let erased = json!({"index": "7", "entry": leaf, "proof": proof, "erasure": "9"});
    assert_eq!(file["erased"][0], erased);
    assert_eq!(file["disclosures"][0]["blob"], "AQID");
    assert_eq!(file["consistency"][0]["size"], "5");
}

#[test]
fn what_neighbours_have_in_common_is_written_once() {
    let hash = |n| Digest::from_bytes([n; 32]);
    let mut receipt = receipt();
    let proofs = [
        vec![hash(1), hash(2), hash(3)],
        vec![hash(4), hash(3)],
        vec![hash(5), hash(4), hash(3)],
        vec![hash(6)],
    ];
    receipt.entries = proofs
        .into_iter()
        .map(|proof| Entry {
            proof,
            ..receipt.entries[0].clone()
        })
        .collect();
    let file: Value = serde_json::from_slice(&receipt.to_json()).unwrap();
    let written = file["entries"].as_array().unwrap().iter();
    let written: Vec<_> = written
        .map(|entry| (entry["proof"].as_array().unwrap().len(), &entry["shared"]))
        .collect();
    let none = Value::Null;
    assert_eq!(
        written,
        [(3, &none), (1, &json!("1")), (1, &json!("2")), (1, &none)]
    );
    assert_eq!(parse(&receipt.to_json()).unwrap(), receipt);
}

#[test]
fn empty_lists_are_left_out_and_read_as_empty() {
    let empty = Receipt {
        erased: Vec::new(),
        approvals: Vec::new(),
        disclosures: Vec::new(),
        consistency: Vec::new(),
        unrecognised: Map::new(),
        ..receipt()
    };
    let file: Value = serde_json::from_slice(&empty.to_json()).unwrap();
    assert_eq!(file.as_object().unwrap().len(), 3);
    assert_eq!(parse(&empty.to_json()).unwrap(), empty);
}

#[test]
fn each_limit_is_held() {
    let bytes = receipt().to_json();
    let limits = ReceiptLimits {
        bytes_max: bytes.len(),
        entries_max: 1,
        disclosures_max: 2,
    };
    assert!(Receipt::parse(&bytes, &limits).is_ok());
    let shorter = ReceiptLimits {
        bytes_max: bytes.len() - 1,
        ..limits
    };
    assert!(matches!(
        Receipt::parse(&bytes, &shorter),
        Err(ReceiptError::Json(_))
    ));
    let fewer = ReceiptLimits {
        entries_max: 0,
        ..limits
    };
    assert_eq!(
        Receipt::parse(&bytes, &fewer).unwrap_err().member(),
        "entries"
    );
    let fewer = ReceiptLimits {
        disclosures_max: 1,
        ..limits
    };
    assert_eq!(
        Receipt::parse(&bytes, &fewer).unwrap_err().member(),
        "disclosures"
    );
}

/// The member at fault of a receipt in which `from` is replaced.
fn fault_with(from: &str, to: &str) -> (String, String) {
    let text = String::from_utf8(receipt().to_json()).unwrap();
    assert!(text.contains(from), "{text}");
    let limits = ReceiptLimits::default();
    let error = Receipt::parse(text.replacen(from, to, 1).as_bytes(), &limits).unwrap_err();
    (error.member().to_owned(), error.to_string())
}

#[test]
fn a_million_entries_are_refused() {
    let entries = format!("\"entries\":[{}{{}},", "{},".repeat(1_000_000));
    let (member, message) = fault_with("\"entries\":[", &entries);
    assert_eq!(member, "entries");
    assert!(message.contains("at most 100000"), "{message}");
}

#[test]
fn ten_thousand_proof_hashes_are_refused() {
    let hash = format!("\"{}\",", b64::encode(&[1; 32]));
    let proof = format!("\"proof\":[{}", hash.repeat(10_000));
    let (member, message) = fault_with("\"proof\":[", &proof);
    assert!(member.ends_with("proof"), "{member}");
    assert!(message.contains("at most 64"), "{message}");
}

#[test]
fn a_depth_bomb_is_refused_wherever_it_is() {
    for from in ["\"checkpoint\":", "\"entries\":[", "\"disclosures\":["] {
        for bomb in ["[", "{\"a\":"] {
            let (_, message) = fault_with(from, &format!("{from}{}", bomb.repeat(1_000_000)));
            assert!(message.contains("nested deeper than 16"), "{message}");
        }
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused_with_its_place() {
    let mut bytes = receipt().to_json();
    let place = bytes
        .windows(12)
        .position(|part| part == b"\"checkpoint\"")
        .unwrap();
    bytes[place + 15] = 0xff;
    let error = parse(&bytes).unwrap_err();
    assert_eq!(error.member(), "/checkpoint");
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

#[test]
fn base64_has_one_form_only() {
    let text = String::from_utf8(receipt().to_json()).unwrap();
    for other in ["AQIE=", "AQI", "AQ_D", "AQ ID"] {
        let changed = text.replace("AQID", other);
        assert_eq!(
            parse(changed.as_bytes()).unwrap_err().member(),
            "disclosures[0].blob",
            "{other}"
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_never_panics(place: prop::sample::Index, byte: u8) {
        let mut bytes = receipt().to_json();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = parse(&bytes);
    }
}
