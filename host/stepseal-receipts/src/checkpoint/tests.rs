use proptest::prelude::*;

use super::origin::{OriginError, check};
use super::*;

fn key() -> SigningKey {
    SigningKey::from_seed([4; 32])
}

fn known(name: &str) -> [VerifierKey; 1] {
    [VerifierKey::new(name, &key().public()).unwrap()]
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        origin: "example.org/log".to_owned(),
        size: 7,
        root: Digest::of(b"root"),
    }
}

#[test]
fn a_checkpoint_is_three_lines_under_a_signature_of_its_origin() {
    let note = checkpoint().sign(&key()).unwrap();
    let expected = format!(
        "example.org/log\n7\n{}\n\n— example.org/log ",
        STANDARD.encode(Digest::of(b"root").as_bytes())
    );
    assert!(note.starts_with(&expected), "{note}");
    assert_eq!(note.lines().count(), 5);
    assert_eq!(
        Checkpoint::open(&note, &known("example.org/log")),
        Ok(checkpoint())
    );
}

#[test]
fn a_checkpoint_that_the_log_did_not_sign_is_refused() {
    let note = checkpoint().sign(&key()).unwrap();
    assert_eq!(
        Checkpoint::open(&note, &known("example.org")),
        Err(NoteError::NoKnownKey.into())
    );
    let grown = note.replacen("\n7\n", "\n8\n", 1);
    let error = NoteError::BadSignature {
        name: "example.org/log".to_owned(),
    };
    assert_eq!(
        Checkpoint::open(&grown, &known("example.org/log")),
        Err(error.into())
    );
    // Signed by a known key, but of another log.
    let stranger = note::sign(&checkpoint().to_text(), "example.org/witness", &key())
        .unwrap()
        .to_string();
    let error = CheckpointError::OtherLog {
        origin: "example.org/log".to_owned(),
    };
    assert_eq!(
        Checkpoint::open(&stranger, &known("example.org/witness")),
        Err(error)
    );
}

#[test]
fn lines_that_are_no_checkpoint_are_refused_even_under_a_good_signature() {
    let root = STANDARD.encode(Digest::of(b"root").as_bytes());
    let empty = STANDARD.encode(tree::empty_root().as_bytes());
    for (text, error) in [
        (format!("o\n7\n{root}\nextension\n"), CheckpointError::Lines),
        ("o\n7\n".to_owned(), CheckpointError::Lines),
        (format!("o\n7\n{root}\n\n"), CheckpointError::Lines),
        (
            format!("o o\n7\n{root}\n"),
            CheckpointError::Origin(OriginError),
        ),
        (
            format!("\n7\n{root}\n"),
            CheckpointError::Origin(OriginError),
        ),
        (format!("o\n07\n{root}\n"), CheckpointError::Size),
        (format!("o\n-7\n{root}\n"), CheckpointError::Size),
        (format!("o\n\n{root}\n"), CheckpointError::Size),
        (
            format!("o\n4611686018427387905\n{root}\n"),
            CheckpointError::Size,
        ),
        (format!("o\n7\n{}\n", &root[..43]), CheckpointError::Root),
        (format!("o\n7\n-{}\n", &root[1..]), CheckpointError::Root),
        ("o\n7\nAAAA\n".to_owned(), CheckpointError::Root),
        (format!("o\n0\n{root}\n"), CheckpointError::EmptyRoot),
    ] {
        assert_eq!(Checkpoint::from_text(&text), Err(error.clone()), "{text:?}");
        let note = note::sign(&text, "o", &key()).unwrap().to_string();
        assert_eq!(Checkpoint::open(&note, &known("o")), Err(error), "{text:?}");
    }
    assert!(Checkpoint::from_text(&format!("o\n0\n{empty}\n")).is_ok());
    assert!(Checkpoint::from_text(&format!("o\n4611686018427387904\n{root}\n")).is_ok());
}

#[test]
fn what_is_no_checkpoint_is_not_signed() {
    for origin in ["", "a\n8", "a b"] {
        let error = Checkpoint {
            origin: origin.to_owned(),
            ..checkpoint()
        }
        .sign(&key())
        .unwrap_err();
        assert!(
            matches!(error, CheckpointError::Origin(_) | CheckpointError::Lines),
            "{origin:?}: {error}"
        );
    }
    assert_eq!(
        Checkpoint {
            size: 0,
            ..checkpoint()
        }
        .sign(&key()),
        Err(CheckpointError::EmptyRoot)
    );
}

#[test]
fn an_origin_is_host_and_path_without_scheme() {
    for good in [
        "example.org",
        "example.org/log",
        "localhost:8080/log",
        "stepseal.local/0a1b2c3d",
        &"x".repeat(255),
    ] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for wrong in [
        "",
        "/",
        "/log",
        "log/",
        "a//b",
        "https://example.org",
        "a b",
        "a+b",
        "a\tb",
        "a\n",
        "é.org",
        "a\u{a0}b",
        &"x".repeat(256),
    ] {
        assert_eq!(check(wrong), Err(OriginError), "{wrong:?}");
    }
}

#[test]
fn the_default_origin_names_the_log_key() {
    let origin = default_origin(&key().public());
    assert_eq!(
        origin,
        format!("stepseal.local/{}", &key().public().id().to_hex()[..8])
    );
    assert_eq!(check(&origin), Ok(()));
}

proptest! {
    #[test]
    fn tlog_tiles_reads_our_checkpoints_and_we_read_theirs(
        origin in "[a-z0-9.-]{1,30}(/[a-z0-9]{1,8}){0,3}", size in 1..=tree::SIZE_MAX, root: [u8; 32],
    ) {
        let ours = Checkpoint { origin: origin.clone(), size, root: Digest::from_bytes(root) };
        let note = ours.sign(&key()).unwrap();
        // Their reader of notes gives the text, their reader of checkpoints takes it.
        let read = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
        let theirs = tlog_tiles::Checkpoint::from_bytes(read.text()).unwrap();
        prop_assert_eq!((theirs.origin(), theirs.size(), theirs.hash().0), (origin.as_str(), size, root));
        prop_assert_eq!(theirs.extension(), "");
        let written = tlog_tiles::Checkpoint::new(&origin, size, tlog_tiles::Hash(root), "").unwrap().to_bytes();
        prop_assert_eq!(Checkpoint::from_text(std::str::from_utf8(&written).unwrap()), Ok(ours.clone()));
        prop_assert_eq!(Checkpoint::open(&note, &known(&origin)), Ok(ours));
    }

    #[test]
    fn arbitrary_text_never_panics(text: String) {
        prop_assert!(Checkpoint::open(&text, &known("o")).is_err());
        let _ = Checkpoint::from_text(&text);
        let _ = check(&text);
    }
}
