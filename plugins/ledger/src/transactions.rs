//! Transactions: two postings each, stored under an idempotency key with what was asked and what was answered, so
//! that asking again gives the same answer and moves nothing.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stepseal_plugin::kv::Bucket;
use stepseal_plugin::schemars::{self, JsonSchema, Schema, SchemaGenerator, json_schema};
use stepseal_plugin::serde_json::Value;
use stepseal_plugin::{Call, Failure, serde_json};

use crate::accounts::{Account, AccountName};

/// Longest idempotency key of a client, in bytes.
const KEY_BYTES_MAX: usize = 128;

/// A client's own idempotency key: letters, digits and `._:-`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Key(String);

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Key, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if !text.is_empty() && text.len() <= KEY_BYTES_MAX && text.bytes().all(plain) {
            Ok(Key(text))
        } else {
            Err(format!(
                "an idempotency key is 1 to {KEY_BYTES_MAX} letters, digits, `.`, `_`, `:` and `-`"
            ))
        }
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.0
    }
}

impl JsonSchema for Key {
    fn schema_name() -> Cow<'static, str> {
        "IdempotencyKey".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$" })
    }
}

/// One side of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Posting {
    account: String,
    /// A decimal number, below zero where it was taken.
    amount: String,
}

/// What is stored of a transaction.
#[derive(Serialize, Deserialize)]
struct Stored {
    step_type: String,
    input: Value,
    postings: Vec<Posting>,
    output: Value,
}

/// The key a transaction is stored under. A client's keys and the host's cannot meet.
pub(crate) fn place(call: &Call, key: Option<&Key>) -> String {
    match key {
        Some(Key(key)) => format!("transaction:client:{key}"),
        None => format!("transaction:step:{}", call.idempotency_key),
    }
}

/// Does `act` once: if the transaction is stored already, its answer is given again.
pub(crate) fn once<I: Serialize, O: Serialize + DeserializeOwned>(
    bucket: &Bucket,
    call: &Call,
    key: Option<&Key>,
    input: &I,
    act: impl FnOnce() -> Result<(Vec<Posting>, O), Failure>,
) -> Result<O, Failure> {
    let place = place(call, key);
    let json =
        |fault: serde_json::Error| Failure::failed(format!("`{place}` cannot be stored: {fault}"));
    let input = serde_json::to_value(input).map_err(json)?;
    if let Some(stored) = bucket.get::<Stored>(&place)? {
        if stored.step_type != call.step_type || stored.input != input {
            return Err(Failure::failed(format!(
                "idempotency-conflict: `{place}` was used before, by a {} with another input.",
                stored.step_type
            )));
        }
        return serde_json::from_value(stored.output).map_err(|fault| {
            Failure::failed(format!(
                "the stored answer of `{place}` cannot be read: {fault}"
            ))
        });
    }
    let (postings, output) = act()?;
    let stored = Stored {
        step_type: call.step_type.clone(),
        input,
        postings,
        output: serde_json::to_value(&output).map_err(json)?,
    };
    bucket.set(&place, &stored)?;
    Ok(output)
}

/// Moves `minor_units` (more than zero) from one account to another of the same currency, as two postings.
pub(crate) fn post(
    (from_name, from): (&AccountName, &mut Account),
    (to_name, to): (&AccountName, &mut Account),
    minor_units: i128,
) -> Result<Vec<Posting>, Failure> {
    let currency = from.currency();
    from.post(from_name, -minor_units)?;
    to.post(to_name, minor_units)?;
    let posting = |name: &AccountName, minor_units| Posting {
        account: name.to_string(),
        amount: currency.written(minor_units),
    };
    Ok(vec![
        posting(from_name, -minor_units),
        posting(to_name, minor_units),
    ])
}
