//! Hostile policies: bound as an operator would bind a good one, each asked about the steps of an agent of its own.

use serde_json::json;
use stepseal_receipts::record::{Verdict, VerdictKind};

use super::Attack;
use crate::host::client::Client;
use crate::host::tasks::{id, one_step};
use crate::host::{Host, guests};
use crate::policies::says as words;
use crate::support::ended;
use crate::wat::{parse_str, policy};

/// Policies that a host binds at a time, less one that allows everything.
pub(super) const AT_A_TIME: usize = 9;

/// A policy that attacks, what it is taken to say, and why.
pub(super) struct Judge {
    /// What it does: a row of the documentation.
    pub(super) attack: &'static str,
    /// What holds it.
    pub(super) held_by: &'static str,
    by: By,
    /// What stands in the record.
    pub(super) verdict: VerdictKind,
    pub(super) code: Option<&'static str>,
    /// One of these is a part of the reason in the record; none where there are none.
    says: &'static [&'static str],
    /// How the task ends.
    pub(super) task: &'static str,
}

/// Who it is.
enum By {
    /// The guest `hostile-policy`, which does this before it allows.
    Guest(&'static str),
    /// A policy of these items and this body.
    Text(&'static str, String),
}

/// A policy that is no policy, and so denies.
fn fails(
    attack: &'static str,
    by: By,
    says: &'static [&'static str],
    held_by: &'static str,
) -> Judge {
    Judge {
        attack,
        held_by,
        by,
        verdict: VerdictKind::Deny,
        code: Some("policy-failed"),
        says,
        task: "denied",
    }
}

fn body(evaluate: &str) -> By {
    By::Text("", evaluate.to_owned())
}

/// The code `ugly`, and where to find it.
const UGLY: &str = "(data (i32.const 1024) \"ugly\")";
const CODE: [u32; 2] = [1024, 4];

/// 10 MB of text, and where to find it.
const LARGE: &str = "(drop (memory.grow (i32.const 160)))
    (memory.fill (i32.const 65536) (i32.const 120) (i32.const 10000000))";
const TEN_MB: [u32; 2] = [65_536, 10_000_000];

/// A deny with a reason of this code and message.
fn denies(code: [u32; 2], message: [u32; 2]) -> String {
    words(&[&[0, 3], &code[..], &message].concat())
}

/// Asks for so many approvers of this role, where there is one.
fn asks_for(role: [u32; 3], approvers: u32) -> String {
    words(&[&[0, 2], &CODE[..], &CODE, &role, &[approvers]].concat())
}

/// What it says before a step, and what after it.
fn after(after: &str) -> String {
    let before = words(&[0, 1]);
    format!(
        "(if (result i32) (i32.eq (local.get $stage) (i32.const 2)) (then {after}) (else {before}))"
    )
}

/// Every hostile policy; the first of them are in the crowd.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn policies() -> Vec<Judge> {
    const DENIES: &str = "a policy that cannot judge denies, with the reason in the record";
    const LIMITS: &str =
        "limits of policies, in a pool of their own: 20 million fuel, 16 MiB, 250 ms";
    const CHECKED: &str = "verdicts are checked before they are believed";
    const READ: &str = "the engine checks where answers are and what they are";
    vec![
        // On a busy machine the endless one comes to the end of its time before that of its fuel.
        fails(
            "an infinite loop",
            body("(loop $again (br $again)) (unreachable)"),
            &["fuel", "time"],
            LIMITS,
        ),
        fails("a trap", body("(unreachable)"), &["it trapped"], DENIES),
        fails(
            "a panic",
            By::Guest("panic"),
            &["this policy panics on purpose"],
            DENIES,
        ),
        fails(
            "recursion without end",
            By::Text(
                "(func $deeper (param i32) (result i32)
                   (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))",
                "(call $deeper (i32.const 0))".to_owned(),
            ),
            &["call stack exhausted"],
            "a stack of 512 KiB",
        ),
        fails(
            "growing a memory without end",
            body(
                "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)",
            ),
            &["out of memory"],
            LIMITS,
        ),
        fails(
            "a flood of its log",
            By::Guest("flood"),
            &["fuel", "time"],
            "writes cost fuel, and of policies no log is kept",
        ),
        Judge {
            code: None,
            verdict: VerdictKind::Allow,
            task: "succeeded",
            ..fails(
                "sleeping for a year",
                By::Guest("sleep"),
                &[],
                "virtual clocks: the year passes at once",
            )
        },
        Judge {
            code: Some("ugly"),
            ..fails(
                "a reason of 10 MB",
                By::Text(UGLY, format!("{LARGE} {}", denies(CODE, TEN_MB))),
                &["xxxxxxxx"],
                "256 bytes of a reason are kept",
            )
        },
        fails(
            "allowing a step, then trapping over its output",
            By::Text("", after("(unreachable)")),
            &["it trapped"],
            "nothing of a step is kept before the policies have seen its output",
        ),
        Judge {
            verdict: VerdictKind::NeedsApproval,
            code: Some("ugly"),
            ..fails(
                "asking for a person when the step has run",
                By::Text(UGLY, after(&asks_for([0, 0, 0], 1))),
                &["ugly"],
                "nobody can be asked any more, so it is a denial",
            )
        },
        fails(
            "an answer that is no verdict",
            body(&words(&[0, 9])),
            &["cannot be taken"],
            READ,
        ),
        fails(
            "an answer that lies outside of its memory",
            body("(i32.const -4)"),
            &["cannot be taken", "trap"],
            READ,
        ),
        fails(
            "a reason that lies outside of its memory",
            By::Text(UGLY, denies(CODE, [0x7fff_ffff, 9])),
            &["cannot be taken"],
            READ,
        ),
        fails(
            "a reason that is not UTF-8",
            By::Text(
                "(data (i32.const 1024) \"ugly\\ff\\fe\")",
                denies(CODE, [1028, 2]),
            ),
            &["cannot be taken"],
            READ,
        ),
        fails(
            "a code that is none",
            By::Text("(data (i32.const 1024) \"UGLY\")", denies(CODE, CODE)),
            &["reason's code"],
            CHECKED,
        ),
        fails(
            "a code of 10 MB",
            By::Text(UGLY, format!("{LARGE} {}", denies(TEN_MB, CODE))),
            &["reason's code"],
            CHECKED,
        ),
        fails(
            "asking for 4,294,967,295 approvers",
            By::Text(UGLY, asks_for([0, 0, 0], u32::MAX)),
            &["1 to 16"],
            CHECKED,
        ),
        fails(
            "asking for an approver whose role has 10 MB",
            By::Text(
                UGLY,
                format!("{LARGE} {}", asks_for([1, TEN_MB[0], TEN_MB[1]], 1)),
            ),
            &["role"],
            CHECKED,
        ),
        fails(
            "2^40 random bytes at once",
            By::Guest("random"),
            &["random bytes"],
            "64 KiB in one call",
        ),
        fails(
            "timers, made and never dropped",
            By::Guest("hoard"),
            &["no free keys", "fuel"],
            "1,024 resources of the host at a time",
        ),
    ]
}

/// A policy that is bound.
pub(super) struct Bound {
    judge: Judge,
    /// Its name, and that of the agent whose steps it judges.
    name: String,
    agent: String,
    binding: String,
}

/// Binds policies, each to an agent of its own.
pub(super) fn bound(host: &Client, judges: impl IntoIterator<Item = (usize, Judge)>) -> Vec<Bound> {
    // It may be there already.
    host.upload_bytes(guests::bytes("hostile-policy"));
    let judges = judges.into_iter();
    judges
        .map(|(number, judge)| Bound::new(host, number, judge))
        .collect()
}

impl Bound {
    fn new(host: &Client, number: usize, judge: Judge) -> Self {
        // As long as the name that every text has, which it takes the place of.
        let agent = format!("y{number:04}");
        let (name, settings) = match &judge.by {
            By::Guest(first) => ("hostile-policy".to_owned(), json!({ "first": first })),
            By::Text(items, evaluate) => {
                let text = policy(items, evaluate);
                let text = text.replace("\"probe1.0.0{}\"", &format!("\"{agent}1.0.0{{}}\""));
                let bytes = parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
                host.upload_bytes(bytes).expect(201);
                (agent.clone(), json!({}))
            }
        };
        let binding = host.bind(&name, &settings, &json!({ "agent": agent }));
        Self {
            judge,
            name,
            agent,
            binding,
        }
    }

    /// Ends the binding.
    fn unbind(&self, host: &Client) {
        let place = format!("/v1/policies/{}", self.binding);
        host.call("DELETE", place).send().expect(204);
    }
}

impl Attack for Bound {
    fn begin(&self, host: &Client) -> String {
        let mut submission = one_step("hostile/echo", &json!(1));
        submission["agent"] = json!(self.agent);
        id(&host.submit(&submission))
    }

    #[track_caller]
    fn ends_as_it_must(&self, host: &Client, task: &str) {
        let Judge {
            attack,
            verdict,
            code,
            says,
            ..
        } = &self.judge;
        let task = ended(host, task);
        assert_eq!(task["state"], self.judge.task, "{attack}: {task:#}");
        let has_output = task["steps"][0].get("output").is_some();
        assert_eq!(
            has_output,
            self.judge.task == "succeeded",
            "{attack}: {task:#}"
        );
        let report = host.receipt_verified(&id(&task));
        let said = report
            .records
            .iter()
            .flat_map(|(_, record)| &record.verdicts);
        let said: Vec<&Verdict> = said.filter(|said| said.name == self.name).collect();
        let last = said.last().unwrap();
        assert_eq!(
            (last.verdict, last.code.as_deref()),
            (*verdict, *code),
            "{attack}: {said:?}"
        );
        let reason = last.reason.as_deref().unwrap_or_default();
        let is_said = says.is_empty() || says.iter().any(|part| reason.contains(part));
        assert!(is_said && reason.len() <= 256, "{attack}: {reason}");
    }
}

#[test]
fn every_policy_ends_as_its_row_says() {
    let host = Host::with_guests();
    let mut judges = policies().into_iter().enumerate().peekable();
    while judges.peek().is_some() {
        let bound = bound(&host, judges.by_ref().take(AT_A_TIME));
        let tasks: Vec<String> = bound.iter().map(|policy| policy.begin(&host)).collect();
        super::has_a_pulse(&host);
        super::serves_the_honest(&host);
        for (policy, task) in bound.iter().zip(&tasks) {
            policy.ends_as_it_must(&host, task);
            policy.unbind(&host);
        }
    }
    host.get("/readyz");
}
