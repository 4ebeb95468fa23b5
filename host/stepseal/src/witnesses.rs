//! Asks the witnesses of the log to cosign its heads (C2SP tlog-witness). This is the one thing a host says to others
//! without being asked.
//!
//! Each witness is asked by a task of its own about the newest head, one request at a time, and after a failure less and less
//! often. What a witness answers is bounded, and nothing of it is believed but a cosignature that verifies.

use std::time::Duration;

use stepseal_receipts::cosignature::WitnessKey;
use stepseal_receipts::note::Note;
use stepseal_receipts::witness::{ANSWER_BYTES_MAX, SIZE_MEDIA_TYPE, read_cosignature, read_size};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::engine::Engine;
use crate::store::CheckpointRow;

/// How long a witness may take to answer.
const ANSWER_WALL_MAX: Duration = Duration::from_secs(10);
/// Rest after a failure, doubled with each one that follows up to the most.
const REST: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_mins(1);
/// Times a witness is asked about one head: it may tell that it cosigned another head last.
const ROUNDS: usize = 3;
/// Characters of a witness's own words that are repeated.
const WORDS_MAX: usize = 200;

/// Asks every witness of an engine until it stops, or the set is dropped.
pub fn start(engine: &Engine) -> JoinSet<()> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(ANSWER_WALL_MAX))
        .user_agent(concat!("stepseal/", env!("CARGO_PKG_VERSION")))
        .build();
    let agent = config.new_agent();
    let mut asking = JoinSet::new();
    for place in 0.. {
        let Some((key, url, old)) = engine.witness_at(place) else {
            break;
        };
        let asker = Asker {
            engine: engine.clone(),
            agent: agent.clone(),
            place,
            key,
            url: format!("{}/add-checkpoint", url.trim_end_matches('/')),
            old,
        };
        asking.spawn(asker.run());
    }
    asking
}

/// Asks one witness.
struct Asker {
    engine: Engine,
    agent: ureq::Agent,
    place: usize,
    key: WitnessKey,
    url: String,
    /// Size of the last head it cosigned, as far as is known.
    old: u64,
}

/// What a witness answered.
struct Answer {
    status: u16,
    is_size: bool,
    body: Vec<u8>,
}

impl Asker {
    async fn run(mut self) {
        let mut rest = REST;
        loop {
            let asked = match self.engine.head_to_cosign(self.place).await {
                Ok(None) => return,
                Ok(Some(head)) => self.ask(head).await,
                Err(error) => Err(error.to_string()),
            };
            match asked {
                Ok(()) => rest = REST,
                Err(error) => {
                    self.engine.not_cosigned(self.place, error);
                    sleep(rest).await;
                    rest = (rest * 2).min(REST_MAX);
                }
            }
        }
    }

    /// Asks about a head, again where the witness has seen more than is known here.
    async fn ask(&mut self, head: CheckpointRow) -> Result<(), String> {
        let size = head.head.size;
        let note = Note::parse(&head.note).map_err(|error| error.to_string())?;
        for _ in 0..ROUNDS {
            if self.old > size {
                // It is asked anew next time: it may have been wrong.
                let old = std::mem::take(&mut self.old);
                return Err(format!(
                    "it cosigned {old} entries of this log before, which now has {size}: was an older copy of the data \
                     directory put back?"
                ));
            }
            let request = self.engine.cosign_request(&head, self.old).await;
            let request = request.map_err(|error| error.to_string())?;
            let answer = self.post(request.to_text()).await?;
            match answer.status {
                200 => {
                    let line = read_cosignature(&answer.body, &note.text, &self.key)
                        .map_err(|error| error.to_string())?;
                    let time = self.key.verify(&note.text, &line);
                    let time = time.map_err(|error| error.to_string())?;
                    self.old = size;
                    let kept = self.engine.cosigned(self.place, head, &line, time).await;
                    return kept.map_err(|error| error.to_string());
                }
                409 if answer.is_size => {
                    let last = read_size(&answer.body).filter(|&last| last != self.old);
                    self.old = last.ok_or_else(|| refused(&answer))?;
                }
                _ => return Err(refused(&answer)),
            }
        }
        Err("it tells another size each time it is asked".to_owned())
    }

    /// Sends one request. It has a thread of its own, so that nobody who stops the host waits for a witness.
    async fn post(&self, body: String) -> Result<Answer, String> {
        let (tell, told) = oneshot::channel();
        let (agent, url) = (self.agent.clone(), self.url.clone());
        std::thread::Builder::new()
            .name("witness".to_owned())
            .spawn(move || tell.send(post(&agent, &url, &body)))
            .map_err(|error| error.to_string())?;
        let answer = told.await.map_err(|error| error.to_string())?;
        answer.map_err(|error| error.to_string())
    }
}

fn post(agent: &ureq::Agent, url: &str, body: &str) -> Result<Answer, ureq::Error> {
    let response = agent.post(url).content_type("text/plain").send(body)?;
    let content_type = response.headers().get("content-type");
    let is_size = content_type.is_some_and(|found| found == SIZE_MEDIA_TYPE);
    Ok(Answer {
        status: response.status().as_u16(),
        is_size,
        body: response
            .into_body()
            .into_with_config()
            .limit(ANSWER_BYTES_MAX as u64)
            .read_to_vec()?,
    })
}

/// A refusal in words, with the beginning of the witness's own.
fn refused(answer: &Answer) -> String {
    let words = String::from_utf8_lossy(&answer.body);
    let harmless = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    let words: String = harmless.take(WORDS_MAX).collect();
    format!("it answered {}: {}", answer.status, words.trim())
}
