//! What a plugin imports against what it is granted.

use stepseal_receipts::digest::Digest;
use stepseal_sandbox::Capability;

use super::Grant;
use super::document::member;
use crate::engine::{Engine, EngineError};
use crate::store::{ComponentKind, ComponentRow};

/// How a grant and the imports of a plugin fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The component whose imports they are.
    pub component: Digest,
    /// Interfaces it imports of which nothing is granted: calls of them are refused.
    pub not_granted: Vec<String>,
    /// Members of the grant document, as JSON Pointers, that grant what it does not import.
    pub not_imported: Vec<String>,
    /// Names of secrets that the grant injects and the host does not have: requests that need them are refused.
    pub secrets_missing: Vec<String>,
}

impl Fit {
    fn new(row: &ComponentRow, grant: &Grant, has_secret: impl Fn(&str) -> bool) -> Self {
        let granted = grant.document.capabilities();
        let not_granted = row.imports.iter().filter(|import| {
            let mut asked = Capability::ALL
                .into_iter()
                .filter(|it| it.is_asked_by(import));
            asked.any(|capability| !granted.contains(&capability))
        });
        let imported = |capability: &Capability| {
            let capability = *capability;
            row.imports
                .iter()
                .any(|import| capability.is_asked_by(import))
        };
        let not_imported = granted.iter().filter(|capability| !imported(capability));
        Self {
            component: row.digest,
            not_granted: not_granted.cloned().collect(),
            not_imported: not_imported
                .map(|capability| member(*capability).to_owned())
                .collect(),
            secrets_missing: grant
                .secrets()
                .into_iter()
                .filter(|name| !has_secret(name))
                .collect(),
        }
    }
}

impl Engine {
    /// How a component and the grant in force for its plugin fit; a policy can be granted nothing.
    pub async fn fit(&self, row: &ComponentRow) -> Result<Option<Fit>, EngineError> {
        if row.kind != ComponentKind::Plugin {
            return Ok(None);
        }
        let rules = self.rules().await?;
        let has_secret = |name: &str| self.0.secrets.has(name);
        Ok(Some(Fit::new(row, rules.grant(&row.name), has_secret)))
    }

    /// How the newest version of a plugin and the grant in force fit; `None` where none was uploaded.
    pub async fn fit_of_newest(&self, plugin: &str) -> Result<Option<Fit>, EngineError> {
        match self.plugin_named(plugin, None).await? {
            Some(plugin) => self.fit(&plugin.row).await,
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::grants::GrantDocument;
    use stepseal_receipts::time::Timestamp;

    fn fit(imports: &[&str], document: GrantDocument) -> Fit {
        let row = ComponentRow {
            digest: Digest::of(b"component"),
            kind: ComponentKind::Plugin,
            name: "p".to_owned(),
            version: "1.0.0".to_owned(),
            descriptor: "{}".to_owned(),
            imports: imports.iter().map(|import| (*import).to_owned()).collect(),
            size: 1,
            added: Timestamp::from_unix_ms(0).unwrap(),
        };
        Fit::new(&row, &Grant::new(document), |name| name == "there")
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_is_named() {
        let imports = [
            "wasi:config/store@0.2.0-rc.1",
            "wasi:io/poll@0.2.6",
            "wasi:keyvalue/store@0.2.0-draft",
        ];
        let nothing = fit(&imports, GrantDocument::default());
        assert_eq!(nothing.not_granted, [imports[0], imports[2]]);
        assert!(nothing.not_imported.is_empty());

        let document = GrantDocument {
            buckets: vec!["a".to_owned()],
            config: [("k".to_owned(), "v".to_owned())].into(),
            ..GrantDocument::default()
        };
        let some = fit(&imports[..2], document.clone());
        assert!(some.not_granted.is_empty());
        assert_eq!(some.not_imported, ["/buckets"]);
        assert_eq!(fit(&[], document).not_imported, ["/buckets", "/config"]);

        let http = serde_json::json!({"http": [{"host": "h.example", "secrets": {"a": "{there}", "b": "{gone}"}}]});
        let document = GrantDocument::read(http).unwrap();
        let some = fit(
            &["wasi:http/types@0.2.0", "wasi:http/outgoing-handler@0.2.0"],
            document,
        );
        assert!(some.not_granted.is_empty() && some.not_imported.is_empty());
        assert_eq!(some.secrets_missing, ["gone"]);
    }
}
