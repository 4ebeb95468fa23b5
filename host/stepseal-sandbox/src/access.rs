//! What a step may use beyond its input: values that were granted with it, and the world, or an earlier run's word of the world.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::http::HttpAccess;
use crate::keyvalue::BucketSource;
use crate::transcript::Transcript;

/// What a step may use.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// What `wasi:config/store` holds. It comes with the grant and never changes while the step runs, so a step that reads it is
    /// as pure as one that does not.
    pub config: BTreeMap<String, String>,
    /// What it can read and change.
    pub world: World,
}

/// The world as a step sees it.
#[derive(Clone, Debug, Default)]
pub enum World {
    /// There is none: every bucket and every request is denied.
    #[default]
    None,
    /// What was granted of it.
    Live(Live),
    /// What an earlier run was told. A call that this run did not make, or made otherwise, stops it.
    Replay(Transcript),
}

impl From<World> for Access {
    fn from(world: World) -> Self {
        Self {
            config: BTreeMap::new(),
            world,
        }
    }
}

/// What is granted of the world.
#[derive(Clone)]
pub struct Live {
    /// Names of the buckets that are granted; all others answer `access-denied`.
    pub buckets: Vec<String>,
    /// Where they are read.
    pub source: Arc<dyn BucketSource>,
    /// The requests that are granted.
    pub http: Option<HttpAccess>,
}

impl Live {
    /// Whether nothing is granted. A step that cannot touch the world has an empty transcript.
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.http.is_none()
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("buckets", &self.buckets)
            .finish_non_exhaustive()
    }
}
