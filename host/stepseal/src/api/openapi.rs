//! The description of the interface for programs, in version 3.1 of the `OpenAPI` specification.

use axum::http::Method;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};

use super::problem::Kind;
use super::routes;
use super::wire::Problem;
use super::wire::problem::MEDIA_TYPE;

/// Name of the security scheme.
const BEARER: &str = "token";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Stepseal",
        description = "Runs the steps of AI agents' plans as sandboxed WebAssembly components and signs what ran.\n\n\
            Every request but `GET /healthz` and those under `/log/` shows the host's token, or that of a tenant, as `Authorization: Bearer <token>`. JSON is read strictly: \
            duplicate keys, unknown members of fixed shapes and numbers that a double cannot hold are refused. What goes \
            wrong is an `application/problem+json` (RFC 9457) whose `code` is for programs and whose `faults` name every place.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem)),
    security(("token" = [])),
    tags(
        (name = "components", description = "Plugins and policies, named by the digest of their bytes"),
        (name = "grants", description = "What the operator lets a plugin use; nothing by default"),
        (name = "tenants", description = "Clients with a token and tasks of their own"),
        (name = "policies", description = "Policies in force"),
        (name = "tasks", description = "Runs of plans: their steps, events, records and receipts"),
        (name = "schedules", description = "Submissions that the host makes by itself"),
        (name = "approvals", description = "Questions put to people"),
        (name = "log", description = "The log as others watch it"),
        (name = "host", description = "The host itself"),
    ),
    modifiers(&Token),
)]
pub(super) struct Base;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut OpenApi) {
        let mut http = Http::new(HttpAuthScheme::Bearer);
        http.description =
            Some("The text of the file `token` in the host's data directory, or the token that a tenant was given.".to_owned());
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme(BEARER, SecurityScheme::Http(http));
    }
}

/// The description of the interface.
pub fn openapi() -> OpenApi {
    let (_, mut openapi) = routes::all().split_for_parts();
    // The router's way to say that a parameter may have slashes is unknown to OpenAPI.
    let paths = std::mem::take(&mut openapi.paths.paths);
    openapi.paths.paths = paths
        .into_iter()
        .map(|(path, item)| (path.replace("{*", "{"), item))
        .collect();
    for (path, item) in &mut openapi.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::PUT, &mut item.put),
            (Method::POST, &mut item.post),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                add_common_problems(operation, routes::is_open_to_tenants(&method, path));
            }
        }
    }
    openapi
}

/// The description of the interface as it is served and committed: indented JSON with a line end.
pub fn openapi_json() -> String {
    let mut text = openapi()
        .to_pretty_json()
        .expect("the description has string keys only");
    text.push('\n');
    text
}

/// Says what any request can be answered, where the operation does not say something more to the point itself.
fn add_common_problems(operation: &mut Operation, open_to_tenants: bool) {
    if operation.operation_id.as_deref() == Some("healthz") {
        // It passes no guard and has no parameters.
        return;
    }
    let mut kinds = vec![
        (Kind::Internal, "The host failed; its log says why"),
        (
            Kind::Overloaded,
            "Too much at one time, or no answer in time; see `Retry-After`",
        ),
    ];
    // A security of its own is none.
    if operation.security.is_none() {
        kinds.push((Kind::Unauthorized, "The token is missing or wrong"));
        if !open_to_tenants {
            kinds.push((
                Kind::Forbidden,
                "A tenant asks, and this needs the host's own token",
            ));
        }
    }
    if operation
        .parameters
        .as_ref()
        .is_some_and(|parameters| !parameters.is_empty())
    {
        kinds.push((Kind::BadParameter, "A parameter is not right"));
    }
    if operation.request_body.is_some() {
        kinds.extend([
            (
                Kind::MalformedJson,
                "The body or a parameter cannot be read",
            ),
            (Kind::BodyTimeout, "The body came too slowly"),
            (Kind::TooLarge, "The body is too large"),
            (Kind::MediaType, "The body is of the wrong media type"),
            (
                Kind::Invalid,
                "The body can be read and is not right; `faults` lists every place",
            ),
            (
                Kind::Busy,
                "No room for this work right now; see `Retry-After`",
            ),
        ]);
    }
    for (kind, description) in kinds {
        let status = kind.status().as_u16().to_string();
        operation
            .responses
            .responses
            .entry(status)
            .or_insert_with(|| RefOr::T(problem_response(description)));
    }
}

fn problem_response(description: &str) -> Response {
    let content: Content = ContentBuilder::new()
        .schema(Some(RefOr::Ref(Ref::from_schema_name("Problem"))))
        .build();
    ResponseBuilder::new()
        .description(description)
        .content(MEDIA_TYPE, content)
        .build()
}

/// What [`routes::all`] begins with.
pub(super) fn base() -> OpenApi {
    Base::openapi()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::path::Path;

    fn description() -> Value {
        serde_json::from_str(&openapi_json()).unwrap()
    }

    fn operations(description: &Value) -> Vec<(String, &Value)> {
        let mut operations = Vec::new();
        for (path, item) in description["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                operations.push((format!("{method} {path}"), operation));
            }
        }
        operations
    }

    #[test]
    fn the_committed_description_is_the_one_that_is_served() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(&path, openapi_json()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == openapi_json(),
            "openapi.json is not what the code says: run this test with UPDATE_OPENAPI=1 and commit the file"
        );
    }

    #[test]
    fn every_operation_needs_the_token_but_the_health_check_and_the_log() {
        let description = description();
        assert!(description["components"]["securitySchemes"][BEARER].is_object());
        assert_eq!(description["security"], serde_json::json!([{BEARER: []}]));
        for (name, operation) in operations(&description) {
            let open = operation.get("security").is_some();
            let is_public = name == "get /healthz" || name.starts_with("get /log/");
            assert_eq!(open, is_public, "{name}");
            assert_eq!(operation["responses"].get("401").is_none(), open, "{name}");
        }
    }

    #[test]
    fn every_problem_is_documented_as_one() {
        let description = description();
        for (name, operation) in operations(&description) {
            for (status, response) in operation["responses"].as_object().unwrap() {
                if status.starts_with('4') || status.starts_with('5') {
                    let schema = &response["content"][MEDIA_TYPE]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/Problem", "{name} {status}");
                }
            }
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_tag_and_a_summary() {
        let description = description();
        let mut names: Vec<_> = Vec::new();
        for (name, operation) in operations(&description) {
            assert!(operation["summary"].is_string(), "{name}");
            assert_eq!(
                operation["tags"].as_array().map(Vec::len),
                Some(1),
                "{name}"
            );
            names.push(operation["operationId"].as_str().unwrap().to_owned());
        }
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert_eq!(all, 49);
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let description = description();
        let text = description.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(
                description["components"]["schemas"].get(name).is_some(),
                "{name}"
            );
        }
    }
}
