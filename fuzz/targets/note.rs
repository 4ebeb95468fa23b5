//! A note survives being written, and so does the checkpoint in it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use stepseal_fuzz::trust;
use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::note::{Note, VerifierKey};
use stepseal_receipts::trust::TrustFile;

static TRUST: LazyLock<TrustFile> = LazyLock::new(trust);

fuzz_target!(|text: &str| {
    if let Ok(note) = Note::parse(text) {
        assert_eq!(Note::parse(&note.to_string()).ok(), Some(note.clone()));
        if let Ok(checkpoint) = Checkpoint::from_text(&note.text) {
            assert_eq!(checkpoint.to_text(), note.text);
        }
    }
    let _ = Checkpoint::open(text, &TRUST.log);
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
});
