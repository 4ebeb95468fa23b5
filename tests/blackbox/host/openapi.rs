//! `openapi.json` held against what the host really answers.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

/// The committed description.
pub(crate) const OPENAPI: &str = include_str!("../../../host/stepseal/openapi.json");

/// The description of the API, ready to be held against answers.
pub(crate) struct OpenApi {
    /// With every object closed, so that a member nobody documented is a fault.
    document: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// A request and its answer.
pub(super) struct Exchange<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) sent: Option<&'a [u8]>,
    pub(super) status: u16,
    pub(super) media_type: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// The one description all clients use.
pub(crate) fn openapi() -> &'static OpenApi {
    static DESCRIPTION: OnceLock<OpenApi> = OnceLock::new();
    DESCRIPTION.get_or_init(|| {
        let mut document = serde_json::from_str(OPENAPI).expect("openapi.json is JSON");
        close(&mut document);
        OpenApi {
            document,
            validators: Mutex::default(),
        }
    })
}

/// Forbids members that a schema does not name.
fn close(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            if object.get("properties").is_some_and(Value::is_object)
                && !object.contains_key("additionalProperties")
            {
                object.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

impl OpenApi {
    /// Every success an operation may answer with, as `operation-id status`.
    pub(crate) fn successes(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for operations in self.paths().values() {
            for operation in operations
                .as_object()
                .expect("a path item is an object")
                .values()
            {
                let responses = operation["responses"]
                    .as_object()
                    .expect("an operation has responses");
                let successes = responses.keys().filter(|status| status.starts_with('2'));
                all.extend(successes.map(|status| format!("{} {status}", id(operation))));
            }
        }
        all
    }

    /// Every operation, as `METHOD /path`.
    pub(crate) fn operations(&self) -> Vec<String> {
        let of = |(path, operations): (&String, &Value)| {
            let methods = operations.as_object().expect("a path item is an object");
            let named = methods
                .keys()
                .map(|method| format!("{} {path}", method.to_uppercase()));
            named.collect::<Vec<_>>()
        };
        self.paths().iter().flat_map(of).collect()
    }

    fn paths(&self) -> &Map<String, Value> {
        self.document["paths"]
            .as_object()
            .expect("the document has paths")
    }

    /// The operation a request is for.
    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let path = path.split('?').next().unwrap_or_default();
        let fits = |template: &str| {
            let (wanted, found): (Vec<_>, Vec<_>) =
                (template.split('/').collect(), path.split('/').collect());
            // The one parameter that has slashes.
            let open_end = wanted.last() == Some(&"{path}") && found.len() >= wanted.len();
            (wanted.len() == found.len() || open_end)
                && wanted.iter().zip(&found).all(|(wanted, found)| {
                    wanted == found || (wanted.starts_with('{') && !found.is_empty())
                })
        };
        // A literal path goes before one with a variable in the same place.
        let mut fitting: Vec<_> = self
            .paths()
            .iter()
            .filter(|(template, _)| fits(template))
            .collect();
        fitting.sort_by_key(|(template, _)| template.matches('{').count());
        fitting
            .first()
            .and_then(|(_, item)| item.get(method.to_ascii_lowercase()))
    }

    /// Holds an exchange against the description and gives the id of its operation.
    pub(super) fn check(&self, exchange: &Exchange<'_>) -> Option<String> {
        let Exchange {
            method,
            path,
            status,
            ..
        } = *exchange;
        let asked = format!("{method} {path} -> {status}");
        let Some(operation) = self.operation(method, path) else {
            assert!(
                matches!(status, 401 | 404 | 405),
                "{asked}: nobody documented that this exists"
            );
            let problem = json!({"$ref": "#/components/schemas/Problem"});
            assert_eq!(
                exchange.media_type,
                Some("application/problem+json"),
                "{asked}"
            );
            self.fits(&asked, &problem, exchange.body);
            return None;
        };
        let response = &operation["responses"][status.to_string()];
        let text = String::from_utf8_lossy(exchange.body);
        assert!(
            response.is_object(),
            "{asked}: this status is not documented: {text}"
        );
        match response["content"].as_object() {
            None => assert!(
                exchange.body.is_empty(),
                "{asked}: a body is not documented: {text}"
            ),
            Some(content) => {
                let found = exchange.media_type.unwrap_or("nothing");
                let essence = found.split(';').next().unwrap_or_default().trim();
                let media = content.get(essence);
                let media = media.unwrap_or_else(|| {
                    panic!("{asked}: the media type {found} is not documented: {text}")
                });
                if essence.ends_with("json") {
                    self.fits(&asked, &media["schema"], exchange.body);
                }
            }
        }
        // What the host took must be what it says it takes.
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if let (200..=299, Some(sent), true) = (status, exchange.sent, schema.is_object()) {
            self.fits(&format!("{asked}: the request"), schema, sent);
        }
        Some(id(operation))
    }

    fn fits(&self, asked: &str, schema: &Value, body: &[u8]) {
        let value: Value = serde_json::from_slice(body).unwrap_or_else(|error| {
            panic!(
                "{asked}: this is not JSON ({error}): {}",
                String::from_utf8_lossy(body)
            )
        });
        let faults: Vec<String> = self
            .validator(schema)
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(
            faults.is_empty(),
            "{asked} does not fit openapi.json: {faults:#?}\n{value:#}"
        );
    }

    fn validator(&self, schema: &Value) -> Arc<Validator> {
        let mut validators = self
            .validators
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let validator = validators.entry(schema.to_string()).or_insert_with(|| {
            let mut root = schema.clone();
            // `$ref`s point at the components of the whole document.
            root["components"] = self.document["components"].clone();
            let built = jsonschema::options()
                .with_draft(Draft::Draft202012)
                .build(&root);
            Arc::new(built.unwrap_or_else(|error| {
                panic!("openapi.json holds a schema that is none: {error}")
            }))
        });
        Arc::clone(validator)
    }
}

fn id(operation: &Value) -> String {
    operation["operationId"]
        .as_str()
        .expect("an operation has an id")
        .to_owned()
}
