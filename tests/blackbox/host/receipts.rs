//! Receipts, checked by the code an auditor runs.

use stepseal_receipts::trust::TrustFile;
use stepseal_receipts::verify::{Options, Outcome3, Report, verify_bytes};

use super::client::Client;

/// The keys the host's log is believed under.
pub(crate) fn believes(client: &Client) -> TrustFile {
    let trust = client.call("GET", "/v1/trust").send().expect(200);
    TrustFile::parse(&trust.body).expect("a host gives a trust file")
}

/// Checks a receipt as `stepseal verify` does.
pub(crate) fn verify(receipt: &[u8], trust: &TrustFile) -> Report {
    verify_bytes(receipt, trust, &Options::default())
}

impl Client {
    /// The receipt of a task that is over.
    pub(crate) fn receipt(&self, task: &str) -> Vec<u8> {
        self.call("GET", format!("/v1/tasks/{task}/receipt"))
            .send()
            .expect(200)
            .body
    }

    /// The report on a task's receipt, which must pass every check that can be made offline.
    #[track_caller]
    pub(crate) fn receipt_verified(&self, task: &str) -> Report {
        let report = self.receipt_verified_without_payloads(task);
        assert_eq!(
            report.verdicts.disclosure,
            Outcome3::Pass,
            "the receipt of {task} discloses nothing: {report:#?}"
        );
        report
    }

    /// The same of one whose payloads are erased.
    #[track_caller]
    pub(crate) fn receipt_verified_without_payloads(&self, task: &str) -> Report {
        let report = verify(&self.receipt(task), &believes(self));
        assert!(
            report.passed() && !report.open,
            "the receipt of {task} does not verify: {report:#?}"
        );
        let verdicts = &report.verdicts;
        for (what, outcome) in [
            ("signatures", verdicts.signatures),
            ("chain", verdicts.chain),
            ("inclusion", verdicts.inclusion),
            ("completeness", verdicts.completeness),
        ] {
            assert_eq!(
                outcome,
                Outcome3::Pass,
                "{what} of the receipt of {task}: {report:#?}"
            );
        }
        report
    }
}
