//! What policies say, and what becomes of policies that cannot say it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;

use tokio::task::JoinSet;

use super::{sandbox, sent, wat};
use crate::{
    Approval, Descriptor, Limits, PolicyCall, PolicyRun, PoolSettings, Reason, Sandbox, Settings,
    Stage, Verdict,
};

async fn evaluate(items: &str, body: &str) -> PolicyRun {
    let bytes = wat::parse_str(wat::policy(items, body)).unwrap();
    let component = sandbox()
        .policy(Digest::of(&bytes), || Ok(bytes))
        .await
        .unwrap();
    // Fuel is what ends the loop, on the busiest machine too.
    let limits = Limits {
        wall: Duration::from_mins(1),
        ..Limits::POLICY
    };
    sent(sandbox().evaluate(&component, call(limits))).await
}

fn call(limits: Limits) -> PolicyCall {
    PolicyCall {
        stage: Stage::BeforeStep,
        settings: "{}".into(),
        input: "{\"step\":{}}".into(),
        limits,
        seed: [0; 32],
        start: Timestamp::from_unix_ms(0).unwrap(),
    }
}

/// Words at address 16: the result of `evaluate`.
fn result(words: &[u32]) -> String {
    let mut stores = String::new();
    for (index, word) in words.iter().enumerate() {
        let at = 16 + 4 * index;
        write!(stores, "(i32.store (i32.const {at}) (i32.const {word}))").unwrap();
    }
    stores + "(i32.const 16)"
}

const TEXTS: &str = "(data (i32.const 1024) \"too-muchover the limittreasurer\")";
const CODE: [u32; 2] = [1024, 8];
const MESSAGE: [u32; 2] = [1032, 14];
const ROLE: [u32; 2] = [1046, 9];

fn reason() -> Reason {
    Reason {
        code: "too-much".into(),
        message: "over the limit".into(),
    }
}

#[tokio::test]
async fn every_verdict_comes_through() {
    assert_eq!(
        evaluate("", &result(&[0, 0])).await.verdict,
        Ok(Verdict::NotApplicable)
    );
    assert_eq!(
        evaluate("", &result(&[0, 1])).await.verdict,
        Ok(Verdict::Allow)
    );
    let deny = [&[0, 3][..], &CODE, &MESSAGE].concat();
    assert_eq!(
        evaluate(TEXTS, &result(&deny)).await.verdict,
        Ok(Verdict::Deny(reason()))
    );
    let approval = [&[0, 2][..], &CODE, &MESSAGE, &[1], &ROLE, &[2]].concat();
    let wanted = Approval {
        reason: reason(),
        role: Some("treasurer".into()),
        approvers: 2,
    };
    let run = evaluate(TEXTS, &result(&approval)).await;
    assert_eq!(run.verdict, Ok(Verdict::NeedsApproval(wanted)));
    assert!(run.fuel_used > 0 && run.memory_peak_bytes >= 2 << 16);
}

#[tokio::test]
async fn the_stage_and_the_texts_reach_the_policy() {
    // Allows if the stage is `before-step` and both lengths are what was sent.
    let body = "(i32.store (i32.const 16) (i32.const 0))
        (i32.store (i32.const 20) (i32.and (i32.eq (local.get $stage) (i32.const 1))
            (i32.and (i32.eq (local.get $settings-len) (i32.const 2)) (i32.eq (local.get $input-len) (i32.const 11)))))
        (i32.const 16)";
    assert_eq!(evaluate("", body).await.verdict, Ok(Verdict::Allow));
}

#[tokio::test]
async fn a_policy_that_cannot_judge_says_why() {
    let cases = [
        (result(&[1, 1032, 14]), "over the limit"),
        ("(unreachable)".to_owned(), "it trapped"),
        (
            "(loop $again (br $again)) (unreachable)".to_owned(),
            "it ran out of fuel",
        ),
        (
            "(drop (memory.grow (i32.const 1000))) (unreachable)".to_owned(),
            "it ran out of memory",
        ),
        (result(&[0, 9]), "cannot be taken"),
        (
            result(&[&[0, 3][..], &MESSAGE, &CODE].concat()),
            "reason's code",
        ),
        (
            result(&[&[0, 2][..], &CODE, &MESSAGE, &[0, 0, 0, 0]].concat()),
            "asks for 0 approvers",
        ),
        (
            result(&[&[0, 2][..], &CODE, &MESSAGE, &[0, 0, 0, 17]].concat()),
            "asks for 17 approvers",
        ),
        (
            result(&[&[0, 2][..], &CODE, &MESSAGE, &[1, 1024, 0, 1]].concat()),
            "role",
        ),
    ];
    for (body, why) in cases {
        let error = evaluate(TEXTS, &body).await.verdict.unwrap_err();
        assert!(error.contains(why), "{error:?} does not contain {why:?}");
    }
}

#[tokio::test]
async fn a_policy_that_ran_out_of_fuel_used_its_limit() {
    let run = evaluate("", "(loop $again (br $again)) (unreachable)").await;
    assert_eq!(run.fuel_used, Limits::POLICY.fuel);
}

/// Policies that use up each of their ticks: whoever is asked beside them has one tick in thirty.
const OTHERS: u32 = 30;

#[tokio::test]
async fn a_policy_that_hardly_runs_is_asked_again_but_not_for_ever() {
    let crowded = PoolSettings {
        concurrency: OTHERS + 1,
        component_concurrency: OTHERS + 1,
        ..PoolSettings::default()
    };
    let sandbox = Sandbox::new(Settings {
        pooling: false,
        policies: crowded,
        ..Settings::default()
    });
    let sandbox = sandbox.unwrap();
    let body = "(loop $again (br $again)) (unreachable)";
    let bytes = wat::parse_str(wat::policy("", body)).unwrap();
    let policy = sandbox.policy(Digest::of(&bytes), || Ok(bytes));
    let policy = policy.await.unwrap();
    let endless = |wall| Limits {
        fuel: u64::MAX / 2,
        wall,
        ..Limits::POLICY
    };
    let mut others = JoinSet::new();
    for _ in 0..OTHERS {
        let (sandbox, policy) = (sandbox.clone(), policy.clone());
        let call = call(endless(Duration::from_mins(10)));
        others.spawn(async move { sandbox.evaluate(&policy, call).await });
    }
    let call = call(endless(Duration::from_millis(100)));
    let run = sandbox.evaluate(&policy, call).await;
    assert_eq!(run.verdict, Err("it ran out of time".to_owned()));
    assert!(!run.busy, "it would be asked for ever");
    assert!(others.try_join_next().is_none(), "they ran beside it");
}

#[tokio::test]
async fn a_policy_describes_itself() {
    let bytes = wat::parse_str(wat::policy("", &result(&[0, 0]))).unwrap();
    let inspection = sandbox().inspect(Arc::from(bytes)).await.unwrap();
    let Descriptor::Policy(policy) = inspection.descriptor else {
        panic!("it is a policy")
    };
    assert_eq!(
        (policy.name.as_str(), policy.version.as_str()),
        ("probe", "1.0.0")
    );
    assert_eq!(policy.stages, [Stage::BeforeStep, Stage::AfterStep]);
    assert_eq!(inspection.imports, Vec::<String>::new());
}
