//! Questions put to people.

pub(super) mod decide;
pub(super) mod list;
pub(super) mod show;
