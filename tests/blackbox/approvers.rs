//! People who sign their own decisions: a receipt proves who approved, and nobody decides in their names.

use serde_json::{Value, json};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::dsse::Envelope;
use stepseal_receipts::keys::SigningKey;
use stepseal_receipts::receipt::{Receipt, ReceiptLimits};
use stepseal_receipts::record::{Approval, Decision, sign_approval};
use stepseal_receipts::verify::Check;

use crate::host::client::Answer;
use crate::host::tasks::{id, one_step};
use crate::host::{Host, believes, verify};
use crate::support::{Ran, stepseal_in};

/// A host on which a step waits for a person, and the approver `dana` with a key of her own.
struct Office {
    host: Host,
    key: SigningKey,
    temp: tempfile::TempDir,
}

impl Office {
    fn new() -> Self {
        let host = Host::with_guests();
        host.grant("hostile", &json!({"buckets": ["hostile"]}));
        let temp = tempfile::tempdir().unwrap();
        let made = stepseal_in(
            temp.path(),
            &["keys", "approver", "init", "--out", "dana.pem"],
            b"",
        );
        let spki = made.expect(0).stdout.trim().to_owned();
        let pem = std::fs::read_to_string(temp.path().join("dana.pem")).unwrap();
        let key = SigningKey::from_pkcs8_pem(&pem).unwrap();
        assert_eq!(key.public().spki_base64(), spki);
        let office = Self { host, key, temp };
        office
            .types(&["keys", "approver", "add", "dana", &spki, "--actor", "olga"])
            .expect(0);
        office
    }

    fn types(&self, arguments: &[&str]) -> Ran {
        let data = self.host.data();
        let arguments = [&["--data", data.to_str().unwrap()], arguments].concat();
        stepseal_in(self.temp.path(), &arguments, b"")
    }

    /// A task that waits for a person, and what that person is shown.
    fn waiting(&self) -> (String, Value) {
        let write = one_step("hostile/kv-write", &json!({"key": "k", "value": 1}));
        let task = id(&self.host.submit_and_wait(&write));
        let approval = self.host.approval_of(&task);
        (task, approval)
    }

    fn approve(&self, approval: &Value, further: &[&str]) -> Ran {
        let subject = approval["subject"].as_str().unwrap();
        let shown = id(approval);
        let arguments = ["approval", "approve", &shown, "--as", "dana", "--subject"];
        self.types(&[&arguments[..], &[subject], further].concat())
    }

    /// A task that dana approved, with her key.
    fn approved(&self) -> String {
        let (task, approval) = self.waiting();
        self.approve(&approval, &["--key", "dana.pem"]).expect(0);
        self.host.task_in(&task, "succeeded");
        task
    }

    fn send(&self, approval: &Value, envelope: &Envelope) -> Answer {
        let decision = json!({"decision": "approve", "subject": approval["subject"], "approver": "dana", "envelope": envelope});
        self.host
            .post(format!("/v1/approvals/{}", id(approval)), &decision)
    }
}

fn envelope(subject: &Value, decision: Decision, role: Option<&str>, key: &SigningKey) -> Envelope {
    let claim = Approval {
        approver: "dana".to_owned(),
        decision,
        role: role.map(str::to_owned),
        subject: subject.as_str().unwrap().parse::<Digest>().unwrap(),
        envelope: None,
    };
    sign_approval(&claim, key)
}

#[test]
fn a_receipt_proves_who_approved() {
    let office = Office::new();
    let task = office.approved();
    office.host.receipt_verified(&task);
    let trust = believes(&office.host);
    let bytes = office.host.receipt(&task);
    let receipt = Receipt::parse(&bytes, &ReceiptLimits::default()).unwrap();
    assert_eq!(receipt.approvals.len(), 1);

    let mut without = receipt.clone();
    without.approvals.clear();
    let report = verify(&without.to_json(), &trust);
    let faults = report
        .faults
        .iter()
        .map(|fault| (fault.check, &*fault.member));
    assert!(
        faults.eq([(Check::Signatures, "approvals[0].envelope")]),
        "{:#?}",
        report.faults
    );
    let mut forged = receipt;
    forged.approvals[0].signatures[0].sig[3] ^= 1;
    assert!(!verify(&forged.to_json(), &trust).passed());
}

#[test]
fn what_an_approver_signed_outlives_the_payloads() {
    let office = Office::new();
    let task = office.approved();
    let erase = format!("/v1/tasks/{task}/payloads?basis=tour");
    office.host.call("DELETE", erase).send().expect(204);
    office.host.receipt_verified_without_payloads(&task);
}

#[test]
fn who_has_a_key_must_sign_and_nobody_else_decides_in_that_name() {
    let office = Office::new();
    let (task, approval) = office.waiting();
    office
        .approve(&approval, &[])
        .expect(1)
        .says(&["dana has a key", "--key FILE"]);
    office
        .host
        .decide(&approval, "reject", "dana")
        .problem(403, "forbidden");
    let (_, other) = office.waiting();
    let subject = &approval["subject"];
    let stranger = SigningKey::from_seed([9; 32]);
    for forged in [
        envelope(subject, Decision::Approve, None, &stranger),
        envelope(subject, Decision::Reject, None, &office.key),
        envelope(subject, Decision::Approve, Some("treasurer"), &office.key),
        envelope(&other["subject"], Decision::Approve, None, &office.key),
        Envelope::sign("application/json", b"{}".to_vec(), &office.key),
    ] {
        office.send(&approval, &forged).problem(403, "forbidden");
    }
    let large = Envelope::sign("application/json", vec![b' '; 5 << 10], &office.key);
    let faults = office.send(&approval, &large).faults(422, "invalid");
    assert_eq!(faults, ["/envelope"]);
    // Whoever has no key cannot sign for somebody either.
    let good = envelope(subject, Decision::Approve, None, &office.key);
    let decision =
        json!({"decision": "approve", "subject": subject, "approver": "ada", "envelope": good});
    office
        .host
        .post(format!("/v1/approvals/{}", id(&approval)), &decision)
        .problem(403, "forbidden");
    assert_eq!(office.host.approval_of(&task)["decisions"], json!([]));

    let decided = office.send(&approval, &good).expect(200).json();
    assert_eq!(
        decided["decisions"][0]["envelope"],
        good.pae_digest().to_string()
    );
    office.host.task_in(&task, "succeeded");
    office.host.receipt_verified(&task);
}

#[test]
fn a_person_without_a_key_decides_as_before() {
    let office = Office::new();
    let (task, approval) = office.waiting();
    office.host.decide(&approval, "approve", "ada").expect(200);
    office.host.task_in(&task, "succeeded");
    office.host.receipt_verified(&task);
}

#[test]
fn a_key_that_is_taken_away_signs_no_more_and_what_it_signed_stays_believed() {
    let office = Office::new();
    let before = office.approved();
    let key = office.key.public();
    let (_, open) = office.waiting();
    let key_id = key.id().to_string();
    office
        .types(&["keys", "approver", "remove", &key_id])
        .expect(0);
    office
        .types(&["keys", "approver", "remove", &key_id])
        .expect(1);
    office.host.receipt_verified(&before);
    office
        .approve(&open, &["--key", "dana.pem"])
        .expect(1)
        .says(&["no key that counts"]);
    // Nor does the name fall to whoever holds the token.
    office.approve(&open, &[]).expect(1).says(&["has a key"]);
    office
        .types(&["keys", "approver", "add", "dana", &key.spki_base64()])
        .expect(1)
        .says(&["make a new one"]);
    let listed = office.host.get("/v1/approvers");
    assert!(listed["items"][0]["to_index"].is_u64(), "{listed}");

    let made = office.types(&["keys", "approver", "init", "--out", "next.pem"]);
    let next = made.expect(0).stdout;
    office
        .types(&["keys", "approver", "init", "--out", "next.pem"])
        .expect(1)
        .says(&["is there already"]);
    office
        .types(&["keys", "approver", "add", "dana", next.trim()])
        .expect(0);
    office.approve(&open, &["--key", "next.pem"]).expect(0);
    let after = open["task"].as_str().unwrap();
    office.host.task_in(after, "succeeded");
    for task in [&before, after] {
        office.host.receipt_verified(task);
    }
    // An old trust file does not know the new key.
    let mut old = believes(&office.host);
    old.approvers.truncate(1);
    assert!(verify(&office.host.receipt(&before), &old).passed());
    assert!(!verify(&office.host.receipt(after), &old).passed());
}

#[test]
fn a_decision_that_rests_on_other_keys_is_void_and_the_step_is_asked_about_again() {
    let host = Host::with_guests();
    host.grant("ledger", &json!({"buckets": ["ledger"]}));
    let settings = json!({"limits": {"EUR": {"approval_above": "1", "deny_above": "1000"}}, "role": "treasurer"});
    host.bind("spending-limit", &settings, &json!({"plugin": "ledger"}));
    let transfer = json!({"from": "a", "to": "b", "amount": "2", "currency": "EUR"});
    let task = id(&host.submit_and_wait(&one_step("ledger/transfer", &transfer)));
    let approval = host.approval_of(&task);
    // Not in the role that is asked for, so it waits on.
    host.decide(&approval, "approve", "dana").expect(200);
    let key = SigningKey::from_seed([7; 32]).public();
    let new = json!({"name": "dana", "key": key.spki_base64()});
    host.post("/v1/approvers", &new).expect(201);
    host.post("/v1/approvers", &new).problem(409, "key-in-use");
    let treasurer = |approval: &Value| {
        let decision = json!({"decision": "approve", "subject": approval["subject"], "approver": "ada", "role": "treasurer"});
        host.post(format!("/v1/approvals/{}", id(approval)), &decision)
    };
    treasurer(&approval).problem(409, "changed");
    let again = host.approval_of(&task);
    assert_ne!(id(&again), id(&approval));
    treasurer(&again).expect(200);
    // The accounts do not exist: what matters here is that it ran.
    host.task_in(&task, "failed");
    host.receipt_verified(&task);
}

#[test]
fn a_name_or_a_key_that_is_none_is_refused() {
    let host = Host::with_guests();
    let spki = SigningKey::from_seed([7; 32]).public().spki_base64();
    for (name, key, fault) in [("", &*spki, "/name"), ("a\nb", &spki, "/name")] {
        let new = json!({"name": name, "key": key});
        assert_eq!(
            host.post("/v1/approvers", &new).faults(422, "invalid"),
            [fault]
        );
    }
    let new = json!({"name": "dana", "key": "AAAA"});
    host.post("/v1/approvers", &new).problem(422, "invalid");
    let own = believes(&host).records[0].key.spki_base64();
    let new = json!({"name": "dana", "key": own});
    host.post("/v1/approvers", &new).problem(409, "key-in-use");
    host.call("DELETE", "/v1/approvers/none")
        .send()
        .problem(404, "not-found");
}
