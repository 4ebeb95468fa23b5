use proptest::prelude::*;

use super::*;
use crate::cosignature;
use crate::keys::SigningKey;
use crate::tree::{Frontier, NodeId, ProofPlan};

const ORIGIN: &str = "log.example/witnessed";

fn log_key() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

fn known() -> [VerifierKey; 1] {
    [VerifierKey::new(ORIGIN, &log_key().public()).unwrap()]
}

/// A log whose leaves are numbers, from `forked` on in another way.
pub(crate) struct Log {
    nodes: std::collections::BTreeMap<NodeId, Digest>,
    tree: Frontier,
}

impl Log {
    pub(crate) fn new(size: u64, forked: u64) -> Self {
        let (mut nodes, mut tree) = (std::collections::BTreeMap::new(), Frontier::new());
        for leaf in 0..size {
            let name = if leaf < forked {
                format!("{leaf}")
            } else {
                format!("other {leaf}")
            };
            nodes.extend(tree.append(Digest::of(name.as_bytes())));
        }
        Self { nodes, tree }
    }

    pub(crate) fn note(&self) -> String {
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        checkpoint.sign(&log_key()).unwrap()
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<Digest> {
        self.nodes.get(&id).copied()
    }

    pub(crate) fn proof_from(&self, old: u64) -> Vec<Digest> {
        let plan = ProofPlan::consistency(old, self.tree.size()).unwrap();
        plan.assemble(|node| self.node(node)).unwrap()
    }

    fn asks(&self, old: u64) -> AddCheckpoint {
        AddCheckpoint {
            old,
            proof: self.proof_from(old),
            checkpoint: self.note(),
        }
    }

    fn head(&self) -> Head {
        Head::open(&self.note(), &known()).unwrap()
    }
}

fn honest(size: u64) -> Log {
    Log::new(size, u64::MAX)
}

#[test]
fn a_request_reads_as_it_was_written() {
    for (old, new) in [(0, 0), (0, 9), (5, 5), (5, 9), (8, 300)] {
        let request = honest(new).asks(old);
        let text = request.to_text();
        assert!(text.len() <= REQUEST_BYTES_MAX);
        assert_eq!(AddCheckpoint::parse(text.as_bytes()), Ok(request.clone()));
        assert_eq!(request.origin(), ORIGIN);
    }
}

#[test]
fn what_is_no_request_is_refused() {
    let note = honest(3).note();
    let hash = STANDARD.encode([7; 32]);
    let many = format!("{hash}\n").repeat(64);
    let long = "x".repeat(REQUEST_BYTES_MAX);
    for wrong in [
        String::new(),
        note.clone(),
        format!("old 0\n{note}"),
        format!("old 00\n\n{note}"),
        format!("old -1\n\n{note}"),
        format!("old +1\n\n{note}"),
        format!("old  1\n\n{note}"),
        format!("Old 1\n\n{note}"),
        format!("old 1\r\n\n{note}"),
        format!("old 4611686018427387905\n\n{note}"),
        format!("old 1\n{}\n\n{note}", &hash[..43]),
        format!("old 1\n{hash} \n\n{note}"),
        format!("old 1\n{many}\n{note}"),
        format!("old 1\n\n{long}"),
    ] {
        let refused =
            AddCheckpoint::parse(wrong.as_bytes()).map(|request| judge(&request, &known(), None));
        assert!(
            matches!(
                refused,
                Err(Refusal::Malformed(_)) | Ok(Err(Refusal::Malformed(_)))
            ),
            "{wrong:?}: {refused:?}"
        );
    }
    assert!(AddCheckpoint::parse(b"old 1\n\n\xff").is_err());
}

#[test]
fn a_log_that_only_grows_is_cosigned() {
    let mut last = None;
    for size in [0, 1, 1, 2, 7, 8, 8, 9, 300] {
        let log = honest(size);
        let old = last.as_ref().map_or(0, |head: &Head| head.checkpoint.size);
        let head = judge(&log.asks(old), &known(), last.as_ref()).unwrap();
        assert_eq!(head, log.head());
        last = Some(head);
    }
}

#[test]
fn each_refusal_has_the_status_of_the_standard() {
    let last = honest(5).head();
    let ask = |request: &AddCheckpoint| judge(request, &known(), Some(&last)).unwrap_err();
    let status = |request: &AddCheckpoint| ask(request).status();

    // Not by a known key, by one under another name, or with a forged line under a known one.
    let request = honest(9).asks(5);
    let other_key = SigningKey::from_seed([2; 32]);
    let mut unsigned = request.clone();
    unsigned.checkpoint = honest(9).head().checkpoint.sign(&other_key).unwrap();
    assert_eq!(status(&unsigned), 403);
    let mut forged = request.clone();
    let mut note = Note::parse(&forged.checkpoint).unwrap();
    note.signatures[0].signature[0] ^= 1;
    forged.checkpoint = note.to_string();
    assert_eq!(status(&forged), 403);

    // An old size that is not the last one's, whatever else is right.
    for old in [0, 4, 6, 9] {
        assert_eq!(ask(&honest(9).asks(old)), Refusal::Stale { size: 5 });
    }
    assert_eq!(ask(&honest(9).asks(4)).status(), 409);
    let fresh = judge(&honest(9).asks(5), &known(), None).unwrap_err();
    assert_eq!(fresh, Refusal::Stale { size: 0 });
    // One that is larger than the checkpoint itself.
    let mut shrunk = honest(4).asks(4);
    shrunk.old = 5;
    assert_eq!(status(&shrunk), 400);

    // A proof of other trees.
    let mut unproven = request.clone();
    unproven.proof[1] = Digest::of(b"other");
    assert_eq!(status(&unproven), 422);
    assert_eq!(ask(&unproven).evidence(), None);
    unproven.proof.clear();
    assert_eq!(status(&unproven), 422);
    let mut same = honest(5).asks(5);
    same.proof.push(Digest::of(b"more"));
    assert_eq!(status(&same), 422);
}

#[test]
fn a_log_that_forks_is_refused_and_its_request_proves_it() {
    let last = honest(5).head();
    let split = judge(&Log::new(5, 3).asks(5), &known(), Some(&last)).unwrap_err();
    assert_eq!(split.status(), 409);
    let (misbehaviour, evidence) = split.evidence().unwrap();
    assert_eq!(misbehaviour, &Misbehaviour::Split { size: 5 });
    assert_eq!(&evidence.proves(&known()).unwrap(), misbehaviour);

    let rewritten = judge(&Log::new(9, 3).asks(5), &known(), Some(&last)).unwrap_err();
    assert_eq!(rewritten.status(), 422);
    let (misbehaviour, evidence) = rewritten.evidence().unwrap();
    let expected = Misbehaviour::Rewritten { before: 5, now: 9 };
    assert_eq!(misbehaviour, &expected);
    assert_eq!(evidence.proves(&known()).unwrap(), expected);

    // The proof from a power of two leaves out the one hash that would show it.
    let last = honest(4).head();
    let refused = judge(&Log::new(9, 3).asks(4), &known(), Some(&last)).unwrap_err();
    assert_eq!((refused.status(), refused.evidence()), (422, None));
}

#[test]
fn signatures_of_strangers_are_not_kept() {
    let log = honest(3);
    let stranger = cosignature::sign(
        &log.head().note.text,
        1,
        "w.example",
        &SigningKey::from_seed([8; 32]),
    );
    let mut note = log.head().note;
    note.signatures.push(stranger.unwrap());
    let request = AddCheckpoint {
        checkpoint: note.to_string(),
        ..log.asks(0)
    };
    assert_eq!(judge(&request, &known(), None).unwrap(), log.head());
}

#[test]
fn an_answer_is_believed_only_with_the_cosignature_that_was_asked_for() {
    let text = honest(3).head().note.text;
    let key = SigningKey::from_seed([60; 32]);
    let witness = WitnessKey::new("w.example", &key.public()).unwrap();
    let line = cosignature::sign(&text, 77, "w.example", &key).unwrap();
    let other =
        cosignature::sign(&text, 77, "v.example", &SigningKey::from_seed([61; 32])).unwrap();
    let answer = cosigned(&[other.clone(), line.clone()]);
    let read = |answer: &str| read_cosignature(answer.as_bytes(), &text, &witness);
    assert_eq!(read(&answer), Ok(line.clone()));
    assert!(matches!(
        read(&cosigned(&[other])),
        Err(AnswerError::Absent(_))
    ));
    for wrong in ["", "\n", "not a line\n", answer.trim_end()] {
        assert_eq!(read(wrong), Err(AnswerError::Lines), "{wrong:?}");
    }
    let many = cosigned(&vec![line.clone(); NOTE_SIGNATURES_MAX + 1]);
    assert_eq!(read(&many), Err(AnswerError::Lines));
    let elsewhere = honest(4).head().note.text;
    assert!(matches!(
        read_cosignature(cosigned(&[line]).as_bytes(), &elsewhere, &witness),
        Err(AnswerError::Cosignature(_))
    ));
}

#[test]
fn a_size_is_read_as_it_is_written_and_no_other_way() {
    assert_eq!(read_size(b"20852163\n"), Some(20_852_163));
    assert_eq!(read_size(b"0\n"), Some(0));
    for wrong in [
        "",
        "\n",
        "7",
        "07\n",
        "7\n\n",
        "-7\n",
        "4611686018427387905\n",
    ] {
        assert_eq!(read_size(wrong.as_bytes()), None, "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(request) = AddCheckpoint::parse(&bytes) {
            let _ = judge(&request, &known(), None);
        }
    }

    #[test]
    fn a_changed_request_is_never_cosigned_as_another_head(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let last = honest(5).head();
        let request = honest(9).asks(5);
        let mut bytes = request.to_text().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(request) = AddCheckpoint::parse(&bytes)
            && let Ok(head) = judge(&request, &known(), Some(&last)) {
            prop_assert_eq!(head.checkpoint, honest(9).head().checkpoint);
        }
    }
}
