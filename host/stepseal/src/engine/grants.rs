//! What an operator lets a plugin use. Nothing is granted by default, and no agent or plugin can grant.

mod document;
mod fit;
mod http;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json;
use stepseal_receipts::record::{Kind, Record};
use stepseal_sandbox::{HttpRule, Limits};

use super::{Actor, Engine, EngineError, Fault};
use crate::store::GrantRow;
pub(crate) use document::{CEILING, recorded, wall_ms};
pub use document::{GrantDocument, LimitsDocument};
pub use fit::Fit;
pub use http::{HttpGrant, HttpLimitsDocument};

/// Versions of a plugin's grant that are listed.
const HISTORY_MAX: u32 = 1_000;

/// A grant in force.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) document: GrantDocument,
    /// The document as a policy sees it.
    pub(crate) value: Value,
    pub(crate) digest: Digest,
    pub(crate) http: Arc<[HttpRule]>,
}

impl Grant {
    /// A document in its canonical form.
    pub(crate) fn new(document: GrantDocument) -> Self {
        let value = serde_json::to_value(&document).expect("a grant document is JSON");
        let digest = Digest::of(&json::canonical(&value));
        Self {
            http: document.http_rules().into(),
            document,
            value,
            digest,
        }
    }

    pub(crate) fn from_row(row: &GrantRow) -> Result<Self, EngineError> {
        serde_json::from_str(&row.document)
            .map(Self::new)
            .map_err(|error| EngineError::Internal(format!("grant of {}: {error}", row.plugin)))
    }

    /// Names of the secrets that requests need.
    pub(crate) fn secrets(&self) -> BTreeSet<String> {
        let injected = self.http.iter().flat_map(|rule| &rule.injected);
        injected.map(|header| header.secret().to_owned()).collect()
    }

    /// Limits of a call where the plan does not lower them.
    pub(crate) fn limits(&self) -> Limits {
        self.document.limits.over(Limits::STEP)
    }
}

impl Engine {
    /// Validates a grant document and puts it in force for every version of `plugin`. Approvals that were given under another
    /// grant are void from then on.
    ///
    /// The document, all of it optional:
    /// `{"buckets":["ledger"],"config":{"key":"value"},"http":[{"host":"api.example.com",...}],"limits":{"fuel":1000000,...}}`.
    pub async fn put_grant(
        &self,
        plugin: &str,
        document: Value,
        actor: Actor,
    ) -> Result<GrantRow, EngineError> {
        if !is_name(plugin) {
            return Err(EngineError::Invalid(vec![Fault {
                pointer: String::new(),
                message: format!("{plugin:?} is not a plugin's name: {NAME_RULE}"),
            }]));
        }
        let document = GrantDocument::read(document).map_err(EngineError::Invalid)?;
        let grant = Grant::new(document);
        let mut row = GrantRow {
            plugin: plugin.to_owned(),
            document: String::from_utf8(json::canonical(&grant.value))
                .expect("canonical JSON is UTF-8"),
            digest: grant.digest,
            version: 0,
            changed: self.0.clock.now(),
        };
        let act = self.act(Kind::GrantChanged, actor, |record| {
            record.plugin = Some(row.plugin.clone());
            record.grants = Some(row.digest);
        });
        let act = act.await?;
        let store = Arc::clone(&self.0.store);
        self.change_rules(async move {
            row.version = store.put_grant(&row, act).await?;
            Ok(row)
        })
        .await
    }

    /// Every grant in force.
    pub async fn grants(&self) -> Result<Vec<GrantRow>, EngineError> {
        Ok(self.0.store.grants().await?)
    }

    /// The grants `plugin` ever had, the newest first: the one in force, then those it took the place of.
    pub async fn grant_history(&self, plugin: &str) -> Result<Vec<GrantRow>, EngineError> {
        let history = self.0.store.grant_history(plugin, HISTORY_MAX).await?;
        if history.is_empty() {
            return Err(nothing_granted(plugin));
        }
        Ok(history)
    }

    /// The grant in force for `plugin`.
    pub async fn grant(&self, plugin: &str) -> Result<GrantRow, EngineError> {
        let found = self.0.store.grant(plugin).await?;
        found.ok_or_else(|| nothing_granted(plugin))
    }
}

fn nothing_granted(plugin: &str) -> EngineError {
    EngineError::NotFound {
        what: "grant for plugin",
        id: plugin.to_owned(),
    }
}

impl Engine {
    /// The documents that running the attempts of these records again takes: those that hold values of the configuration. The
    /// digests of all others say enough.
    pub(super) async fn grants_to_disclose(
        &self,
        records: impl Iterator<Item = &Record>,
    ) -> Result<Vec<String>, EngineError> {
        let digests: BTreeSet<Digest> = records.filter_map(|record| record.grants).collect();
        let mut documents = Vec::new();
        for digest in digests {
            let Some(text) = self.0.store.grant_document(&digest).await? else {
                continue;
            };
            let document: GrantDocument = serde_json::from_str(&text)
                .map_err(|error| EngineError::Internal(format!("grant {digest}: {error}")))?;
            if !document.config.is_empty() {
                documents.push(text);
            }
        }
        Ok(documents)
    }
}

/// The rule [`is_name`] checks, for messages.
pub(crate) const NAME_RULE: &str =
    "lower-case letters, digits and hyphens, a letter first, at most 64";

/// Whether `name` may name a plugin, a policy, a bucket or a step type.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_digest_does_not_depend_on_how_the_operator_wrote_it() {
        let a: GrantDocument =
            serde_json::from_value(json!({"limits":{"fuel":5},"buckets":["a"]})).unwrap();
        let b: GrantDocument =
            serde_json::from_value(json!({"buckets":["a"],"limits":{"fuel":5}})).unwrap();
        assert_eq!(Grant::new(a.clone()).digest, Grant::new(b).digest);
        let other: GrantDocument =
            serde_json::from_value(json!({"buckets":["b"],"limits":{"fuel":5}})).unwrap();
        assert_ne!(Grant::new(a).digest, Grant::new(other).digest);
    }
}
