//! Policies in force.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;

use crate::api::Api;
use crate::api::body::{JsonBody, StrictJson, shape};
use crate::api::limits::DOCUMENT_BYTES_MAX;
use crate::api::params::{ActorHeader, Segment};
use crate::api::problem::{ApiError, Kind};
use crate::api::wire::{Fault, List, NewPolicy, Policy, Problem};
use crate::engine::EngineError;
use crate::store::ComponentKind;

impl JsonBody for NewPolicy {
    const BYTES_MAX: usize = DOCUMENT_BYTES_MAX;

    fn from_json(value: Value) -> Result<Self, Fault> {
        shape(value)
    }
}

/// Binds a policy
///
/// From now on it is asked about every plan and step within its scope.
#[utoipa::path(post, path = "/v1/policies", tag = "policies", operation_id = "bind_policy", request_body = NewPolicy,
    params(("Stepseal-Actor" = Option<String>, Header, nullable = false, description = "Who asks, for the record: 1 to 255 visible ASCII characters. A claim of the client")),
    responses(
        (status = 201, description = "It is in force", body = Policy),
        (status = 409, description = "Too many are bound (`too-many-policies`)", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn bind_policy(
    State(api): State<Api>,
    ActorHeader(actor): ActorHeader,
    StrictJson { value, room: _room }: StrictJson<NewPolicy>,
) -> Result<(StatusCode, Json<Policy>), ApiError> {
    let row = match api.engine().bind_policy(value.into(), actor).await {
        Ok(row) => row,
        // The place that was asked for is there; it is the body that names nothing.
        Err(error @ EngineError::NotFound { .. }) => {
            let fault = Fault {
                pointer: "/component".to_owned(),
                message: format!("{error}: upload it first"),
            };
            return Err(
                ApiError::new(Kind::Invalid, fault.message.clone()).with_faults(vec![fault])
            );
        }
        Err(error) => return Err(error.into()),
    };
    let component = api.engine().component(&row.component).await?;
    let policy = Policy::new(row, component.name, component.version)?;
    Ok((StatusCode::CREATED, Json(policy)))
}

/// Lists the policies in force, oldest first
#[utoipa::path(get, path = "/v1/policies", tag = "policies", operation_id = "list_policies",
    responses((status = 200, description = "Every policy in force", body = List<Policy>)))]
pub(super) async fn list_policies(State(api): State<Api>) -> Result<Json<List<Policy>>, ApiError> {
    let rows = api.engine().policies().await?;
    let components = api.engine().components(Some(ComponentKind::Policy)).await?;
    let mut names: HashMap<_, _> = components
        .into_iter()
        .map(|component| (component.digest, (component.name, component.version)))
        .collect();
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let (name, version) = match names.entry(row.component) {
            Entry::Occupied(known) => known.get().clone(),
            // Uploaded and bound since the components were listed.
            Entry::Vacant(unknown) => {
                let late = api.engine().component(&row.component).await?;
                unknown.insert((late.name, late.version)).clone()
            }
        };
        items.push(Policy::new(row, name, version)?);
    }
    Ok(Json(List { items }))
}

/// Ends a policy
///
/// Approvals that were opened under it become void.
#[utoipa::path(delete, path = "/v1/policies/{id}", tag = "policies", operation_id = "unbind_policy",
    params(
        ("id" = String, Path, description = "Id of the binding"),
        ("Stepseal-Actor" = Option<String>, Header, nullable = false, description = "Who asks, for the record: 1 to 255 visible ASCII characters. A claim of the client"),
    ),
    responses(
        (status = 204, description = "It is no longer asked"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn unbind_policy(
    State(api): State<Api>,
    Segment(id): Segment,
    ActorHeader(actor): ActorHeader,
) -> Result<StatusCode, ApiError> {
    api.engine().unbind_policy(&id, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
