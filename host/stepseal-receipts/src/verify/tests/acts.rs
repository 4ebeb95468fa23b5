//! Records of the host's own acts: what each kind must have, what it cannot have, and what it must not claim.

use super::world::*;
use crate::digest::Digest;
use crate::keys::SigningKey;
use crate::record::{
    Actor, Binding, BindingChange, ComponentRef, ErasedEntry, Erasure, ErasureScope, Fuel,
    HostCalls, KeyChange, KeyRole, Kind, Limits, Memory, Mode, Outcome, Record, Runtime, Shard,
    ShardHead, Span, Status, TaskLink, Trace, VerdictKind,
};
use crate::time::Timestamp;
use crate::verify::{Check, check_act};

/// Index in the log of the act at hand.
const OWN: u64 = 40;

fn key_change(from_index: Option<u64>, to_index: Option<u64>) -> KeyChange {
    KeyChange {
        role: KeyRole::Record,
        name: None,
        key: SigningKey::from_seed([50; 32]).public(),
        from_index,
        to_index,
    }
}

fn erased(seq: u8) -> ErasedEntry {
    ErasedEntry {
        index: 10 + 2 * u64::from(seq),
        seq: u64::from(seq),
        prev: (seq > 0).then(|| digest(seq)),
    }
}

fn erasure(scope: ErasureScope) -> Erasure {
    let records = scope == ErasureScope::Records;
    Erasure {
        scope,
        basis: "GDPR Art. 17".to_owned(),
        task: records.then(|| TASK.to_owned()),
        blobs: if records {
            Vec::new()
        } else {
            vec![digest(1), digest(2)]
        },
        entries: if records {
            vec![erased(0), erased(1), erased(3)]
        } else {
            Vec::new()
        },
    }
}

fn head() -> ShardHead {
    ShardHead {
        origin: "log.example/zero".to_owned(),
        size: 1000,
        root: digest(51),
    }
}

/// An act with everything its kind must have and nothing else.
pub(super) fn act(kind: Kind) -> Record {
    let mut act = record(kind);
    let time = Timestamp::from_unix_ms(1_700_000_000_000).unwrap();
    act.time = Some(Span {
        start: time,
        end: time,
    });
    let component = Some(ComponentRef {
        name: "ledger".to_owned(),
        version: "0.1.0".to_owned(),
        digest: digest(41),
    });
    match kind {
        Kind::ComponentAdded => act.component = component,
        Kind::GrantChanged => {
            act.plugin = Some("ledger".to_owned());
            act.grants = Some(digest(42));
        }
        Kind::PolicyChanged => {
            act.component = component;
            act.policies = Some(digest(40));
            act.binding = Some(Binding {
                change: BindingChange::Bound,
                mode: Mode::Enforce,
                settings: digest(44),
            });
        }
        Kind::KeyRotate => act.key = Some(key_change(Some(OWN + 1), None)),
        Kind::KeyRevoke => act.key = Some(key_change(None, Some(OWN))),
        Kind::Erasure => act.erasure = Some(erasure(ErasureScope::Payloads)),
        Kind::ShardOpen => {
            act.shard = Some(Shard {
                number: 1,
                previous: Some(head()),
            });
        }
        _ => panic!("{kind} is no act"),
    }
    act
}

fn index_of_act(kind: Kind) -> u64 {
    if kind == Kind::ShardOpen { 0 } else { OWN }
}

/// The members at fault in an act, each with its sentence.
fn faults(act: &Record) -> Vec<(String, String)> {
    // Through its bytes, as a stranger has it.
    let read = Record::parse(&act.to_statement()).expect("the record can be read");
    assert_eq!(read, *act);
    let faults = check_act(index_of_act(act.kind), &read);
    faults
        .into_iter()
        .map(|fault| {
            assert_eq!(fault.check, Check::Chain);
            assert_eq!(fault.index, Some(index_of_act(act.kind)));
            (fault.member, fault.message)
        })
        .collect()
}

#[track_caller]
fn assert_one(act: &Record, member: &str) {
    let found = faults(act);
    let members: Vec<&str> = found.iter().map(|(member, _)| member.as_str()).collect();
    assert_eq!(members, [member], "{found:#?}");
}

fn acts() -> impl Iterator<Item = Kind> {
    Kind::ALL.iter().copied().filter(|kind| kind.is_act())
}

type Change = fn(&mut Record);

/// Takes each member away.
const WITHOUT: [(&str, Change); 9] = [
    ("time", |r| r.time = None),
    ("component", |r| r.component = None),
    ("plugin", |r| r.plugin = None),
    ("grants", |r| r.grants = None),
    ("policies", |r| r.policies = None),
    ("binding", |r| r.binding = None),
    ("key", |r| r.key = None),
    ("erasure", |r| r.erasure = None),
    ("shard", |r| r.shard = None),
];

/// Adds each member of the format that is not in every record.
const WITH: [(&str, Change); 27] = [
    ("task", |r| {
        r.task = Some(TaskLink {
            id: TASK.to_owned(),
            seq: 0,
            prev: None,
        });
    }),
    ("step", |r| {
        r.step = attempt(Kind::StepFailed, "pay", 1).step;
    }),
    ("plan", |r| r.plan = Some(digest(1))),
    ("policies", |r| r.policies = Some(digest(1))),
    ("component", |r| r.component = paid().component),
    ("runtime", |r| {
        r.runtime = Some(Runtime {
            host: "stepseal 0.1.0".to_owned(),
            engine: "wasmtime 48.0.8".to_owned(),
            config: digest(1),
        });
    }),
    ("grants", |r| r.grants = Some(digest(1))),
    ("limits", |r| {
        r.limits = Some(Limits {
            fuel: 1,
            memory: 1,
            wall_ms: 1,
            input: 1,
            output: 1,
        });
    }),
    ("input", |r| r.input = paid().input),
    ("output", |r| r.output = paid().output),
    ("verdicts", |r| {
        r.verdicts = vec![verdict(VerdictKind::Allow)];
    }),
    ("approvals", |r| r.approvals = authorized().approvals),
    ("hostcalls", |r| {
        r.hostcalls = Some(HostCalls {
            count: 1,
            digest: digest(1),
        });
    }),
    ("fuel", |r| r.fuel = Some(Fuel { limit: 1, used: 1 })),
    ("memory", |r| r.memory = Some(Memory { limit: 1, peak: 1 })),
    ("seed", |r| r.seed = Some([1; 32])),
    ("time", |r| r.time = act(Kind::KeyRotate).time),
    ("outcome", |r| {
        r.outcome = Some(Outcome {
            status: Status::Ok,
            code: None,
            message: None,
        });
    }),
    ("trace", |r| {
        r.trace = Some(Trace {
            trace_id: [1; 16],
            span_id: [1; 8],
        });
    }),
    ("records", |r| r.records = Some(1)),
    ("head", |r| r.head = Some(digest(1))),
    ("actor", |r| {
        r.actor = Some(Actor {
            name: "ada".to_owned(),
            role: None,
        });
    }),
    ("plugin", |r| r.plugin = Some("ledger".to_owned())),
    ("binding", |r| r.binding = act(Kind::PolicyChanged).binding),
    // One that would be at fault where it may stand: what a foreign member says is not looked at.
    ("key", |r| r.key = Some(key_change(None, None))),
    ("erasure", |r| {
        r.erasure = Some(erasure(ErasureScope::Records));
    }),
    ("shard", |r| {
        r.shard = Some(Shard {
            number: 1,
            previous: None,
        });
    }),
];

#[test]
fn an_act_with_what_its_kind_must_have_is_without_fault() {
    for kind in acts() {
        assert_eq!(faults(&act(kind)), [], "{kind}");
    }
    let mut records = act(Kind::Erasure);
    records.erasure = Some(erasure(ErasureScope::Records));
    assert_eq!(faults(&records), []);
    let mut whole_task = act(Kind::Erasure);
    let erasure = whole_task.erasure.as_mut().unwrap();
    erasure.blobs.clear();
    erasure.task = Some(TASK.to_owned());
    assert_eq!(faults(&whole_task), []);
    let mut first = act(Kind::ShardOpen);
    first.shard = Some(Shard {
        number: 0,
        previous: None,
    });
    assert_eq!(faults(&first), []);
}

#[test]
fn an_act_must_have_each_member_of_its_kind() {
    let mut tried = 0;
    for kind in acts() {
        for (member, remove) in WITHOUT {
            let mut without = act(kind);
            remove(&mut without);
            if without != act(kind) {
                tried += 1;
                assert_one(&without, member);
            }
        }
    }
    // The members of the seven kinds, as FORMAT.md lists them, and `time` of each.
    assert_eq!(tried, 10 + 7);
}

#[test]
fn an_act_can_have_no_member_of_another_kind() {
    for kind in acts() {
        let mut foreign = Vec::new();
        for (member, add) in WITH {
            let mut with = act(kind);
            add(&mut with);
            let own = WITHOUT.iter().any(|(name, remove)| {
                let mut without = act(kind);
                remove(&mut without);
                *name == member && without != act(kind)
            });
            if own {
                continue;
            }
            if matches!(member, "actor" | "runtime" | "trace") {
                assert_eq!(faults(&with), [], "{kind} may have {member}");
                continue;
            }
            foreign.push(member);
            assert_one(&with, member);
        }
        assert!(foreign.contains(&"task"), "no act is of a task");
    }
}

#[test]
fn what_a_later_version_adds_to_an_act_is_no_fault() {
    let mut act = act(Kind::GrantChanged);
    act.unrecognised.insert("ticket".to_owned(), "OPS-1".into());
    assert_eq!(faults(&act), []);
}

#[test]
fn a_record_of_a_task_is_no_act() {
    for kind in Kind::ALL.iter().filter(|kind| !kind.is_act()) {
        let places: Vec<_> = check_act(OWN, &record(*kind));
        assert_eq!(places.len(), 1);
        assert_eq!(places[0].member, "kind");
    }
}

#[test]
fn a_key_cannot_begin_to_count_before_the_record_that_says_so() {
    for from in [0, OWN - 1, OWN] {
        let mut rotate = act(Kind::KeyRotate);
        rotate.key = Some(key_change(Some(from), None));
        assert_one(&rotate, "key.fromIndex");
    }
}

#[test]
fn an_approvers_key_has_a_name_and_counts_at_the_record_that_says_so() {
    for kind in [Kind::KeyRotate, Kind::KeyRevoke] {
        let with = |name: Option<&str>, from, to| {
            let mut record = act(kind);
            record.key = Some(KeyChange {
                role: KeyRole::Approver,
                name: name.map(str::to_owned),
                ..key_change(from, to)
            });
            record
        };
        assert_eq!(faults(&with(Some("ada"), None, None)), [], "{kind}");
        assert_one(&with(None, None, None), "key.name");
        assert_one(&with(Some("ada"), Some(OWN + 1), None), "key.fromIndex");
        assert_one(&with(Some("ada"), None, Some(OWN)), "key.toIndex");
        let mut named = act(kind);
        named.key.as_mut().unwrap().name = Some("ada".to_owned());
        assert_one(&named, "key.name");
    }
}

#[test]
fn a_revocation_cannot_take_back_what_was_signed_before_it() {
    for to in [0, OWN - 1] {
        let mut revoke = act(Kind::KeyRevoke);
        revoke.key = Some(key_change(None, Some(to)));
        assert_one(&revoke, "key.toIndex");
    }
}

#[test]
fn a_change_of_a_key_says_exactly_from_or_to_when() {
    let cases = [
        (Kind::KeyRotate, None, None, "key.fromIndex"),
        (Kind::KeyRotate, Some(OWN + 1), Some(OWN + 9), "key.toIndex"),
        (Kind::KeyRevoke, None, None, "key.toIndex"),
        (
            Kind::KeyRevoke,
            Some(OWN + 1),
            Some(OWN + 9),
            "key.fromIndex",
        ),
    ];
    for (kind, from, to, member) in cases {
        let mut record = act(kind);
        record.key = Some(key_change(from, to));
        assert_one(&record, member);
    }
}

#[test]
fn an_erasure_says_what_it_took_and_keeps_the_links() {
    type Change = fn(&mut Erasure);
    let payloads: [(&str, Change); 3] = [
        ("erasure", |e| e.blobs.clear()),
        ("erasure.entries", |e| e.entries = vec![erased(0)]),
        ("erasure.blobs[2]", |e| e.blobs.push(digest(1))),
    ];
    let records: [(&str, Change); 9] = [
        ("erasure.task", |e| e.task = None),
        ("erasure.entries", |e| e.entries.clear()),
        ("erasure.blobs", |e| e.blobs = vec![digest(1)]),
        // This very record, and one that is not written yet.
        ("erasure.entries[2].index", |e| e.entries[2].index = OWN),
        ("erasure.entries[2].index", |e| {
            e.entries[2].index = u64::MAX;
        }),
        // A link to nothing would let any record stand before it.
        ("erasure.entries[1].prev", |e| e.entries[1].prev = None),
        ("erasure.entries[0].prev", |e| {
            e.entries[0].prev = Some(digest(1));
        }),
        // Two links for one entry: which is true?
        ("erasure.entries[2].index", |e| e.entries[2] = e.entries[1]),
        ("erasure.entries[2].index", |e| e.entries[2].seq = 1),
    ];
    let cases = payloads.map(|case| (ErasureScope::Payloads, case));
    let cases = cases
        .into_iter()
        .chain(records.map(|case| (ErasureScope::Records, case)));
    for (scope, (member, change)) in cases {
        let mut record = act(Kind::Erasure);
        let mut erasure = erasure(scope);
        change(&mut erasure);
        record.erasure = Some(erasure);
        assert_one(&record, member);
    }
}

#[test]
fn a_shard_continues_exactly_one_other_log() {
    type Change = fn(&mut Shard);
    let cases: [(&str, Change); 6] = [
        ("shard.previous", |s| s.previous = None),
        ("shard.previous", |s| s.number = 0),
        ("shard.previous.origin", |s| {
            s.previous.as_mut().unwrap().origin = "a b".to_owned();
        }),
        ("shard.previous.origin", |s| {
            s.previous.as_mut().unwrap().origin = ORIGIN.to_owned();
        }),
        ("shard.previous.size", |s| {
            s.previous.as_mut().unwrap().size = 0;
        }),
        ("shard.previous.size", |s| {
            s.previous.as_mut().unwrap().size = crate::tree::SIZE_MAX + 1;
        }),
    ];
    for (member, change) in cases {
        let mut record = act(Kind::ShardOpen);
        change(record.shard.as_mut().unwrap());
        assert_one(&record, member);
    }
    let late = check_act(1, &act(Kind::ShardOpen));
    assert_eq!(late.len(), 1);
    assert_eq!(late[0].member, "kind");
}

#[test]
fn an_act_in_the_receipt_of_a_task_is_a_fault() {
    for kind in acts() {
        let mut records = story();
        records.insert(2, act(kind));
        // The host signs it as a record of the task, with links that fit, or as it should be, and the task goes on without it.
        let claimed = receipt_of(&records);
        let found = report(&claimed);
        assert_fault_of_act(&found, kind);

        let (receipt, _) = linked(&records, |number, record| {
            if number == 2 {
                record.task = None;
            }
            if let Some(task) = record.task.as_mut().filter(|_| number > 2) {
                task.seq -= 1;
            }
        });
        assert_fault_of_act(&report(&receipt), kind);
    }
}

/// The first fault names the act, and nothing in the receipt makes up for it.
#[track_caller]
fn assert_fault_of_act(report: &crate::verify::Report, kind: Kind) {
    let fault = &report.faults[0];
    let place = (fault.check, fault.index, fault.member.as_str());
    assert_eq!(
        place,
        (Check::Chain, Some(index_of(2)), "kind"),
        "{kind}: {fault}"
    );
    assert!(fault.message.contains(kind.as_str()), "{fault}");
    assert!(!report.passed());
}

#[test]
fn a_record_of_a_task_with_a_member_of_an_act_is_a_fault() {
    for (member, add) in WITH.into_iter().skip(21) {
        for number in [0, 1, 6] {
            let (receipt, _) = linked(&story(), |at, record| {
                if at == number {
                    add(record);
                }
            });
            assert_fault(
                &report(&receipt),
                Check::Chain,
                Some(index_of(number)),
                member,
            );
        }
    }
}

#[test]
fn a_hostile_act_cannot_make_the_list_of_faults_large() {
    let mut record = act(Kind::Erasure);
    record.erasure = Some(Erasure {
        blobs: vec![Digest::of(b""); 2000],
        ..erasure(ErasureScope::Payloads)
    });
    let found = check_act(OWN, &record);
    assert_eq!(found.len(), crate::verify::FAULTS_MAX + 1);
}
