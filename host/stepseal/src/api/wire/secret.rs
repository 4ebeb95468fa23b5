//! Secrets that the host injects into requests of steps.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The value of a secret, on its way in. Nothing ever gives it out again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    /// 8 to 1,024 visible ASCII characters.
    #[schema(write_only, example = "sk-live-51Hq8uJ2eZ")]
    pub value: String,
}

/// A secret, by its name alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    /// The name by which grants speak of it.
    #[schema(example = "api-key")]
    pub name: String,
}
