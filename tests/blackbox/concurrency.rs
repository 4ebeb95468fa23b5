//! Many transfers at once over few accounts: nothing is overdrawn, no cent is lost, nothing happens twice.

use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};

use crate::host::Host;
use crate::host::client::Client;
use crate::host::tasks::{id, one_step};
use crate::support::{allow, ended};

/// Client threads.
const THREADS: usize = 16;
/// Accounts that all transfers are between.
const ACCOUNTS: [&str; 4] = ["ada", "bob", "cleo", "dan"];
/// What each account begins with, in cents.
const OPENING_CENTS: i64 = 50_00;

/// A host with a ledger that may open accounts, tell balances and transfer up to 1000 USD without a person.
pub(crate) fn ledger(host: &Host) {
    host.grant("ledger", &json!({"buckets": ["ledger"]}));
    allow(host, "ledger", &["balance", "open-account"]);
    for account in ACCOUNTS {
        let opening = json!({"account": account, "currency": "USD", "opening_balance": dollars(OPENING_CENTS)});
        let task = host.submit_and_wait(&one_step("ledger/open-account", &opening));
        assert_eq!(task["state"], "succeeded", "{task}");
    }
}

/// The `n`th of a fixed series of transfers that crosses the accounts in every direction, with amounts up to 40 USD.
pub(crate) fn transfer(n: usize) -> Value {
    let from = n % ACCOUNTS.len();
    let to = (from + 1 + n / 4 % 3) % ACCOUNTS.len();
    let cents = i64::try_from(n * 677 % 4_000 + 1).unwrap();
    one_step(
        "ledger/transfer",
        &json!({"from": ACCOUNTS[from], "to": ACCOUNTS[to], "amount": dollars(cents), "currency": "USD", "memo": format!("no. {n}")}),
    )
}

pub(crate) fn dollars(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

pub(crate) fn cents(amount: &Value) -> i64 {
    let amount = amount.as_str().unwrap();
    let (whole, part) = amount.split_once('.').unwrap();
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    whole.parse::<i64>().unwrap() * 100 + sign * part.parse::<i64>().unwrap()
}

/// What an account has, in cents.
pub(crate) fn balance(host: &Host, account: &str) -> i64 {
    let task = host.submit_and_wait(&one_step("ledger/balance", &json!({"account": account})));
    assert_eq!(task["state"], "succeeded", "{task}");
    cents(&task["steps"][0]["output"]["available"])
}

/// Checks the books against what the tasks' own outputs say was moved.
pub(crate) fn audit<'a>(host: &Host, tasks: impl IntoIterator<Item = &'a Value>) {
    let mut expected = [OPENING_CENTS; ACCOUNTS.len()];
    for task in tasks {
        let Some(postings) = task["steps"][0]["output"]["postings"].as_array() else {
            continue;
        };
        for posting in postings {
            let at = ACCOUNTS
                .iter()
                .position(|account| posting["account"] == *account)
                .unwrap();
            expected[at] += cents(&posting["amount"]);
        }
    }
    let found = ACCOUNTS.map(|account| balance(host, account));
    assert_eq!(
        found, expected,
        "the balances are not what the transfers that succeeded make them"
    );
    let everything = OPENING_CENTS * i64::try_from(ACCOUNTS.len()).unwrap();
    assert_eq!(
        found.iter().sum::<i64>(),
        everything,
        "money was made or lost: {found:?}"
    );
    assert_eq!(balance(host, "equity:USD"), -everything);
    assert!(
        found.iter().all(|balance| *balance >= 0),
        "an account is overdrawn: {found:?}"
    );
}

/// Calls `work` with 0, 1, ... `count` - 1 from [`THREADS`] threads and collects what it gives, in that order.
pub(crate) fn side_by_side<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = Mutex::new(0..count);
    let done = Mutex::new(Vec::with_capacity(count));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let Some(n) = next.lock().unwrap().next() else {
                        break;
                    };
                    let made = work(n);
                    done.lock().unwrap().push((n, made));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, made)| made).collect()
}

#[test]
fn a_hundred_transfers_at_once_lose_no_cent_and_overdraw_nothing() {
    let host = Host::with_guests();
    ledger(&host);
    let client: &Client = &host;
    let tasks = side_by_side(100, |n| client.submit_and_wait(&transfer(n)));
    let (mut moved, mut refused) = (0, 0);
    for task in &tasks {
        match task["state"].as_str().unwrap() {
            "succeeded" => moved += 1,
            "failed" => {
                refused += 1;
                let message = task["steps"][0]["message"].as_str().unwrap();
                assert!(message.contains("insufficient-funds"), "{task}");
            }
            _ => panic!("{task}"),
        }
    }
    // Both ways must have been taken, or the test says nothing about one of them.
    assert!(
        moved >= 20 && refused >= 5,
        "{moved} moved, {refused} were refused"
    );
    audit(&host, &tasks);
    for task in &tasks {
        host.receipt_verified(&id(task));
    }
}

#[test]
fn a_repeated_idempotency_key_of_the_ledger_moves_money_once() {
    let host = Host::with_guests();
    ledger(&host);
    let client: &Client = &host;
    let pay = |amount: &str| {
        let with = json!({"from": "ada", "to": "bob", "amount": amount, "currency": "USD", "idempotency_key": "invoice-7"});
        client.submit_and_wait(&one_step("ledger/transfer", &with))
    };
    let tasks = side_by_side(8, |_| pay("12.34"));
    for task in &tasks {
        assert_eq!(task["state"], "succeeded", "{task}");
        assert_eq!(task["steps"][0]["output"], tasks[0]["steps"][0]["output"]);
    }
    let other = pay("12.35");
    assert_eq!(other["state"], "failed", "{other}");
    assert!(
        other["steps"][0]["message"]
            .as_str()
            .unwrap()
            .contains("idempotency-conflict"),
        "{other}"
    );
    // All of them are one transfer.
    audit(&host, &tasks[..1]);
}

#[test]
fn a_submission_that_is_repeated_with_its_key_is_one_task() {
    let host = Host::with_guests();
    ledger(&host);
    let client: &Client = &host;
    let submit = |submission: &Value| {
        client
            .call("POST", "/v1/tasks")
            .header("idempotency-key", "submission-7")
            .json(submission)
            .send()
    };
    let answers = side_by_side(8, |_| submit(&transfer(1)));
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201]);
    let id = id(&answers[0].json());
    assert!(
        answers.iter().all(|answer| answer.json()["id"] == id),
        "{answers:?}"
    );
    let task = ended(&host, &id);
    assert_eq!(task["state"], "succeeded", "{task}");
    audit(&host, [&task]);
    submit(&transfer(2)).problem(409, "key-reused");
}

#[test]
fn steps_that_add_to_one_number_at_once_are_all_counted() {
    const ADDED: usize = 32;
    let host = Host::with_guests();
    host.grant("hostile", &json!({"buckets": ["hostile"]}));
    allow(&host, "hostile", &["kv-add", "kv-read"]);
    // Four steps side by side in each task, and the tasks side by side.
    let steps: Vec<Value> = (0..4)
        .map(|n| json!({"id": format!("add-{n}"), "uses": "hostile/kv-add", "with": {"key": "sum", "add": 1}}))
        .collect();
    let client: &Client = &host;
    let tasks = side_by_side(ADDED / 4, |_| {
        client.submit_and_wait(&json!({"plan": {"steps": steps}}))
    });
    assert!(
        tasks.iter().all(|task| task["state"] == "succeeded"),
        "{tasks:?}"
    );
    let read = host.submit_and_wait(&one_step("hostile/kv-read", &json!({"key": "sum"})));
    assert_eq!(read["steps"][0]["output"]["value"], ADDED, "{read}");
    for task in &tasks {
        host.receipt_verified(&id(task));
    }
}
