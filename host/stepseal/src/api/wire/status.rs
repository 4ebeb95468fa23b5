//! Whether the host lives and can take work.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether the host lives (`ok`) or can take tasks (`ready`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"status": "ok"}))]
pub struct Status {
    /// `ok` from `/healthz`, `ready` from `/readyz`.
    pub status: String,
}
