//! Every place of the interface, one file per endpoint or per small group.

mod approvals;
mod approvers;
mod components;
mod description;
mod grants;
mod health;
mod log;
mod metrics;
mod plans;
mod policies;
mod schedules;
mod secrets;
mod tasks;
mod tenants;
mod trust;

use axum::extract::Request;
use axum::http::{Method, Uri};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::discard_body;
use super::problem::{ApiError, Kind};
use super::{Api, openapi};

pub(super) use health::{HEALTH, healthz};
pub(super) use log::PUBLIC;

/// Every route with its description.
pub(super) fn all() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(
            components::list_components,
            components::add_component
        ))
        .routes(routes!(components::show_component))
        .routes(routes!(components::component_content))
        .routes(routes!(components::list_compilations))
        .routes(routes!(grants::list_grants))
        .routes(routes!(grants::show_grant, grants::put_grant))
        .routes(routes!(grants::list_grant_history))
        .routes(routes!(secrets::list_secrets))
        .routes(routes!(secrets::put_secret, secrets::remove_secret))
        .routes(routes!(tenants::list_tenants))
        .routes(routes!(tenants::put_tenant, tenants::remove_tenant))
        .routes(routes!(schedules::list_schedules))
        .routes(routes!(
            schedules::show_schedule,
            schedules::put_schedule,
            schedules::remove_schedule
        ))
        .routes(routes!(policies::list_policies, policies::bind_policy))
        .routes(routes!(policies::unbind_policy))
        .routes(routes!(plans::check_plan))
        .routes(routes!(tasks::list::list_tasks, tasks::submit::submit_task))
        .routes(routes!(tasks::show::show_task))
        .routes(routes!(tasks::cancel::cancel_task))
        .routes(routes!(tasks::erase::erase_payloads))
        .routes(routes!(tasks::events::task_events))
        .routes(routes!(
            tasks::records::task_records,
            tasks::erase::erase_records
        ))
        .routes(routes!(tasks::receipt::task_receipt))
        .routes(routes!(approvals::list::list_approvals))
        .routes(routes!(
            approvals::show::show_approval,
            approvals::decide::decide_approval
        ))
        .routes(routes!(approvers::list_approvers, approvers::add_approver))
        .routes(routes!(approvers::remove_approver))
        .routes(routes!(log::checkpoint))
        .routes(routes!(log::tile))
        .routes(routes!(log::entries))
        .routes(routes!(log::consistency))
        .routes(routes!(log::inclusion))
        .routes(routes!(log::witnesses))
        .routes(routes!(trust::trust_file))
        .routes(routes!(description::openapi_document))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
}

/// What tenants may do. Whatever is not here needs the host's own token.
const OPEN_TO_TENANTS: [(&str, &str); 13] = [
    ("GET", "/v1/components"),
    ("GET", "/v1/components/{digest}"),
    ("POST", "/v1/plans/check"),
    ("GET", "/v1/tasks"),
    ("POST", "/v1/tasks"),
    ("GET", "/v1/tasks/{id}"),
    ("POST", "/v1/tasks/{id}/cancel"),
    ("GET", "/v1/tasks/{id}/events"),
    ("GET", "/v1/tasks/{id}/records"),
    ("GET", "/v1/tasks/{id}/receipt"),
    ("GET", "/v1/trust"),
    ("GET", "/openapi.json"),
    ("GET", "/readyz"),
];

/// Whether a tenant may do this at the place with this pattern.
pub(super) fn is_open_to_tenants(method: &Method, path: &str) -> bool {
    OPEN_TO_TENANTS.contains(&(method.as_str(), path))
}

/// The answer where no route is.
pub(super) async fn no_such_place(uri: Uri, request: Request) -> ApiError {
    discard_body(request).await;
    ApiError::new(
        Kind::NotFound,
        format!(
            "there is nothing at {}; /openapi.json lists every place",
            shown(uri.path())
        ),
    )
}

/// The answer where a route is, but not for this method; `Allow` is added by the router.
pub(super) async fn no_such_method(method: Method, uri: Uri, request: Request) -> ApiError {
    discard_body(request).await;
    ApiError::new(
        Kind::MethodNotAllowed,
        format!(
            "{method} is not possible at {}; `Allow` lists what is",
            shown(uri.path())
        ),
    )
}

/// The beginning of a path, which may be as long as a header.
fn shown(path: &str) -> &str {
    const SHOWN_BYTES_MAX: usize = 200;
    // A path in a request is ASCII.
    path.get(..SHOWN_BYTES_MAX).unwrap_or(path)
}
