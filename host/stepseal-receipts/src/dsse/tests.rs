use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn envelope() -> Envelope {
    Envelope::sign(IN_TOTO, b"{}".to_vec(), &SigningKey::from_seed([9; 32]))
}

/// The JSON of a good envelope, with `change` made to it.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::to_value(envelope()).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

fn parse(text: &[u8]) -> Result<Envelope, String> {
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

#[test]
fn the_encoding_is_the_one_of_the_specification() {
    // DSSE protocol.md, "Test Vectors".
    assert_eq!(
        pae("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
    assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    assert!(pae(IN_TOTO, b"{}").starts_with(b"DSSEv1 28 application/vnd.in-toto+json 2 {}"));
}

#[test]
fn the_example_of_the_specification_is_read() {
    // DSSE protocol.md, "Test Vectors"; the signature there is 64 bytes of ECDSA, here only carried.
    let text = br#"{"payload": "aGVsbG8gd29ybGQ=",
        "payloadType": "http://example.com/HelloWorld",
        "signatures": [{"sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}]}"#;
    let envelope = parse(text).unwrap();
    assert_eq!(envelope.payload, b"hello world");
    assert_eq!(
        envelope.pae(),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
    assert_eq!(envelope.signatures[0].keyid, None);
}

#[test]
fn a_signed_envelope_verifies_and_a_change_of_payload_or_type_does_not() {
    let key = SigningKey::from_seed([9; 32]);
    let envelope = envelope();
    let signature = envelope.signatures[0].clone();
    assert_eq!(signature.keyid, Some(key.public().id().to_hex()));
    assert_eq!(envelope.verify(&signature, &key.public()), Ok(()));
    assert_eq!(
        envelope.pae_digest(),
        Digest::of(b"DSSEv1 28 application/vnd.in-toto+json 2 {}")
    );
    let other_payload = Envelope {
        payload: b"[]".to_vec(),
        ..envelope.clone()
    };
    assert_eq!(
        other_payload.verify(&signature, &key.public()),
        Err(KeyError::BadSignature)
    );
    let other_type = Envelope {
        payload_type: "application/json".to_owned(),
        ..envelope
    };
    assert_eq!(
        other_type.verify(&signature, &key.public()),
        Err(KeyError::BadSignature)
    );
}

#[test]
fn what_is_not_an_envelope_is_refused_with_the_member() {
    let mut cases: Vec<(Vec<u8>, &str)> = vec![
        (b"[]".to_vec(), "envelope must be an object"),
        (
            br#"{"payload":"","signatures":[]}"#.to_vec(),
            "envelope.payloadType is missing",
        ),
        (
            changed(|value| value["extension"] = json!({"kind": "x"})),
            "envelope.extension is unknown",
        ),
        (
            changed(|value| value["signatures"] = json!([])),
            "envelope.signatures must be a list of at least one",
        ),
        (
            changed(|value| value["signatures"] = json!(vec![value["signatures"][0].clone(); 17])),
            "envelope.signatures has 17 items, and at most 16",
        ),
        (
            changed(|value| value["signatures"][0]["keyid"] = json!("a".repeat(257))),
            "envelope.signatures[0].keyid",
        ),
        (
            changed(|value| value["payloadType"] = json!("a".repeat(256))),
            "envelope.payloadType must be a string of at most 255",
        ),
    ];
    let too_long = "A".repeat(PAYLOAD_BYTES_MAX.div_ceil(3) * 4 + 4);
    for payload in ["e30", "e31=", "e30=\n", "e3-_", &too_long] {
        cases.push((
            changed(|value| value["payload"] = json!(payload)),
            "envelope.payload must be padded standard base64 of at most 32768 bytes",
        ));
    }
    for sig in [
        String::new(),
        b64::encode(&[0; 63]),
        b64::encode(&[0; 65]),
        "-".repeat(88),
    ] {
        cases.push((
            changed(|value| value["signatures"][0]["sig"] = json!(sig)),
            "envelope.signatures[0].sig must be",
        ));
    }
    for (text, expected) in cases {
        let reason = parse(&text).unwrap_err();
        assert!(reason.contains(expected), "{reason} should say {expected}");
    }
}

proptest! {
    #[test]
    fn every_envelope_survives_its_json(payload: Vec<u8>, seed: [u8; 32], keyid in any::<bool>()) {
        let mut envelope = Envelope::sign(IN_TOTO, payload, &SigningKey::from_seed(seed));
        if !keyid {
            envelope.signatures[0].keyid = None;
        }
        prop_assert_eq!(parse(&envelope.to_json()), Ok(envelope));
    }

    #[test]
    fn no_two_pairs_of_type_and_payload_have_one_encoding(a: (String, Vec<u8>), b: (String, Vec<u8>)) {
        prop_assert_eq!(pae(&a.0, &a.1) == pae(&b.0, &b.1), a == b);
    }

    #[test]
    fn arbitrary_bytes_never_panic(text: Vec<u8>) {
        prop_assert!(parse(&text).is_err());
    }
}

proptest! {
    #[test]
    fn the_json_that_is_stored_is_the_canonical_form_of_the_value(
        payload_type: String, payload: Vec<u8>, signatures in prop::collection::vec((any::<Option<String>>(), any::<[u8; 32]>()), 0..3)
    ) {
        let signatures = signatures.into_iter().map(|(keyid, half)| {
            let mut sig = [0; 64];
            sig[..32].copy_from_slice(&half);
            Signature { keyid, sig }
        });
        let envelope = Envelope { payload_type, payload, signatures: signatures.collect() };
        let value = serde_json::to_value(&envelope).unwrap();
        prop_assert_eq!(envelope.to_json(), json::canonical(&value));
    }
}
