use proptest::prelude::*;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::note::{Note, VerifierKey};

/// Made with Python's `cryptography` from the words of the standard: key of the seed 60 (32 times), time 1679315147.
const VKEY: &str = "witness.example/w1+be66a685+BFUm90KUFxGzvFMLpE/29tqw8Ktxr4MvQaf+O5/a7Zxg";
const LINE: &str = "— witness.example/w1 vmamhQAAAABkGFDL+uWD8CBaMPq0PMbQ5hj3ZX8xgFytF2PV3FxfzncQkWrMc778bvUZSkOKvD3ypQGjWjVkTGrykRU6mOmiF9w8CA==\n";
const TIME: u64 = 1_679_315_147;

fn key() -> SigningKey {
    SigningKey::from_seed([60; 32])
}

fn witness() -> WitnessKey {
    WitnessKey::parse(VKEY).unwrap()
}

fn text() -> String {
    Checkpoint {
        origin: "log.example/one".to_owned(),
        size: 7,
        root: Digest::of(b"root"),
    }
    .to_text()
}

fn cosigned() -> NoteSignature {
    sign(&text(), TIME, "witness.example/w1", &key()).unwrap()
}

#[test]
fn a_cosignature_made_elsewhere_is_verified_and_made_alike() {
    assert_eq!(witness().to_string(), VKEY);
    assert_eq!(
        WitnessKey::new("witness.example/w1", &key().public()).unwrap(),
        witness()
    );
    let note = Note::parse(&format!("{}\n{LINE}", text())).unwrap();
    assert_eq!(witness().verify(&note.text, &note.signatures[0]), Ok(TIME));
    assert_eq!(note.signatures, [cosigned()]);
}

#[test]
fn a_cosignature_is_of_one_text_and_one_time() {
    let grown = text().replacen("\n7\n", "\n8\n", 1);
    let bad = Err(CosignatureError::BadSignature);
    assert_eq!(witness().verify(&grown, &cosigned()), bad);
    // Fresher than it is.
    let mut later = cosigned();
    later.signature[7] += 1;
    assert_eq!(witness().verify(&text(), &later), bad);
    let mut forged = cosigned();
    forged.signature[8] ^= 1;
    assert_eq!(witness().verify(&text(), &forged), bad);
}

#[test]
fn a_cosignature_has_the_length_of_a_time_and_a_signature() {
    for length in [0, 7, 8, 64, 71, 73, 2428] {
        let mut signature = cosigned();
        signature.signature.resize(length, 0);
        assert_eq!(
            witness().verify(&text(), &signature),
            Err(CosignatureError::Length { found: length })
        );
    }
}

#[test]
fn a_time_beyond_the_standards_is_refused_under_a_good_signature_too() {
    let mut late = cosigned();
    let time = UNIX_SECONDS_MAX + 1;
    let message = format!("cosignature/v1\ntime {time}\n{}", text());
    late.signature = [&time.to_be_bytes()[..], &key().sign(message.as_bytes())].concat();
    assert_eq!(
        witness().verify(&text(), &late),
        Err(CosignatureError::Time)
    );
    assert_eq!(
        sign(&text(), time, "w", &key()),
        Err(CosignatureError::Time)
    );
    let last = sign(&text(), UNIX_SECONDS_MAX, "witness.example/w1", &key()).unwrap();
    assert_eq!(witness().verify(&text(), &last), Ok(UNIX_SECONDS_MAX));
}

#[test]
fn a_line_by_another_key_or_name_is_not_the_witnesss() {
    let other_name = sign(&text(), TIME, "witness.example/w2", &key()).unwrap();
    let other_key = SigningKey::from_seed([61; 32]);
    let other_key = sign(&text(), TIME, "witness.example/w1", &other_key).unwrap();
    for line in [other_name, other_key] {
        assert!(!witness().is_named_by(&line));
        let error = witness().verify(&text(), &line).unwrap_err();
        assert!(
            matches!(error, CosignatureError::OtherKey { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_signature_of_a_note_and_a_cosignature_do_not_pass_for_each_other() {
    let signed = note::sign(&text(), "witness.example/w1", &key()).unwrap();
    assert!(!witness().is_named_by(&signed.signatures[0]));
    // Nor with the id of the other type.
    let mut disguised = signed.signatures[0].clone();
    disguised.key_id = cosigned().key_id;
    disguised.signature = [&TIME.to_be_bytes()[..], &disguised.signature].concat();
    assert_eq!(
        witness().verify(&text(), &disguised),
        Err(CosignatureError::BadSignature)
    );
    let log = VerifierKey::new("witness.example/w1", &key().public()).unwrap();
    assert!(!log.is_named_by(&cosigned()));
}

#[test]
fn a_key_of_another_type_is_no_witnesss() {
    let log = VerifierKey::new("witness.example/w1", &key().public()).unwrap();
    let ml_dsa = VKEY.replacen("+BFUm", "+BlUm", 1);
    for text in [&log.to_string(), &ml_dsa, "", "w", "a+b", "a+b+c"] {
        let error = WitnessKey::parse(text).unwrap_err();
        assert_eq!(error, CosignatureError::WitnessKey, "{text}");
    }
    let error = WitnessKey::parse(&VKEY.replacen("be66", "be67", 1)).unwrap_err();
    let wrong_id = matches!(error, CosignatureError::Key(NoteError::KeyId { .. }));
    assert!(wrong_id, "{error}");
    assert!(VerifierKey::parse(VKEY).is_err(), "and no log's either");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_cosignature_and_no_panic(signature in proptest::collection::vec(any::<u8>(), 0..200), text in ".*") {
        let line = NoteSignature { signature, ..cosigned() };
        prop_assert!(witness().verify(&text, &line).is_err());
        let _ = WitnessKey::parse(&text);
    }
}
