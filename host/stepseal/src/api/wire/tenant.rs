//! Clients with a token and tasks of their own.

use serde::{Deserialize, Serialize};
use stepseal_receipts::time::Timestamp;
use utoipa::ToSchema;

use super::scalar::TimestampText;
use crate::store::TenantRow;

/// A client with a token and tasks of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// The name that its tasks have, and policies are told.
    #[schema(example = "treasury")]
    pub name: String,
    /// When it got its token.
    #[schema(value_type = TimestampText)]
    pub added: Timestamp,
}

impl From<TenantRow> for Tenant {
    fn from(row: TenantRow) -> Self {
        Self {
            name: row.name,
            added: row.added,
        }
    }
}

/// The token of a tenant, on its way out. The host keeps only its digest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantToken {
    /// The tenant.
    #[schema(example = "treasury")]
    pub name: String,
    /// What it shows as `Authorization: Bearer`.
    #[schema(read_only)]
    pub token: String,
}
