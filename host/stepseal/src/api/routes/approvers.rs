//! Keys of people who sign their own decisions.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;

use crate::api::Api;
use crate::api::body::{JsonBody, StrictJson, shape};
use crate::api::limits::DECISION_BYTES_MAX;
use crate::api::params::{ActorHeader, Segment};
use crate::api::problem::ApiError;
use crate::api::wire::{Approver, Fault, List, NewApprover, Problem};

impl JsonBody for NewApprover {
    const BYTES_MAX: usize = DECISION_BYTES_MAX;

    fn from_json(value: Value) -> Result<Self, Fault> {
        shape(value)
    }
}

/// Gives a person a key
///
/// From now on whoever decides in that name must sign. A decision in that name that is in no record yet becomes void.
#[utoipa::path(post, path = "/v1/approvers", tag = "approvals", operation_id = "add_approver", request_body = NewApprover,
    params(("Stepseal-Actor" = Option<String>, Header, nullable = false, description = "Who asks, for the record: 1 to 255 visible ASCII characters. A claim of the client")),
    responses(
        (status = 201, description = "It counts", body = Approver),
        (status = 409, description = "It is or was somebody's, or there are too many (`key-in-use`, `too-many-keys`)",
            body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn add_approver(
    State(api): State<Api>,
    ActorHeader(actor): ActorHeader,
    StrictJson { value, room: _room }: StrictJson<NewApprover>,
) -> Result<(StatusCode, Json<Approver>), ApiError> {
    let added = api.engine().add_approver(value.name, value.key, actor);
    Ok((StatusCode::CREATED, Json(added.await?.into())))
}

/// Lists the keys that people have or had, the oldest first
#[utoipa::path(get, path = "/v1/approvers", tag = "approvals", operation_id = "list_approvers",
    responses((status = 200, description = "Every key", body = List<Approver>)))]
pub(super) async fn list_approvers(
    State(api): State<Api>,
) -> Result<Json<List<Approver>>, ApiError> {
    let rows = api.engine().approvers().await?;
    let items = rows.into_iter().map(Into::into).collect();
    Ok(Json(List { items }))
}

/// Takes a key from a person
///
/// What it signed and a record speaks of stays believed.
#[utoipa::path(delete, path = "/v1/approvers/{id}", tag = "approvals", operation_id = "remove_approver",
    params(
        ("id" = String, Path, description = "Id of the key"),
        ("Stepseal-Actor" = Option<String>, Header, nullable = false, description = "Who asks, for the record: 1 to 255 visible ASCII characters. A claim of the client"),
    ),
    responses(
        (status = 204, description = "It counts no more"),
        (status = 404, description = "There is none that counts", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn remove_approver(
    State(api): State<Api>,
    Segment(id): Segment,
    ActorHeader(actor): ActorHeader,
) -> Result<StatusCode, ApiError> {
    api.engine().remove_approver(&id, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
