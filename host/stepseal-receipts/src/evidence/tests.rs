use super::*;
use crate::keys::SigningKey;
use crate::tree::NodeId;
use crate::witness::tests::Log;

fn known() -> [VerifierKey; 1] {
    let key = SigningKey::from_seed([1; 32]).public();
    [VerifierKey::new("log.example/witnessed", &key).unwrap()]
}

fn honest(size: u64) -> Log {
    Log::new(size, u64::MAX)
}

fn between(before: &Log, now: &Log, proof: Vec<Digest>) -> Evidence {
    Evidence {
        before: before.note(),
        now: now.note(),
        proof,
    }
}

#[test]
fn heads_that_contradict_each_other_prove_it_whichever_came_first() {
    let (short, long) = (honest(5), Log::new(9, 3));
    let rewritten = Misbehaviour::Rewritten { before: 5, now: 9 };
    let proof = long.proof_from(5);
    for evidence in [
        between(&short, &long, proof.clone()),
        between(&long, &short, proof),
    ] {
        assert_eq!(evidence.proves(&known()).unwrap(), rewritten);
        let file = evidence.to_json(&rewritten);
        assert_eq!(Evidence::parse(&file).unwrap(), evidence);
    }
    let split = between(&honest(5), &Log::new(5, 3), Vec::new());
    assert_eq!(
        split.proves(&known()).unwrap(),
        Misbehaviour::Split { size: 5 }
    );
}

#[test]
fn from_a_power_of_two_the_hash_that_the_proof_leaves_out_must_be_there() {
    let (short, long) = (honest(4), Log::new(9, 3));
    let proof = long.proof_from(4);
    assert!(
        between(&short, &long, proof.clone())
            .proves(&known())
            .is_err()
    );
    let first = long.node(NodeId { level: 2, index: 0 }).unwrap();
    let path = [&[first], proof.as_slice()].concat();
    assert_eq!(
        between(&short, &long, path).proves(&known()).unwrap(),
        Misbehaviour::Rewritten { before: 4, now: 9 }
    );
}

#[test]
fn what_an_honest_log_signs_proves_nothing() {
    for (before, now) in [(0, 9), (4, 9), (5, 9), (9, 9), (9, 5)] {
        let (before, now) = (honest(before), honest(now));
        for proof in [
            Vec::new(),
            honest(9).proof_from(5),
            vec![Digest::of(b"x"); 5],
        ] {
            let proved = between(&before, &now, proof).proves(&known());
            assert!(
                matches!(proved, Err(EvidenceError::Nothing { .. })),
                "{proved:?}"
            );
        }
    }
}

#[test]
fn heads_of_strangers_and_of_two_logs_prove_nothing() {
    let evidence = between(&honest(5), &Log::new(5, 3), Vec::new());
    let key = SigningKey::from_seed([2; 32]).public();
    let strangers = [VerifierKey::new("log.example/witnessed", &key).unwrap()];
    assert!(matches!(
        evidence.proves(&strangers),
        Err(EvidenceError::Head {
            member: "before",
            ..
        })
    ));
    let other = Checkpoint {
        origin: "log.example/other".to_owned(),
        size: 5,
        root: Digest::of(b"other"),
    };
    let both = [
        known()[0].clone(),
        VerifierKey::new("log.example/other", &key).unwrap(),
    ];
    let evidence = Evidence {
        now: other.sign(&SigningKey::from_seed([2; 32])).unwrap(),
        ..evidence
    };
    assert!(matches!(
        evidence.proves(&both),
        Err(EvidenceError::TwoLogs { .. })
    ));
}

#[test]
fn what_is_no_evidence_is_refused() {
    let misbehaviour = Misbehaviour::Split { size: 5 };
    let evidence = between(&honest(5), &Log::new(5, 3), Vec::new());
    let good: Value = serde_json::from_slice(&evidence.to_json(&misbehaviour)).unwrap();
    for (member, value) in [
        ("before", Value::Null),
        ("now", 7.into()),
        ("proof", serde_json::json!(["AA=="])),
        ("extra", true.into()),
    ] {
        let mut wrong = good.clone();
        wrong[member] = value;
        assert!(
            Evidence::parse(wrong.to_string().as_bytes()).is_err(),
            "{wrong}"
        );
    }
    assert!(Evidence::parse(&vec![b' '; EVIDENCE_BYTES_MAX + 1]).is_err());
}
