//! What a step asked of the world, and what it was told: enough to run it again without the world.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json;

use crate::guest::Stop;
use crate::limits::{WORLD_BYTES_MAX, WORLD_CALLS_MAX};

/// Bytes of an encoded transcript: every value read once in base64, and 512 bytes for the rest of each call.
const TRANSCRIPT_BYTES_MAX: usize = WORLD_BYTES_MAX * 2 + WORLD_CALLS_MAX * 512;

/// Depth of an encoded transcript: object, array, object.
const TRANSCRIPT_DEPTH_MAX: usize = 4;

/// The ordered calls by which a step touched the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// In the order they were made.
    pub calls: Vec<Call>,
}

/// One call and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of the request: canonical JSON with the operation and all its arguments.
    pub request: Digest,
    /// What the host answered: canonical JSON.
    pub response: Vec<u8>,
}

/// Bytes that are not a transcript.
#[derive(Clone, Debug, thiserror::Error)]
#[error("this is not a transcript of host calls: {0}")]
pub struct TranscriptError(String);

impl Transcript {
    /// How many calls.
    pub fn count(&self) -> u64 {
        self.calls.len() as u64
    }

    /// The canonical encoding, whose digest goes into the record: JCS of
    /// `{"calls":[{"request":"sha256:<hex>","response":"<base64>"}]}`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let calls = self.calls.iter().map(|call| {
            let mut object = Map::new();
            object.insert("request".into(), call.request.to_string().into());
            object.insert("response".into(), BASE64.encode(&call.response).into());
            Value::Object(object)
        });
        let calls = Value::Array(calls.collect());
        json::canonical(&Value::Object(Map::from_iter([(
            "calls".to_owned(),
            calls,
        )])))
    }

    /// Reads what [`Transcript::to_bytes`] wrote; any other bytes are refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TranscriptError> {
        let limits = json::Limits {
            bytes_max: TRANSCRIPT_BYTES_MAX,
            depth_max: TRANSCRIPT_DEPTH_MAX,
        };
        let value =
            json::parse(bytes, &limits).map_err(|error| TranscriptError(error.to_string()))?;
        let calls = value
            .get("calls")
            .and_then(Value::as_array)
            .ok_or_else(|| TranscriptError("it has no member `calls`".into()))?;
        if calls.len() > WORLD_CALLS_MAX {
            return Err(TranscriptError(format!(
                "it has more than {WORLD_CALLS_MAX} calls"
            )));
        }
        let calls = calls.iter().enumerate().map(|(index, call)| {
            decode_call(call)
                .ok_or_else(|| TranscriptError(format!("call {} cannot be read", index + 1)))
        });
        let transcript = Self {
            calls: calls.collect::<Result<_, _>>()?,
        };
        // One encoding only, so that one transcript has one digest.
        if transcript.to_bytes() != bytes {
            return Err(TranscriptError("it is not in canonical form".into()));
        }
        Ok(transcript)
    }
}

fn decode_call(call: &Value) -> Option<Call> {
    let request = call.get("request")?.as_str()?.parse().ok()?;
    let response = BASE64.decode(call.get("response")?.as_str()?).ok()?;
    Some(Call { request, response })
}

/// The transcript of a run while it is written, beside the one of an earlier run where that answers.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    transcript: Transcript,
    /// Answers of the earlier run that were not asked for yet.
    recorded: Option<std::vec::IntoIter<Call>>,
    /// Calls begun; those that are not in the transcript yet wait for their answers.
    begun: usize,
    /// Bytes of requests that must be held and of answers, until the record is committed.
    bytes: usize,
}

/// A call that may be made.
#[derive(Debug)]
pub(crate) struct Begun {
    /// 1 for the first of the run.
    number: usize,
    request: Digest,
    /// What the earlier run was told, where that is to be answered.
    pub(crate) recorded: Option<Vec<u8>>,
}

impl Begun {
    /// Stops a replay at this call.
    pub(crate) fn differs(&self, how: &str) -> Stop {
        Stop::Replay(format!(
            "replay: host call {} differs: it {how}",
            self.number
        ))
    }
}

impl Journal {
    /// One that answers from `recorded`.
    pub(crate) fn replay(recorded: Transcript) -> Self {
        Self {
            recorded: Some(recorded.calls.into_iter()),
            ..Self::default()
        }
    }

    /// Whether one more call may be made.
    pub(crate) fn has_room(&self) -> bool {
        self.begun < WORLD_CALLS_MAX
    }

    /// Begins a call: it must be the one that the earlier run made, where there was one.
    pub(crate) fn begin(&mut self, request: &Value) -> Result<Begun, Stop> {
        self.begun += 1;
        let mut begun = Begun {
            number: self.begun,
            request: Digest::of(&json::canonical(request)),
            recorded: None,
        };
        let Some(calls) = &mut self.recorded else {
            return Ok(begun);
        };
        match calls.next() {
            Some(call) if call.request == begun.request => {
                begun.recorded = Some(call.response);
                Ok(begun)
            }
            Some(_) => Err(begun.differs(&format!(
                "asks for something else than the recorded one: {request}"
            ))),
            None => Err(begun.differs(&format!("was not made in the recorded run: {request}"))),
        }
    }

    /// Counts bytes that will be held until the record is committed; false where they are too many.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let fits = self.bytes + bytes <= WORLD_BYTES_MAX;
        if fits {
            self.bytes += bytes;
        }
        fits
    }

    /// Ends a call. Calls end in the order in which they began.
    #[expect(clippy::needless_pass_by_value, reason = "a call ends once")]
    pub(crate) fn end(&mut self, begun: Begun, response: Vec<u8>) {
        self.transcript.calls.push(Call {
            request: begun.request,
            response,
        });
    }

    /// Calls of the earlier run that this one did not make.
    pub(crate) fn calls_left(&self) -> usize {
        self.recorded.as_ref().map_or(0, ExactSizeIterator::len)
    }

    /// What was asked and answered.
    pub(crate) fn take(&mut self) -> Transcript {
        std::mem::take(&mut self.transcript)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript() -> Transcript {
        Transcript {
            calls: vec![Call {
                request: Digest::of(b"question"),
                response: b"{}".to_vec(),
            }],
        }
    }

    #[test]
    fn a_transcript_survives_its_encoding() {
        assert_eq!(
            Transcript::from_bytes(&transcript().to_bytes()).unwrap(),
            transcript()
        );
        assert_eq!(Transcript::default().to_bytes(), br#"{"calls":[]}"#);
    }

    #[test]
    fn another_spelling_of_a_transcript_is_refused() {
        let mut bytes = transcript().to_bytes();
        bytes.push(b' ');
        assert!(
            Transcript::from_bytes(&bytes)
                .unwrap_err()
                .to_string()
                .contains("canonical")
        );
    }

    #[test]
    fn what_is_not_a_transcript_is_refused() {
        for bytes in [
            &b"[]"[..],
            b"",
            br#"{"calls":[{}]}"#,
            br#"{"calls":[{"request":"x","response":""}]}"#,
        ] {
            assert!(Transcript::from_bytes(bytes).is_err());
        }
    }
}
