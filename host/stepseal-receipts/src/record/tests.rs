use proptest::prelude::*;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::keys::{SPKI_PREFIX, SigningKey};
use crate::payload::Blob;

fn digest(n: u8) -> Digest {
    Digest::from_bytes([n; 32])
}

/// A record that has every member.
fn full() -> Record {
    let mut record = Record::new(Kind::StepCompleted, "stepseal.local/0badcafe", [0xab; 16]);
    record.task = Some(TaskLink {
        id: "task-1".to_owned(),
        seq: 2,
        prev: Some(digest(1)),
    });
    record.step = Some(StepRef {
        id: "pay".to_owned(),
        index: 1,
        attempt: 1,
        step_type: "transfer".to_owned(),
    });
    record.plan = Some(digest(2));
    record.policies = Some(digest(3));
    record.component = Some(ComponentRef {
        name: "ledger".to_owned(),
        version: "0.1.0".to_owned(),
        digest: digest(4),
    });
    record.runtime = Some(Runtime {
        host: "stepseal 0.1.0".to_owned(),
        engine: "wasmtime 48.0.8".to_owned(),
        config: digest(5),
    });
    record.grants = Some(digest(6));
    record.limits = Some(Limits {
        fuel: 1,
        memory: 2,
        wall_ms: 3,
        input: 4,
        output: u64::MAX,
    });
    record.input = Some(Blob::blind([7; 32], b"{}").commitment("application/json"));
    record.output = Some(Blob::plain(b"[]").commitment("application/json"));
    record.verdicts = vec![Verdict {
        policy: digest(8),
        name: "spending-limit".to_owned(),
        stage: Stage::BeforeStep,
        verdict: VerdictKind::NeedsApproval,
        mode: Mode::Enforce,
        code: Some("over-limit".to_owned()),
        reason: Some("1 200 \u{20ac} is \"more\" than\n1 000".to_owned()),
        approvers: Some(2),
        role: Some("treasurer".to_owned()),
        settings: digest(9),
        input: PolicyInput {
            digest: digest(10),
            size: 11,
            commit: CommitKind::Blind1,
        },
        fuel: 12,
    }];
    record.approvals = vec![Approval {
        approver: "ada".to_owned(),
        decision: Decision::Approve,
        role: Some("treasurer".to_owned()),
        subject: digest(13),
        envelope: Some(digest(14)),
    }];
    record.hostcalls = Some(HostCalls {
        count: 15,
        digest: digest(16),
    });
    record.fuel = Some(Fuel {
        limit: 17,
        used: 18,
    });
    record.memory = Some(Memory {
        limit: 19,
        peak: 20,
    });
    record.seed = Some([21; 32]);
    record.time = Some(Span {
        start: Timestamp::from_unix_ms(1_700_000_000_123).unwrap(),
        end: Timestamp::from_unix_ms(1_700_000_000_456).unwrap(),
    });
    record.outcome = Some(Outcome {
        status: Status::Ok,
        code: Some("c".to_owned()),
        message: Some("m".to_owned()),
    });
    record.trace = Some(Trace {
        trace_id: [22; 16],
        span_id: [23; 8],
    });
    record.records = Some(24);
    record.head = Some(digest(25));
    add_act(&mut record);
    record
}

/// Adds every member that only records of acts have.
fn add_act(record: &mut Record) {
    record.actor = Some(Actor {
        name: "ada".to_owned(),
        role: Some("operator".to_owned()),
    });
    record.plugin = Some("ledger".to_owned());
    record.binding = Some(Binding {
        change: BindingChange::Ended,
        mode: Mode::Monitor,
        settings: digest(26),
    });
    record.key = Some(KeyChange {
        role: KeyRole::Log,
        name: Some("dana".to_owned()),
        key: SigningKey::from_seed([27; 32]).public(),
        from_index: Some(28),
        to_index: Some(29),
    });
    record.erasure = Some(Erasure {
        scope: ErasureScope::Records,
        basis: "GDPR Art. 17".to_owned(),
        task: Some("task-0".to_owned()),
        blobs: vec![digest(30), digest(31)],
        entries: vec![ErasedEntry {
            index: 32,
            seq: 33,
            prev: Some(digest(34)),
        }],
    });
    record.shard = Some(Shard {
        number: 35,
        previous: Some(ShardHead {
            origin: "log.example/2025".to_owned(),
            size: 36,
            root: digest(37),
        }),
    });
}

/// The statement of the full record after `change`, canonical again.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut statement: Value = serde_json::from_slice(&full().to_statement()).unwrap();
    change(&mut statement);
    json::canonical(&statement)
}

fn error_of(statement: &[u8]) -> RecordError {
    Record::parse(statement).expect_err("the statement must be refused")
}

#[test]
fn a_record_with_every_member_is_read_back_as_it_was() {
    let record = full();
    let statement = record.to_statement();
    assert_eq!(Record::parse(&statement).unwrap(), record);
}

#[test]
fn the_statement_has_every_member_of_the_format_under_its_name() {
    let statement: Value = serde_json::from_slice(&full().to_statement()).unwrap();
    assert_eq!(statement["_type"], STATEMENT_TYPE);
    assert_eq!(statement["predicateType"], PREDICATE_TYPE);
    let names: Vec<&str> = statement["subject"]
        .as_array()
        .unwrap()
        .iter()
        .map(|subject| subject["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["output", "input", "component"]);
    let predicate = statement["predicate"].as_object().unwrap();
    let mut members: Vec<&str> = predicate.keys().map(String::as_str).collect();
    members.sort_unstable();
    let mut expected = vec![
        "kind",
        "log",
        "nonce",
        "task",
        "step",
        "plan",
        "policies",
        "component",
        "runtime",
        "grants",
        "limits",
        "input",
        "output",
        "verdicts",
        "approvals",
        "hostcalls",
        "fuel",
        "memory",
        "seed",
        "time",
        "outcome",
        "trace",
        "records",
        "head",
        "actor",
        "plugin",
        "binding",
        "key",
        "erasure",
        "shard",
    ];
    expected.sort_unstable();
    assert_eq!(members, expected);
    assert_eq!(predicate["step"]["type"], "transfer");
    assert_eq!(predicate["limits"]["wallMs"], "3");
    assert_eq!(predicate["limits"]["output"], "18446744073709551615");
    assert_eq!(predicate["grants"]["sha256"], "06".repeat(32));
    assert_eq!(predicate["time"]["start"], "2023-11-14T22:13:20.123Z");
    assert_eq!(predicate["key"]["fromIndex"], "28");
    assert_eq!(predicate["key"]["role"], "log");
    let spki = SigningKey::from_seed([27; 32]).public().spki_base64();
    assert_eq!(predicate["key"]["spki"], spki);
    assert_eq!(predicate["erasure"]["blobs"][1]["sha256"], "1f".repeat(32));
    assert_eq!(predicate["erasure"]["entries"][0]["seq"], "33");
    assert_eq!(predicate["shard"]["previous"]["size"], "36");
}

#[test]
fn an_absent_member_is_absent_from_the_statement() {
    let record = Record::new(Kind::StepDenied, "stepseal.local/0badcafe", [0; 16]);
    let statement: Value = serde_json::from_slice(&record.to_statement()).unwrap();
    assert_eq!(statement["predicate"].as_object().unwrap().len(), 3);
    assert_eq!(Record::parse(&record.to_statement()).unwrap(), record);
}

#[test]
fn a_task_opens_with_its_plan_as_subject() {
    let mut record = full();
    record.kind = Kind::TaskOpen;
    assert_eq!(record.subject(), [("plan", digest(2))]);
    assert_eq!(Record::parse(&record.to_statement()).unwrap(), record);
}

#[test]
fn unknown_members_are_kept_where_they_were() {
    let statement = changed(|statement| {
        statement["predicate"]["novel"] = "a".into();
        statement["predicate"]["step"]["lane"] = "b".into();
        statement["predicate"]["verdicts"][0]["input"]["schema"] = "c".into();
    });
    let record = Record::parse(&statement).unwrap();
    let unrecognised = Value::Object(record.unrecognised.clone());
    assert_eq!(unrecognised["novel"], "a");
    assert_eq!(unrecognised["step"]["lane"], "b");
    assert_eq!(unrecognised["verdicts"]["0"]["input"]["schema"], "c");
    assert_eq!(record.to_statement(), statement);
}

#[test]
fn an_unrecognised_member_cannot_replace_a_known_one() {
    let mut record = full();
    record
        .unrecognised
        .insert("log".to_owned(), "elsewhere".into());
    assert_eq!(Record::parse(&record.to_statement()).unwrap(), full());
}

#[test]
fn a_statement_that_is_not_canonical_is_refused() {
    let mut spaced = full().to_statement();
    spaced.insert(1, b' ');
    assert!(matches!(error_of(&spaced), RecordError::Json(_)));
}

#[test]
fn a_number_for_a_string_is_refused() {
    let number = changed(|statement| statement["predicate"]["task"]["seq"] = 2.into());
    assert!(matches!(error_of(&number), RecordError::Json(_)));
}

#[test]
fn each_malformed_member_is_named() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 26] = [
        ("_type", |s| {
            s["_type"] = "https://in-toto.io/Statement/v2".into();
        }),
        ("predicateType", |s| s["predicateType"] = "other".into()),
        ("predicate.kind", |s| {
            s["predicate"]["kind"] = "step.done".into();
        }),
        ("predicate.nonce", |s| {
            s["predicate"]["nonce"] = "AB".repeat(16).into();
        }),
        ("predicate.task.seq", |s| {
            s["predicate"]["task"]["seq"] = "02".into();
        }),
        ("predicate.task.seq", |s| {
            s["predicate"]["task"]["seq"] = "+2".into();
        }),
        ("predicate.fuel.used", |s| {
            s["predicate"]["fuel"]["used"] = "18446744073709551616".into();
        }),
        ("predicate.step.attempt", |s| {
            s["predicate"]["step"]["attempt"] = "4294967296".into();
        }),
        ("predicate.grants.sha256", |s| {
            s["predicate"]["grants"]["sha256"] = "AA".repeat(32).into();
        }),
        ("predicate.time.start", |s| {
            s["predicate"]["time"]["start"] = "2023-11-14T22:13:20Z".into();
        }),
        ("predicate.outcome.status", |s| {
            s["predicate"]["outcome"]["status"] = "fine".into();
        }),
        ("predicate.verdicts[0].mode", |s| {
            s["predicate"]["verdicts"][0]["mode"] = "off".into();
        }),
        ("predicate.approvals", |s| {
            s["predicate"]["approvals"] = "none".into();
        }),
        ("predicate.actor.name", |s| {
            s["predicate"]["actor"]["name"] = "".into();
        }),
        // A name that would rub out what a terminal shows before it.
        ("predicate.actor.role", |s| {
            s["predicate"]["actor"]["role"] = "a\u{1b}[2K".into();
        }),
        ("predicate.plugin", |s| {
            s["predicate"]["plugin"] = "x".repeat(LABEL_BYTES_MAX + 1).into();
        }),
        ("predicate.binding.change", |s| {
            s["predicate"]["binding"]["change"] = "moved".into();
        }),
        ("predicate.key.role", |s| {
            s["predicate"]["key"]["role"] = "root".into();
        }),
        // The key of low order for which anyone can sign.
        ("predicate.key.spki", |s| {
            let weak = [&SPKI_PREFIX[..], &[1], &[0; 31]].concat();
            s["predicate"]["key"]["spki"] = STANDARD.encode(weak).into();
        }),
        ("predicate.key.fromIndex", |s| {
            s["predicate"]["key"]["fromIndex"] = "-1".into();
        }),
        ("predicate.erasure.scope", |s| {
            s["predicate"]["erasure"]["scope"] = "some".into();
        }),
        ("predicate.erasure.basis", |s| {
            s["predicate"]["erasure"]["basis"] = "".into();
        }),
        ("predicate.erasure.blobs[1].sha1", |s| {
            s["predicate"]["erasure"]["blobs"][1]["sha1"] = "x".into();
        }),
        ("predicate.erasure.entries", |s| {
            let entry = s["predicate"]["erasure"]["entries"][0].clone();
            s["predicate"]["erasure"]["entries"] = vec![entry; 257].into();
        }),
        ("predicate.shard.previous.root", |s| {
            let head = s["predicate"]["shard"]["previous"].as_object_mut();
            head.unwrap().remove("root");
        }),
        ("extra", |s| s["extra"] = "x".into()),
    ];
    for (member, change) in cases {
        let error = error_of(&changed(change));
        assert!(error.member().ends_with(member), "{member}: {error}");
        assert!(error.to_string().contains(member), "{member}: {error}");
    }
}

#[test]
fn a_missing_member_is_named() {
    for member in ["kind", "log", "nonce"] {
        let statement = changed(|statement| {
            statement["predicate"]
                .as_object_mut()
                .unwrap()
                .remove(member);
        });
        let error = error_of(&statement);
        assert_eq!(error.member(), format!("predicate.{member}"), "{error}");
    }
}

#[test]
fn a_subject_that_is_not_the_predicates_is_refused() {
    let other = changed(|statement| {
        statement["subject"][0]["digest"]["sha256"] = "00".repeat(32).into();
    });
    assert!(error_of(&other).member().ends_with("subject"));
    let fewer = changed(|statement| {
        statement["subject"].as_array_mut().unwrap().pop();
    });
    assert!(error_of(&fewer).member().ends_with("subject"));
}

#[test]
fn a_record_over_the_size_limit_is_not_signed() {
    let mut record = full();
    record.verdicts[0].reason = Some("x".repeat(json::RECORD_BYTES_MAX));
    let error = sign(&record, &SigningKey::from_seed([1; 32])).unwrap_err();
    assert!(matches!(error, RecordError::TooLarge { bytes } if bytes > json::RECORD_BYTES_MAX));
}

#[test]
fn a_record_with_unrecognised_members_that_nobody_could_read_is_not_signed() {
    for name in ["two words", "a\":\"b\",\"kind", ""] {
        let mut record = full();
        record.unrecognised.insert(name.to_owned(), "x".into());
        let signed = sign(&record, &SigningKey::from_seed([1; 32])).map(|_| ());
        assert!(signed.is_err(), "{name}");
    }
    let mut record = full();
    record.unrecognised.insert("later".to_owned(), "x".into());
    sign(&record, &SigningKey::from_seed([1; 32])).unwrap();
}

#[test]
fn a_signed_record_is_verified_by_its_key_over_the_pae() {
    let key = SigningKey::from_seed([1; 32]);
    let signed = sign(&full(), &key).unwrap();
    let pae = dsse::pae(dsse::IN_TOTO, &signed.envelope.payload);
    let [signature] = signed.envelope.signatures.as_slice() else {
        panic!("exactly one signature is expected");
    };
    key.public().verify(&pae, &signature.sig).unwrap();
    assert_eq!(
        signature.keyid.as_deref(),
        Some(key.public().id().to_hex().as_str())
    );
    assert_eq!(signed.leaf_hash, leaf::leaf_hash(&signed.leaf));
    assert_eq!(signed.envelope.payload, full().to_statement());
}

#[test]
fn an_approvals_subject_is_the_digest_of_exactly_seven_members() {
    let (preimage, subject) = approval_subject(
        "task-1",
        "pay",
        2,
        &digest(1),
        &digest(2),
        &digest(3),
        &digest(4),
    );
    let one = "01".repeat(32);
    let two = "02".repeat(32);
    let three = "03".repeat(32);
    let four = "04".repeat(32);
    let expected = format!(
        r#"{{"attempt":"2","component":{{"sha256":"{one}"}},"grants":{{"sha256":"{three}"}},"input":{{"sha256":"{two}"}},"policies":{{"sha256":"{four}"}},"step":"pay","task":"task-1"}}"#
    );
    assert_eq!(String::from_utf8(preimage).unwrap(), expected);
    assert_eq!(subject, Digest::of(expected.as_bytes()));
}

#[test]
fn every_name_is_read_back() {
    for kind in Kind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(*kind));
    }
    for status in Status::ALL {
        assert_eq!(status.as_str().parse(), Ok(*status));
    }
    let error = "OK".parse::<Status>().unwrap_err();
    assert!(error.to_string().contains("invalid-input"), "{error}");
}

proptest! {
    #[test]
    fn any_text_in_a_record_is_read_back(id in ".*", reason in proptest::option::of(".*"), seq: u64, nonce: [u8; 16]) {
        let mut record = full();
        record.nonce = nonce;
        record.task = Some(TaskLink { id, seq, prev: None });
        record.verdicts[0].reason = reason;
        prop_assert_eq!(Record::parse(&record.to_statement()).unwrap(), record);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Record::parse(&bytes);
    }

    #[test]
    fn a_record_with_one_byte_changed_is_refused_or_says_something_else(place: prop::sample::Index, byte: u8) {
        let mut statement = full().to_statement();
        let place = place.index(statement.len());
        prop_assume!(statement[place] != byte);
        statement[place] = byte;
        if let Ok(record) = Record::parse(&statement) {
            prop_assert_ne!(record, full());
        }
    }
}
