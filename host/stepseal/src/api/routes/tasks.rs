//! Tasks.

pub(super) mod cancel;
pub(super) mod erase;
pub(super) mod events;
pub(super) mod list;
pub(super) mod receipt;
pub(super) mod records;
pub(super) mod show;
pub(super) mod submit;
