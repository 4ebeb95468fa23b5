use proptest::prelude::*;

use super::*;

/// The example of Go's `sumdb/note`, whose format C2SP signed-note took over.
const GO_VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

fn verifier(name: &str, seed: u8) -> VerifierKey {
    VerifierKey::new(name, &key(seed).public()).unwrap()
}

/// One note with the signatures of all of `notes`, which have one text.
fn joined(notes: &[Note]) -> Note {
    let signatures = notes
        .iter()
        .flat_map(|note| note.signatures.clone())
        .collect();
    Note {
        text: notes[0].text.clone(),
        signatures,
    }
}

#[test]
fn the_note_of_go_is_read_verified_and_written_as_it_was() {
    let known = [VerifierKey::parse(GO_VKEY).unwrap()];
    assert_eq!(known[0].to_string(), GO_VKEY);
    assert_eq!(known[0].name(), "PeterNeumann");
    assert_eq!(known[0].key_id(), [0xc7, 0x4f, 0x20, 0xa3]);
    let note = Note::parse(GO_NOTE).unwrap();
    assert_eq!(note.to_string(), GO_NOTE);
    assert_eq!(note.verify(&known), Ok(vec![&known[0]]));
}

#[test]
fn signatures_of_unknown_keys_are_passed_over_but_one_known_key_must_have_signed() {
    let note = joined(&[
        sign("text\n", "unknown", &key(1)).unwrap(),
        sign("text\n", "known", &key(2)).unwrap(),
    ]);
    let known = [verifier("absent", 3), verifier("known", 2)];
    assert_eq!(note.verify(&known), Ok(vec![&known[1]]));
    assert_eq!(note.verify(&known[..1]), Err(NoteError::NoKnownKey));
    assert_eq!(note.verify(&[]), Err(NoteError::NoKnownKey));
    // The same key under another name is another key.
    assert_eq!(
        note.verify(&[verifier("other", 2)]),
        Err(NoteError::NoKnownKey)
    );
}

#[test]
fn a_bad_signature_of_a_known_key_rejects_the_note_whoever_else_signed() {
    let known = [verifier("one", 1), verifier("two", 2)];
    let good = joined(&[
        sign("text\n", "one", &key(1)).unwrap(),
        sign("text\n", "two", &key(2)).unwrap(),
    ]);
    assert_eq!(good.verify(&known), Ok(vec![&known[0], &known[1]]));
    let mut bad = good.clone();
    bad.signatures[1].signature[0] ^= 1;
    assert_eq!(
        bad.verify(&known),
        Err(NoteError::BadSignature {
            name: "two".to_owned()
        })
    );
    assert_eq!(
        bad.verify(&known[..1]),
        Ok(vec![&known[0]]),
        "to whom the key is unknown it is passed over"
    );
    let mut short = good.clone();
    short.signatures[1].signature.pop();
    assert_eq!(
        short.verify(&known),
        Err(NoteError::BadSignature {
            name: "two".to_owned()
        })
    );
    // A good and a bad signature of one key: bad.
    let mut twice = good.clone();
    twice.signatures.push(bad.signatures[1].clone());
    assert_eq!(
        twice.verify(&known),
        Err(NoteError::BadSignature {
            name: "two".to_owned()
        })
    );
    let other_text = Note {
        text: "text \n".to_owned(),
        ..good
    };
    assert!(matches!(
        other_text.verify(&known),
        Err(NoteError::BadSignature { .. })
    ));
}

#[test]
fn a_key_signing_twice_counts_once() {
    let once = sign("text\n", "one", &key(1)).unwrap();
    let known = [verifier("one", 1), verifier("one", 1)];
    assert_eq!(
        joined(&[once.clone(), once]).verify(&known).unwrap().len(),
        1
    );
}

#[test]
fn a_text_may_have_blank_lines() {
    let note = sign("one\n\n— not a signature\n\ntwo\n", "name", &key(1)).unwrap();
    assert_eq!(note.text, "one\n\n— not a signature\n\ntwo\n");
    assert!(note.verify(&[verifier("name", 1)]).is_ok());
}

#[test]
fn what_is_not_a_note_is_refused_with_the_place() {
    let line = "— n AAAAAAA=\n";
    let shape = |note: &str| Note::parse(note).unwrap_err();
    assert!(Note::parse(&format!("t\n\n{line}")).is_ok());
    for wrong in [
        "",
        "\n",
        "t\n",
        "t\n\n",
        &format!("t\n{line}"),
        &format!("t\n\n{}", line.trim_end()),
        "t\n\n— n AAAAAAA=",
    ] {
        assert_eq!(shape(wrong), NoteError::Shape, "{wrong:?}");
    }
    assert_eq!(
        shape(&format!("t\r\n\n{line}")),
        NoteError::ControlCharacter { offset: 1 }
    );
    assert_eq!(
        shape(&format!("\u{0}t\n\n{line}")),
        NoteError::ControlCharacter { offset: 0 }
    );
    assert_eq!(
        shape(&"x".repeat(NOTE_BYTES_MAX + 1)),
        NoteError::TooLarge {
            bytes: NOTE_BYTES_MAX + 1
        }
    );
    assert!(Note::parse(&format!("t\n\n{}", line.repeat(NOTE_SIGNATURES_MAX))).is_ok());
    assert_eq!(
        shape(&format!("t\n\n{}", line.repeat(NOTE_SIGNATURES_MAX + 1))),
        NoteError::TooManySignatures
    );
    for wrong in [
        "- n AAAAAAA=",
        "—n AAAAAAA=",
        "— AAAAAAA=",
        "—  AAAAAAA=",
        "— n+ AAAAAAA=",
        "— n AAAAAA==",
        "— n AAAAAAA",
        "— n AAAAAAA= ",
        "— n m AAAAAAA=",
        "— n AAAAAAB=",
        "text",
    ] {
        assert_eq!(
            shape(&format!("t\n\n{line}{wrong}\n")),
            NoteError::SignatureLine { line: 2 },
            "{wrong}"
        );
    }
}

#[test]
fn a_text_or_a_name_that_no_note_can_have_is_not_signed() {
    assert_eq!(sign("no newline", "name", &key(1)), Err(NoteError::Shape));
    assert_eq!(sign("", "name", &key(1)), Err(NoteError::Shape));
    assert_eq!(
        sign("a\tb\n", "name", &key(1)),
        Err(NoteError::ControlCharacter { offset: 1 })
    );
    let long = format!("{}\n", "x".repeat(NOTE_BYTES_MAX));
    assert!(matches!(
        sign(&long, "name", &key(1)),
        Err(NoteError::TooLarge { .. })
    ));
    for name in [
        "",
        "a b",
        "a+b",
        "a\u{a0}b",
        "a\u{2003}b",
        "a\nb",
        "a\u{7f}",
        &"x".repeat(256),
    ] {
        assert_eq!(
            sign("text\n", name, &key(1)),
            Err(NoteError::Name),
            "{name:?}"
        );
        assert_eq!(
            VerifierKey::new(name, &key(1).public()),
            Err(NoteError::Name),
            "{name:?}"
        );
    }
}

#[test]
fn what_is_not_a_verifier_key_is_refused() {
    let good = verifier("example.org/log", 1).to_string();
    assert!(VerifierKey::parse(&good).is_ok());
    let (name_and_id, base64) = good.rsplit_once("+A").unwrap();
    let wrong_id = good.replace(&good[16..24], "00000000");
    assert!(
        matches!(VerifierKey::parse(&wrong_id), Err(NoteError::KeyId { .. })),
        "{wrong_id}"
    );
    let renamed = good.replacen("example", "exomple", 1);
    assert!(
        matches!(VerifierKey::parse(&renamed), Err(NoteError::KeyId { .. })),
        "{renamed}"
    );
    for wrong in [
        "",
        "name",
        "name+00000000",
        name_and_id,
        &format!("{name_and_id}+B{base64}"),
        &good[..good.len() - 1],
        &format!("{good}="),
        &good.replace(
            &good[16..24],
            &good[16..24].to_uppercase().replace(char::is_numeric, "A"),
        ),
        &"x".repeat(1_000),
    ] {
        assert_eq!(
            VerifierKey::parse(wrong),
            Err(NoteError::VerifierKey),
            "{wrong}"
        );
    }
    let weak = format!(
        "n+00000000+{}",
        STANDARD.encode([&[ED25519, 1][..], &[0; 31]].concat())
    );
    assert_eq!(
        VerifierKey::parse(&weak),
        Err(NoteError::Key(KeyError::Weak))
    );
}

/// `signed_note`'s signer of the same key.
fn their_signer(name: &str, seed: u8) -> signed_note::StandardSigner {
    let ours = verifier(name, seed);
    let secret = STANDARD.encode([&[ED25519][..], &[seed; 32]].concat());
    signed_note::StandardSigner::new(&format!(
        "PRIVATE+KEY+{name}+{}+{secret}",
        hex(&ours.key_id())
    ))
    .unwrap()
}

fn their_verifiers(keys: &[VerifierKey]) -> signed_note::VerifierList {
    let verifier = |key: &VerifierKey| {
        Box::new(signed_note::StandardVerifier::new(&key.to_string()).unwrap())
            as Box<dyn signed_note::Verifier>
    };
    signed_note::VerifierList::new(keys.iter().map(verifier).collect())
}

/// Names and texts that a note can have.
fn names() -> impl Strategy<Value = String> {
    "[a-z0-9./_é-]{1,40}"
}
fn texts() -> impl Strategy<Value = String> {
    "[ -~é—\\n]{0,200}\\n"
}

proptest! {
    #[test]
    fn signed_note_accepts_our_notes(text in texts(), name in names(), seed: u8) {
        let note = sign(&text, &name, &key(seed)).unwrap();
        let theirs = signed_note::Note::from_bytes(note.to_string().as_bytes()).unwrap();
        prop_assert_eq!(theirs.text(), text.as_bytes());
        let (verified, unverified) = theirs.verify(&their_verifiers(&[verifier(&name, seed)])).unwrap();
        prop_assert_eq!((verified.len(), unverified.len()), (1, 0));
    }

    #[test]
    fn we_accept_the_notes_of_signed_note(text in texts(), a in names(), b in names(), seeds: (u8, u8)) {
        prop_assume!(a != b);
        let mut theirs = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
        theirs.add_sigs(&[&their_signer(&a, seeds.0), &their_signer(&b, seeds.1)]).unwrap();
        let note = String::from_utf8(theirs.to_bytes()).unwrap();
        let ours = Note::parse(&note).unwrap();
        prop_assert_eq!(&ours.text, &text);
        prop_assert_eq!(ours.to_string(), note);
        prop_assert_eq!(ours.verify(&[verifier(&a, seeds.0), verifier(&b, seeds.1)]).unwrap().len(), 2);
    }

    #[test]
    fn a_changed_byte_is_noticed_by_both_or_changes_nothing_that_is_signed(
        text in texts(), seed: u8, index: prop::sample::Index, byte: u8,
    ) {
        let known = [verifier("example.org", seed)];
        let mut bytes = sign(&text, "example.org", &key(seed)).unwrap().to_string().into_bytes();
        let index = index.index(bytes.len());
        prop_assume!(bytes[index] != byte);
        bytes[index] = byte;
        let ours = std::str::from_utf8(&bytes).is_ok_and(|note| {
            Note::parse(note).is_ok_and(|note| note.verify(&known).is_ok())
        });
        let theirs = signed_note::Note::from_bytes(&bytes)
            .is_ok_and(|note| note.verify(&their_verifiers(&known)).is_ok());
        prop_assert!(!ours && !theirs);
    }

    #[test]
    fn verifier_keys_survive_their_texts(name in names(), seed: [u8; 32]) {
        let key = VerifierKey::new(&name, &SigningKey::from_seed(seed).public()).unwrap();
        prop_assert_eq!(VerifierKey::parse(&key.to_string()), Ok(key.clone()));
        prop_assert_eq!(serde_json::from_str::<VerifierKey>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
    }

    #[test]
    fn arbitrary_text_never_panics(text: String, tail: String) {
        let _ = Note::parse(&text);
        let _ = Note::parse(&format!("{text}\n\n— {tail}\n"));
        prop_assert!(VerifierKey::parse(&text).is_err());
    }
}
