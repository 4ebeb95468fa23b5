//! Accounts: their names, and what is stored of each under `account:<name>`.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use stepseal_plugin::Failure;
use stepseal_plugin::kv::Bucket;
use stepseal_plugin::money::Currency;
use stepseal_plugin::schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::Balance;

/// Longest name of an account, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The name of an account that people open: small letters, digits, `.`, `_`, `-`. Has no colon, so no step can name
/// an equity account to take money from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct AccountName(String);

impl AccountName {
    /// The account on the other side of all opening balances.
    pub(crate) fn equity(currency: Currency) -> AccountName {
        AccountName(format!("equity:{currency}"))
    }

    /// The name of an account to look at, which may be an equity account.
    pub(crate) fn for_reading(text: &str) -> Result<AccountName, Failure> {
        if let Some(Ok(currency)) = text.strip_prefix("equity:").map(str::parse) {
            return Ok(AccountName::equity(currency));
        }
        AccountName::try_from(text.to_string()).map_err(Failure::InvalidInput)
    }

    fn may_overdraw(&self) -> bool {
        self.0.starts_with("equity:")
    }

    fn key(&self) -> String {
        format!("account:{}", self.0)
    }
}

impl TryFrom<String> for AccountName {
    type Error = String;

    fn try_from(text: String) -> Result<AccountName, String> {
        let inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let starts_well = text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
        if starts_well && text.len() <= NAME_BYTES_MAX && text.bytes().all(inner) {
            Ok(AccountName(text))
        } else {
            Err(format!(
                "an account's name is 1 to {NAME_BYTES_MAX} small letters, digits, `.`, `_` and `-`, and starts with a letter or digit"
            ))
        }
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> String {
        name.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for AccountName {
    fn schema_name() -> Cow<'static, str> {
        "AccountName".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$", "examples": ["alice"] })
    }
}

/// What is stored of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    currency: Currency,
    /// In minor units, a decimal string: a JSON number does not hold every integer.
    #[serde(with = "minor_units_text")]
    balance: i128,
    postings: u64,
}

impl Account {
    pub(crate) fn new(currency: Currency) -> Account {
        Account {
            currency,
            balance: 0,
            postings: 0,
        }
    }

    pub(crate) fn find(bucket: &Bucket, name: &AccountName) -> Result<Option<Account>, Failure> {
        Ok(bucket.get(&name.key())?)
    }

    pub(crate) fn existing(bucket: &Bucket, name: &AccountName) -> Result<Account, Failure> {
        Account::find(bucket, name)?.ok_or_else(|| {
            Failure::failed(format!("unknown-account: there is no account `{name}`."))
        })
    }

    pub(crate) fn save(&self, bucket: &Bucket, name: &AccountName) -> Result<(), Failure> {
        Ok(bucket.set(&name.key(), self)?)
    }

    pub(crate) fn must_be_in(&self, currency: Currency, name: &AccountName) -> Result<(), Failure> {
        if self.currency == currency {
            return Ok(());
        }
        let own = self.currency;
        Err(Failure::failed(format!(
            "currency-mismatch: `{name}` is an account in {own}, not in {currency}."
        )))
    }

    /// Adds a posting, below zero to take. Refuses to overdraw any account but equity.
    pub(crate) fn post(&mut self, name: &AccountName, minor_units: i128) -> Result<(), Failure> {
        let too_large = || {
            Failure::failed(format!(
                "balance-overflow: the balance of `{name}` would be too large."
            ))
        };
        let balance = self
            .balance
            .checked_add(minor_units)
            .ok_or_else(too_large)?;
        if balance < 0 && minor_units < 0 && !name.may_overdraw() {
            let (currency, has) = (self.currency, self.currency.written(self.balance));
            let asked = currency.written(-minor_units);
            return Err(Failure::failed(format!(
                "insufficient-funds: `{name}` has {has} {currency}, and {asked} {currency} were asked for."
            )));
        }
        self.balance = balance;
        self.postings = self.postings.checked_add(1).ok_or_else(too_large)?;
        Ok(())
    }

    pub(crate) fn currency(&self) -> Currency {
        self.currency
    }

    pub(crate) fn balance(&self, name: &AccountName) -> Balance {
        Balance {
            account: name.to_string(),
            currency: self.currency,
            available: self.currency.written(self.balance),
            postings: self.postings,
        }
    }
}

/// An integer as a decimal string.
mod minor_units_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &i128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<i128, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}
