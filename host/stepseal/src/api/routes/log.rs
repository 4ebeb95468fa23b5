//! The log, for whoever wants to watch it (C2SP tlog-tiles), and proofs over it.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde::Deserialize;
use stepseal_receipts::tile::Tile;
use utoipa::IntoParams;

use crate::api::Api;
use crate::api::limits::LOG_PAGE_MAX;
use crate::api::params::{Params, Segment, page_size};
use crate::api::problem::{ApiError, Kind};
use crate::api::wire::{List, LogProof, LogWitness, Problem};

/// What begins the paths that need no token: a log that only its host's clients can watch is watched by nobody. Its leaves
/// are digests and signatures, and say nothing of what ran.
pub(in crate::api) const PUBLIC: &str = "/log/";

/// A tile holds the same bytes for ever.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// Gives the signed head of the log
///
/// A C2SP tlog-checkpoint in a signed note, at most a second old, with the cosignatures of the host's witnesses that come in
/// time. Needs no token.
#[utoipa::path(get, path = "/log/checkpoint", tag = "log", operation_id = "log_checkpoint", security(()),
    responses((status = 200, description = "The checkpoint", body = String, content_type = "text/plain")))]
pub(super) async fn checkpoint(State(api): State<Api>) -> Result<impl IntoResponse, ApiError> {
    let note = api.engine().log_checkpoint().await?;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok(([(CONTENT_TYPE, text), (CACHE_CONTROL, NO_CACHE)], note))
}

/// Gives a tile of the log
///
/// As C2SP tlog-tiles places them: `<level>/<index>[.p/<width>]` or `entries/<index>[.p/<width>]`, the index in groups of three
/// digits. What a tile holds never changes. Needs no token.
#[utoipa::path(get, path = "/log/tile/{*path}", tag = "log", operation_id = "log_tile", security(()),
    params(("path" = String, Path, description = "The rest of the path, with its slashes", example = "0/x001/067.p/8")),
    responses(
        (status = 200, description = "The tile", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "The log has no such tile, or not yet", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn tile(
    State(api): State<Api>,
    Segment(path): Segment,
) -> Result<impl IntoResponse, ApiError> {
    let none = |why| ApiError::new(Kind::NotFound, why);
    let tile = Tile::parse(&path).ok_or_else(|| {
        none("this is not the path of a tile: write /log/tile/<level>/<index>[.p/<width>] as C2SP tlog-tiles says")
    })?;
    let bytes = api.engine().tile(tile).await?;
    let bytes = bytes.ok_or_else(|| none("the log does not fill this tile to this width (yet)"))?;
    let binary = HeaderValue::from_static("application/octet-stream");
    Ok(([(CONTENT_TYPE, binary), (CACHE_CONTROL, IMMUTABLE)], bytes))
}

/// Which trees a consistency proof is between.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConsistencyParams {
    /// Leaves of the older tree.
    from: u64,
    /// Leaves of the newer tree.
    to: u64,
}

/// Proves that the log only grew from one size to another
///
/// RFC 6962 §2.1.2; the roots are those of the checkpoints.
#[utoipa::path(get, path = "/v1/log/consistency", tag = "log", operation_id = "log_consistency", params(ConsistencyParams),
    responses(
        (status = 200, description = "The proof", body = LogProof),
        (status = 422, description = "The log never had these sizes in this order", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn consistency(
    State(api): State<Api>,
    Params(params): Params<ConsistencyParams>,
) -> Result<Json<LogProof>, ApiError> {
    let proof = api.engine().consistency(params.from, params.to).await?;
    Ok(Json(LogProof::new(&proof)))
}

/// Which entries of the log.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EntriesParams {
    /// Index of the first one, from 0.
    from: u64,
    /// How many at most, 1 to 256.
    limit: Option<u32>,
}

/// Gives entries of the log with their signed records
///
/// JSON lines, each an entry as the format's export of a log has them. Nothing where the log has no entry from there on.
#[utoipa::path(get, path = "/v1/log/entries", tag = "log", operation_id = "log_entries", params(EntriesParams),
    responses((status = 200, description = "The entries", body = String, content_type = "application/jsonl")))]
pub(super) async fn entries(
    State(api): State<Api>,
    Params(params): Params<EntriesParams>,
) -> Result<impl IntoResponse, ApiError> {
    let limit = page_size(params.limit, LOG_PAGE_MAX)?;
    let lines = api.engine().log_entries(params.from, limit).await?;
    let jsonl = HeaderValue::from_static("application/jsonl");
    Ok(([(CONTENT_TYPE, jsonl)], lines))
}

/// Which leaf an inclusion proof is for, and in which tree.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct InclusionParams {
    /// Leaf index, from 0.
    index: u64,
    /// Leaves of the tree.
    size: u64,
}

/// Proves that a leaf is in the log
///
/// RFC 6962 §2.1.1; the root is that of the checkpoint of this size.
#[utoipa::path(get, path = "/v1/log/inclusion", tag = "log", operation_id = "log_inclusion", params(InclusionParams),
    responses(
        (status = 200, description = "The proof", body = LogProof),
        (status = 422, description = "The log has no such leaf or never had this size", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn inclusion(
    State(api): State<Api>,
    Params(params): Params<InclusionParams>,
) -> Result<Json<LogProof>, ApiError> {
    let proof = api.engine().inclusion(params.index, params.size).await?;
    Ok(Json(LogProof::new(&proof)))
}

/// Says how it goes with the witnesses of the log
///
/// Those that the host was started with, in the order of their policy.
#[utoipa::path(get, path = "/v1/log/witnesses", tag = "log", operation_id = "log_witnesses",
    responses((status = 200, description = "The witnesses", body = List<LogWitness>)))]
pub(super) async fn witnesses(State(api): State<Api>) -> Json<List<LogWitness>> {
    let witnesses = api.engine().witnesses().into_iter();
    Json(List {
        items: witnesses.map(LogWitness::from).collect(),
    })
}
