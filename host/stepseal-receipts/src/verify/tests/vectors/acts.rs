//! Acts of the host, which no receipt of a task holds, and members of theirs, which no record of a task has.

use super::super::acts::act;
use super::super::world::*;
use super::{Vector, bare, pure};
use crate::record::{Actor, Kind, Record};

/// Name, member, kind of an act whose record has it.
const FOREIGN: &[(&str, Kind)] = &[
    ("plugin", Kind::GrantChanged),
    ("binding", Kind::PolicyChanged),
    ("key", Kind::KeyRotate),
    ("erasure", Kind::Erasure),
    ("shard", Kind::ShardOpen),
];

pub(super) fn vectors() -> Vec<Vector> {
    let acts = Kind::ALL.iter().filter(|kind| kind.is_act()).map(|kind| {
        let mut records = bare();
        records.push(act(*kind));
        // What an act says stands alone: it is in no task.
        let (receipt, _) = linked(&records, |number, record| {
            if number == 2 {
                record.task = None;
            }
        });
        Vector::refused(
            &format!("acts/{kind}"),
            "A receipt of a task holds a record of an act of the host.",
            &receipt,
            ("chain", Some(2), "kind"),
        )
    });
    let mut records = bare();
    records.push(act(Kind::GrantChanged));
    let linked_in = Vector::refused(
        "acts/linked",
        "A record of an act of the host is linked like one of the task.",
        &receipt_of(&records),
        ("chain", Some(2), "kind"),
    );
    let (receipt, _) = linked(&[act(Kind::ComponentAdded)], |_, record| record.task = None);
    let alone = Vector::refused(
        "acts/alone",
        "The only record is one of an act of the host.",
        &receipt,
        ("chain", Some(0), "kind"),
    );
    let members = FOREIGN.iter().map(|(member, kind)| {
        let Record {
            plugin,
            binding,
            key,
            erasure,
            shard,
            ..
        } = act(*kind);
        with(member, |record| {
            record.plugin = plugin;
            record.binding = binding;
            record.key = key;
            record.erasure = erasure;
            record.shard = shard;
        })
    });
    let actor = with("actor", |record| {
        record.actor = Some(Actor {
            name: "dana".to_owned(),
            role: None,
        });
    });
    acts.chain([linked_in, alone, actor])
        .chain(members)
        .collect()
}

/// A step's record with a member that only acts have.
fn with(member: &str, change: impl FnOnce(&mut Record)) -> Vector {
    let mut records = pure();
    change(&mut records[1]);
    Vector::refused(
        &format!("acts/{member}-in-a-task"),
        &format!("A record of a step has the member {member}, which only acts of the host have."),
        &receipt_of(&records),
        ("chain", Some(1), member),
    )
}
