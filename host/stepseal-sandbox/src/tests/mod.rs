//! Black-box tests of the sandbox with components written out as text: what each of them does is all there to read.

mod built;
mod keyvalue;
mod loading;
mod outcomes;
mod policies;
mod wasi;
pub(crate) mod wat;

use std::sync::{Arc, OnceLock};

use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;

use crate::{
    Access, Cancel, Invocation, Limits, LoadError, Outcome, Sandbox, Settings, StepCall,
    StepComponent, StepRun,
};

/// One sandbox for all tests: it reserves much address space.
fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(Settings::default()).unwrap())
}

/// A host runs calls on any of its threads: their futures must be `Send`.
fn sent<F: Future + Send>(future: F) -> F {
    future
}

pub(crate) async fn load(text: &str) -> StepComponent {
    let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    sandbox()
        .step(Digest::of(&bytes), || Ok(bytes))
        .await
        .unwrap()
}

async fn inspect(text: &str) -> Result<crate::Inspection, LoadError> {
    let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    sent(sandbox().inspect(Arc::from(bytes))).await
}

fn call() -> StepCall {
    StepCall {
        invocation: Invocation {
            task_id: "task".into(),
            step_id: "step".into(),
            attempt: 1,
            step_type: "probe".into(),
            input: "{\"n\":1}".into(),
            idempotency_key: "key".into(),
        },
        limits: Limits::STEP,
        seed: [7; 32],
        start: Timestamp::from_unix_ms(1_700_000_000_000).unwrap(),
        access: Access::default(),
        tenant: None,
        cancel: Cancel::new(),
    }
}

async fn run(text: &str) -> StepRun {
    let component = load(text).await;
    sandbox().run(&component, call()).await
}

async fn outcome(text: &str) -> Outcome {
    run(text).await.outcome
}
