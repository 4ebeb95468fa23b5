use std::collections::BTreeMap;

use stepseal_plugin::serde_json::{self, Value, json};

use super::*;

fn run(step_type: &str, key: &str, input: &Value) -> Result<Value, Failure> {
    let call = Call {
        step_type: step_type.into(),
        idempotency_key: key.into(),
        attempt: 1,
        ..Call::default()
    };
    PLUGIN
        .run(&call, &input.to_string())
        .map(|output| serde_json::from_str(&output).unwrap())
}

fn open(account: &str, currency: &str, balance: &str) {
    let input = json!({"account": account, "currency": currency, "opening_balance": balance});
    run("open-account", &format!("open {account}"), &input).unwrap();
}

fn pay(key: &str, from: &str, to: &str, amount: &str) -> Result<Value, Failure> {
    run(
        "transfer",
        key,
        &json!({"from": from, "to": to, "amount": amount, "currency": "USD"}),
    )
}

fn available(account: &str) -> String {
    run("balance", "", &json!({"account": account})).unwrap()["available"]
        .as_str()
        .unwrap()
        .into()
}

fn failed(result: Result<Value, Failure>) -> String {
    match result {
        Err(Failure::Failed(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn money_moves_and_nothing_is_lost() {
    open("alice", "USD", "100");
    open("bob", "USD", "0");
    let done = pay("k1", "alice", "bob", "12.5").unwrap();
    assert_eq!(
        done,
        json!({
            "transaction": "transaction:step:k1", "amount": "12.50", "currency": "USD", "available": "87.50",
            "postings": [{"account": "alice", "amount": "-12.50"}, {"account": "bob", "amount": "12.50"}]
        })
    );
    assert_eq!(
        (available("alice"), available("bob")),
        ("87.50".into(), "12.50".into())
    );
    assert_eq!(
        available("equity:USD"),
        "-100.00",
        "the other side of the opening balance"
    );
    let alice = run("balance", "", &json!({"account": "alice"})).unwrap();
    assert_eq!(
        alice,
        json!({"account": "alice", "currency": "USD", "available": "87.50", "postings": 2})
    );
}

#[test]
fn the_same_key_moves_money_once_and_gives_the_same_answer() {
    open("alice", "USD", "10");
    open("bob", "USD", "0");
    let first = pay("k", "alice", "bob", "4").unwrap();
    pay("other", "alice", "bob", "1").unwrap();
    assert_eq!(
        pay("k", "alice", "bob", "4").unwrap(),
        first,
        "the answer of then, not of now"
    );
    assert_eq!(available("bob"), "5.00");
    assert!(failed(pay("k", "alice", "bob", "5")).starts_with("idempotency-conflict: "));
    assert!(
        failed(run(
            "open-account",
            "k",
            &json!({"account": "carol", "currency": "USD"})
        ))
        .contains("transfer")
    );
    assert_eq!(available("bob"), "5.00");
}

#[test]
fn a_clients_key_holds_across_steps_and_is_not_a_hosts() {
    open("alice", "USD", "10");
    open("bob", "USD", "0");
    let input = json!({"from": "alice", "to": "bob", "amount": "1", "currency": "USD", "idempotency_key": "invoice-7"});
    let first = run("transfer", "step 1", &input).unwrap();
    assert_eq!(run("transfer", "step 2", &input).unwrap(), first);
    assert_eq!(available("bob"), "1.00");
    pay("invoice-7", "alice", "bob", "2").unwrap();
    assert_eq!(
        available("bob"),
        "3.00",
        "the host's key of the same name is another key"
    );
}

#[test]
fn an_account_is_opened_once() {
    open("alice", "USD", "10");
    let again = json!({"account": "alice", "currency": "USD", "opening_balance": "10"});
    assert!(
        run("open-account", "open alice", &again).is_ok(),
        "the same step again"
    );
    assert!(failed(run("open-account", "another step", &again)).starts_with("account-exists: "));
    assert_eq!(available("alice"), "10.00");
}

#[test]
fn nobody_overdraws() {
    open("alice", "USD", "10");
    open("bob", "USD", "0");
    let told = failed(pay("k", "alice", "bob", "10.01"));
    assert_eq!(
        told,
        "insufficient-funds: `alice` has 10.00 USD, and 10.01 USD were asked for."
    );
    assert_eq!(
        (available("alice"), available("bob")),
        ("10.00".into(), "0.00".into())
    );
    pay("k", "alice", "bob", "10").unwrap();
    assert_eq!(
        available("alice"),
        "0.00",
        "a failure does not use up its key, and all of it may be spent"
    );
}

#[test]
fn currencies_do_not_mix_and_have_their_own_decimals() {
    open("alice", "USD", "10");
    open("yuki", "JPY", "1000");
    assert!(
        failed(pay("k", "alice", "yuki", "1"))
            .starts_with("currency-mismatch: `yuki` is an account in JPY")
    );
    assert_eq!(available("yuki"), "1000");
    assert!(matches!(
        pay("k", "alice", "yuki", "0.001"),
        Err(Failure::InvalidInput(_))
    ));
}

#[test]
fn senseless_inputs_are_the_inputs_fault() {
    open("alice", "USD", "10");
    for (step_type, input) in [
        (
            "transfer",
            json!({"from": "alice", "to": "alice", "amount": "1", "currency": "USD"}),
        ),
        (
            "transfer",
            json!({"from": "alice", "to": "bob", "amount": "0.00", "currency": "USD"}),
        ),
        (
            "transfer",
            json!({"from": "alice", "to": "bob", "amount": "-1", "currency": "USD"}),
        ),
        (
            "transfer",
            json!({"from": "alice", "to": "bob", "amount": 1, "currency": "USD"}),
        ),
        (
            "transfer",
            json!({"from": "alice", "to": "bob", "amount": "1"}),
        ),
        (
            "transfer",
            json!({"from": "equity:USD", "to": "alice", "amount": "1", "currency": "USD"}),
        ),
        (
            "transfer",
            json!({"from": "alice", "to": "bob", "amount": "1", "currency": "USD", "x": 1}),
        ),
        (
            "transfer",
            json!({"from": "alice", "to": "b", "amount": "1", "currency": "USD", "memo": "x".repeat(257)}),
        ),
        (
            "open-account",
            json!({"account": "Alice", "currency": "USD"}),
        ),
        ("open-account", json!({"account": "", "currency": "USD"})),
        (
            "open-account",
            json!({"account": "a".repeat(65), "currency": "USD"}),
        ),
        (
            "open-account",
            json!({"account": "equity:USD", "currency": "USD"}),
        ),
        ("open-account", json!({"account": "bob", "currency": "usd"})),
        ("balance", json!({"account": "equity:usd"})),
    ] {
        assert!(
            matches!(run(step_type, "k", &input), Err(Failure::InvalidInput(_))),
            "{step_type} {input}"
        );
    }
    assert!(failed(pay("k", "alice", "nobody", "1")).starts_with("unknown-account: "));
}

#[test]
fn whatever_happens_all_accounts_of_a_currency_sum_to_zero() {
    // A small generator of its own: the same transfers on every run, some of which fail.
    let mut state = 7_u64;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let names = ["a", "b", "c", "d"];
    let mut expected = BTreeMap::new();
    for name in names {
        open(name, "USD", "20.00");
        expected.insert(name, 2000_i64);
    }
    let mut refused = 0;
    for round in 0..500 {
        let (from, to) = (
            names[usize::try_from(next(4)).unwrap()],
            names[usize::try_from(next(4)).unwrap()],
        );
        let cents = i64::try_from(next(1500)).unwrap() + 1;
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let done = pay(&format!("round {round}"), from, to, &amount);
        if done.is_ok() {
            *expected.get_mut(from).unwrap() -= cents;
            *expected.get_mut(to).unwrap() += cents;
            assert_eq!(pay(&format!("round {round}"), from, to, &amount), done);
        } else {
            refused += 1;
        }
    }
    assert!(
        refused > 0 && refused < 500,
        "{refused} of 500: both must have happened"
    );
    let mut sum = 0;
    for name in names {
        let cents: i64 = available(name).replace('.', "").parse().unwrap();
        assert_eq!(cents, expected[name], "{name}");
        assert!(cents >= 0, "{name}");
        sum += cents;
    }
    assert_eq!(sum, 8000);
    assert_eq!(available("equity:USD"), "-80.00");
}
