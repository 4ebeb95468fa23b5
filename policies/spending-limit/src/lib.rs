//! A policy on spending: up to one amount a step may run, above it a person is asked, above another it is denied,
//! for each currency. It reads `amount` and `currency` of the step's input, the convention of
//! [`stepseal_plugin::money`].
//!
//! What it cannot judge it denies: a currency without limits, an amount it cannot read, an amount without a currency.

use std::collections::BTreeMap;

use serde::Deserialize;
use stepseal_plugin::money::{Currency, Decimal};
use stepseal_plugin::policy::{Input, Stage, Verdict};
use stepseal_plugin::serde_json::Value;
use stepseal_plugin::{JsonSchema, policy, schemars};

policy! {
    /// Lets steps spend up to a limit, asks a person above it, and denies above a second one.
    name: "spending-limit",
    stages: [BeforeStep],
    judge: judge,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// By currency. A currency that is not here is denied.
    limits: BTreeMap<Currency, Limits>,
    /// Steps that move no money and may run without an amount, as `plugin/step-type`: the same name in another plugin is
    /// another step. Other steps without an amount are left to other policies.
    #[serde(default)]
    spends_nothing: Vec<String>,
    /// The role an approver must hold. Any approver if absent.
    role: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// The largest amount that needs no approval.
    approval_above: Decimal,
    /// The largest amount that may be approved.
    deny_above: Decimal,
}

fn judge(stage: Stage, settings: &Settings, input: &Input) -> Result<Verdict, String> {
    if stage != Stage::BeforeStep {
        return Ok(Verdict::NotApplicable);
    }
    for (currency, limits) in &settings.limits {
        if limits.approval_above > limits.deny_above {
            return Err(format!(
                "the settings at limits.{currency}: approval_above is more than deny_above"
            ));
        }
    }
    let step = input.step.as_ref().ok_or("the policy input has no step")?;
    let member = |name| input.input.as_ref().and_then(|input| input.get(name));
    let Some(amount) = member("amount") else {
        let plugin = input
            .plugin
            .as_ref()
            .ok_or("the policy input has no plugin")?;
        let uses = format!("{}/{}", plugin.name, step.step_type);
        let harmless = settings.spends_nothing.contains(&uses);
        return Ok(if harmless {
            Verdict::Allow
        } else {
            Verdict::NotApplicable
        });
    };
    Ok(judge_amount(settings, amount, member("currency")))
}

fn judge_amount(settings: &Settings, amount: &Value, currency: Option<&Value>) -> Verdict {
    let amount: Decimal = match amount.as_str().map(str::parse) {
        Some(Ok(amount)) => amount,
        Some(Err(fault)) => {
            return Verdict::deny(
                "unreadable-amount",
                format!("The amount cannot be judged: {fault}."),
            );
        }
        None => {
            return Verdict::deny(
                "unreadable-amount",
                "The amount cannot be judged: it is not a string.",
            );
        }
    };
    let Some(code) = currency.and_then(Value::as_str) else {
        return Verdict::deny(
            "no-currency",
            format!("The step spends {amount}, but does not say in which currency."),
        );
    };
    let limits = code
        .parse()
        .ok()
        .and_then(|currency: Currency| settings.limits.get(&currency));
    let Some(Limits {
        approval_above,
        deny_above,
    }) = limits
    else {
        let shown: String = code.chars().take(16).collect();
        return Verdict::deny(
            "unknown-currency",
            format!("There is no limit for amounts in {shown:?}, so none may be spent."),
        );
    };
    if amount > *deny_above {
        let message = format!(
            "{amount} {code} is more than {deny_above} {code}, the most that may be spent at once."
        );
        return Verdict::deny("over-limit", message);
    }
    if amount > *approval_above {
        let message = format!(
            "{amount} {code} is more than {approval_above} {code}, the most that may be spent without a person's approval."
        );
        return Verdict::needs_approval("needs-approval", message).by_role(settings.role.clone());
    }
    Verdict::Allow
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepseal_plugin::policy::{Approval, Reason};

    use super::*;

    fn settings() -> Value {
        json!({
            "limits": {
                "USD": {"approval_above": "100.00", "deny_above": "1000"},
                "JPY": {"approval_above": "10000", "deny_above": "100000"}
            },
            "spends_nothing": ["ledger/balance", "ledger/open-account"]
        })
    }

    fn judged(settings: &Value, step_type: &str, step_input: &Value) -> Result<Verdict, String> {
        let input = json!({
            "subject": {"agent": "treasury-bot"},
            "task": {"id": "t", "labels": {}},
            "plan": {"steps": []},
            "step": {"id": "pay", "index": 0, "type": step_type, "attempt": 1, "effects": true},
            "plugin": {"name": "ledger", "version": "0.1.0", "digest": format!("sha256:{}", "00".repeat(32))},
            "grants": {},
            "input": step_input,
            "history": [],
            "time": "2026-01-02T03:04:05.678Z"
        });
        POLICY.judge(Stage::BeforeStep, &settings.to_string(), &input.to_string())
    }

    fn transfer(amount: &str, currency: &str) -> Verdict {
        judged(
            &settings(),
            "transfer",
            &json!({"amount": amount, "currency": currency}),
        )
        .unwrap()
    }

    fn code(verdict: &Verdict) -> &str {
        match verdict {
            Verdict::NotApplicable => "not-applicable",
            Verdict::Allow => "allow",
            Verdict::NeedsApproval(Approval { reason, .. }) | Verdict::Deny(reason) => &reason.code,
        }
    }

    #[test]
    fn the_limits_themselves_are_still_within_them() {
        for (amount, expected) in [
            ("0.01", "allow"),
            ("100", "allow"),
            ("100.00", "allow"),
            ("100.01", "needs-approval"),
            ("100.000001", "needs-approval"),
            ("1000.00", "needs-approval"),
            ("1000.01", "over-limit"),
            ("999999999999999999", "over-limit"),
        ] {
            assert_eq!(code(&transfer(amount, "USD")), expected, "{amount}");
        }
    }

    #[test]
    fn each_currency_has_its_own_limits() {
        assert_eq!(code(&transfer("5000", "JPY")), "allow");
        assert_eq!(code(&transfer("5000", "USD")), "over-limit");
    }

    #[test]
    fn reasons_are_sentences_with_the_numbers() {
        let Verdict::NeedsApproval(approval) = transfer("250.5", "USD") else {
            panic!("it asks")
        };
        assert_eq!(
            approval.reason.message,
            "250.5 USD is more than 100.00 USD, the most that may be spent without a person's approval."
        );
        assert_eq!((approval.role, approval.approvers), (None, 1));
        let Verdict::Deny(Reason { message, .. }) = transfer("5000.00", "USD") else {
            panic!("it denies")
        };
        assert_eq!(
            message,
            "5000.00 USD is more than 1000 USD, the most that may be spent at once."
        );
    }

    #[test]
    fn what_cannot_be_judged_is_denied() {
        assert_eq!(code(&transfer("1.00", "EUR")), "unknown-currency");
        assert_eq!(code(&transfer("1.00", "usd")), "unknown-currency");
        assert_eq!(code(&transfer("-1.00", "USD")), "unreadable-amount");
        assert_eq!(code(&transfer("1e9", "USD")), "unreadable-amount");
        let verdict = |input| judged(&settings(), "transfer", &input).unwrap();
        assert_eq!(
            code(&verdict(json!({"amount": 1, "currency": "USD"}))),
            "unreadable-amount"
        );
        assert_eq!(
            code(&verdict(json!({"amount": null, "currency": "USD"}))),
            "unreadable-amount"
        );
        assert_eq!(code(&verdict(json!({"amount": "1.00"}))), "no-currency");
        assert_eq!(
            code(&verdict(json!({"amount": "1.00", "currency": 840}))),
            "no-currency"
        );
    }

    #[test]
    fn a_step_without_an_amount_is_allowed_only_where_the_operator_says_so() {
        assert_eq!(
            judged(&settings(), "balance", &json!({"account": "alice"})),
            Ok(Verdict::Allow)
        );
        assert_eq!(
            judged(&settings(), "audit", &json!({"account": "alice"})),
            Ok(Verdict::NotApplicable)
        );
        assert_eq!(
            judged(&settings(), "audit", &json!("amount")),
            Ok(Verdict::NotApplicable)
        );
        let verdict = judged(
            &settings(),
            "balance",
            &json!({"amount": "5000", "currency": "USD"}),
        )
        .unwrap();
        assert_eq!(
            code(&verdict),
            "over-limit",
            "an amount is judged whatever the step is called"
        );
    }

    #[test]
    fn the_role_of_the_settings_is_asked_for() {
        let mut settings = settings();
        settings["role"] = json!("treasurer");
        let verdict = judged(
            &settings,
            "transfer",
            &json!({"amount": "200", "currency": "USD"}),
        )
        .unwrap();
        assert!(
            matches!(verdict, Verdict::NeedsApproval(Approval { role: Some(role), .. }) if role == "treasurer")
        );
    }

    #[test]
    fn settings_that_make_no_sense_are_errors() {
        let pay = json!({"amount": "1", "currency": "USD"});
        for bad in [
            json!({}),
            json!({"limits": {"USD": {"approval_above": "10", "deny_above": "5"}}}),
            json!({"limits": {"USD": {"approval_above": 10, "deny_above": 50}}}),
            json!({"limits": {"dollars": {"approval_above": "1", "deny_above": "5"}}}),
            json!({"limits": {}, "aproval": "x"}),
        ] {
            assert!(judged(&bad, "transfer", &pay).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_step_of_the_same_name_in_another_plugin_is_another_step() {
        let mut settings = settings();
        settings["spends_nothing"] = json!(["bank/balance", "balance"]);
        assert_eq!(
            judged(&settings, "balance", &json!({"account": "alice"})),
            Ok(Verdict::NotApplicable)
        );
    }
}
