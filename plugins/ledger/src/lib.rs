//! A double-entry ledger, kept in the key-value bucket `ledger`.
//!
//! Every transaction is two postings that sum to zero, so all accounts of a currency always sum to zero. Money comes
//! into the ledger from the account `equity:<CURRENCY>`, the only one that may go below zero, and only by opening
//! an account with a balance.
//!
//! A step reads and writes the accounts it names and the key of its own transaction, and nothing that is shared by
//! all: steps on different accounts never get in each other's way.

#![expect(clippy::needless_pass_by_value, reason = "a handler takes its input")]

mod accounts;
mod transactions;

use serde::{Deserialize, Serialize};
use stepseal_plugin::kv::Bucket;
use stepseal_plugin::money::{Currency, Decimal};
use stepseal_plugin::{Call, Failure, JsonSchema, plugin, schemars};

use accounts::{Account, AccountName};
use transactions::{Key, Posting};

/// The bucket's name, as the operator grants it.
const BUCKET: &str = "ledger";

/// Longest text that may go with a transfer, in bytes.
const MEMO_BYTES_MAX: usize = 256;

plugin! {
    /// A double-entry ledger: opens accounts, tells balances, transfers money.
    name: "ledger",
    steps: {
        /// Tells what an account has.
        "balance" => balance,
        /// Moves money from one account to another.
        "transfer" => transfer,
        /// Opens an account, with an opening balance if one is given.
        "open-account" => open_account,
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BalanceOf {
    /// An account, or `equity:<CURRENCY>`, which holds the other side of all opening balances.
    #[schemars(regex(pattern = r"^(equity:[A-Z]{3}|[a-z0-9][a-z0-9._-]{0,63})$"))]
    account: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Balance {
    account: String,
    currency: Currency,
    /// A decimal number; below zero only for equity.
    available: String,
    /// How many postings the account has.
    postings: u64,
}

fn balance(_: &Call, input: BalanceOf) -> Result<Balance, Failure> {
    let name = AccountName::for_reading(&input.account)?;
    let account = Account::existing(&Bucket::open(BUCKET)?, &name)?;
    Ok(account.balance(&name))
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OpenAccount {
    account: AccountName,
    currency: Currency,
    /// Comes from `equity:<CURRENCY>`. Nothing if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    opening_balance: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<Key>,
}

fn open_account(call: &Call, input: OpenAccount) -> Result<Balance, Failure> {
    let bucket = Bucket::open(BUCKET)?;
    transactions::once(
        &bucket,
        call,
        input.idempotency_key.as_ref(),
        &input,
        || {
            let OpenAccount {
                account: name,
                currency,
                opening_balance,
                ..
            } = &input;
            if Account::find(&bucket, name)?.is_some() {
                return Err(Failure::failed(format!(
                    "account-exists: there already is an account `{name}`."
                )));
            }
            let mut account = Account::new(*currency);
            let opening = opening_balance.map_or(Ok(0), |amount| minor_units(amount, *currency))?;
            let mut postings = Vec::new();
            if opening > 0 {
                let equity_name = AccountName::equity(*currency);
                let mut equity = Account::find(&bucket, &equity_name)?
                    .unwrap_or_else(|| Account::new(*currency));
                postings =
                    transactions::post((&equity_name, &mut equity), (name, &mut account), opening)?;
                equity.save(&bucket, &equity_name)?;
            }
            account.save(&bucket, name)?;
            Ok((postings, account.balance(name)))
        },
    )
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Transfer {
    from: AccountName,
    to: AccountName,
    /// More than zero, with no more decimals than the currency has.
    amount: Decimal,
    /// The currency of both accounts.
    currency: Currency,
    /// Kept with the transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    memo: Option<String>,
    /// Makes the same transfer happen once even if several steps or tasks ask for it. Attempts of one step
    /// never move money twice, with or without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<Key>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Transferred {
    /// What the transaction is stored under.
    transaction: String,
    amount: String,
    currency: Currency,
    /// The two postings; they sum to zero.
    postings: Vec<Posting>,
    /// What `from` has now.
    available: String,
}

fn transfer(call: &Call, input: Transfer) -> Result<Transferred, Failure> {
    if input
        .memo
        .as_ref()
        .is_some_and(|memo| memo.len() > MEMO_BYTES_MAX)
    {
        return Err(Failure::invalid_input(format!(
            "memo is longer than {MEMO_BYTES_MAX} bytes"
        )));
    }
    if input.from == input.to {
        return Err(Failure::invalid_input("from and to are the same account"));
    }
    if input.amount.is_zero() {
        return Err(Failure::invalid_input(
            "amount is zero: there is nothing to transfer",
        ));
    }
    let bucket = Bucket::open(BUCKET)?;
    transactions::once(
        &bucket,
        call,
        input.idempotency_key.as_ref(),
        &input,
        || {
            let Transfer {
                from: from_name,
                to: to_name,
                currency,
                ..
            } = &input;
            let amount = minor_units(input.amount, *currency)?;
            let mut from = Account::existing(&bucket, from_name)?;
            let mut to = Account::existing(&bucket, to_name)?;
            from.must_be_in(*currency, from_name)?;
            to.must_be_in(*currency, to_name)?;
            let postings = transactions::post((from_name, &mut from), (to_name, &mut to), amount)?;
            from.save(&bucket, from_name)?;
            to.save(&bucket, to_name)?;
            let done = Transferred {
                transaction: transactions::place(call, input.idempotency_key.as_ref()),
                amount: currency.written(amount),
                currency: *currency,
                postings: postings.clone(),
                available: from.balance(from_name).available,
            };
            Ok((postings, done))
        },
    )
}

fn minor_units(amount: Decimal, currency: Currency) -> Result<i128, Failure> {
    amount.minor_units(currency).ok_or_else(|| {
        let decimals = currency.decimals();
        Failure::invalid_input(format!(
            "{amount} has more decimals than {currency}, which has {decimals}"
        ))
    })
}

#[cfg(test)]
mod tests;
