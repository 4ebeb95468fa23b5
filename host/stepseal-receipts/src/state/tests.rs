use proptest::prelude::*;
use proptest::sample::select;

use super::{StepEvent as E, StepState as S, TaskEvent, TaskState};

const TASK_STATES: [TaskState; 7] = [
    TaskState::Queued,
    TaskState::Running,
    TaskState::Waiting,
    TaskState::Succeeded,
    TaskState::Failed,
    TaskState::Denied,
    TaskState::Cancelled,
];
const TASK_EVENTS: [TaskEvent; 7] = [
    TaskEvent::Start,
    TaskEvent::Wait,
    TaskEvent::Resume,
    TaskEvent::Succeed,
    TaskEvent::Fail,
    TaskEvent::Deny,
    TaskEvent::Cancel,
];
const STEP_STATES: [S; 10] = [
    S::Pending,
    S::Judged,
    S::Waiting,
    S::Authorized,
    S::Running,
    S::Succeeded,
    S::Failed,
    S::Denied,
    S::Skipped,
    S::Cancelled,
];
const STEP_EVENTS: [E; 11] = [
    E::Judge,
    E::AskApproval,
    E::Authorize,
    E::Start,
    E::Succeed,
    E::Fail,
    E::Retry,
    E::Deny,
    E::Skip,
    E::Cancel,
    E::Void,
];

/// Everything a task may do; what is not here is illegal.
fn legal_of_task() -> Vec<(TaskState, TaskEvent, TaskState)> {
    use TaskEvent::{Cancel, Deny, Fail, Resume, Start, Succeed, Wait};
    use TaskState::{Cancelled, Denied, Failed, Queued, Running, Succeeded, Waiting};
    vec![
        (Queued, Start, Running),
        (Queued, Deny, Denied),
        (Queued, Cancel, Cancelled),
        (Running, Wait, Waiting),
        (Running, Succeed, Succeeded),
        (Running, Fail, Failed),
        (Running, Deny, Denied),
        (Running, Cancel, Cancelled),
        (Waiting, Resume, Running),
        (Waiting, Cancel, Cancelled),
    ]
}

/// Everything a step may do; what is not here is illegal.
fn legal_of_step() -> Vec<(S, E, S)> {
    vec![
        (S::Pending, E::Judge, S::Judged),
        (S::Pending, E::Fail, S::Failed),
        (S::Pending, E::Skip, S::Skipped),
        (S::Pending, E::Cancel, S::Cancelled),
        (S::Judged, E::AskApproval, S::Waiting),
        (S::Judged, E::Authorize, S::Authorized),
        (S::Judged, E::Deny, S::Denied),
        (S::Judged, E::Fail, S::Failed),
        (S::Judged, E::Cancel, S::Cancelled),
        (S::Waiting, E::Authorize, S::Authorized),
        (S::Waiting, E::Deny, S::Denied),
        (S::Waiting, E::Void, S::Pending),
        (S::Waiting, E::Cancel, S::Cancelled),
        (S::Authorized, E::Start, S::Running),
        (S::Authorized, E::Fail, S::Failed),
        (S::Authorized, E::Cancel, S::Cancelled),
        (S::Running, E::Succeed, S::Succeeded),
        (S::Running, E::Fail, S::Failed),
        (S::Running, E::Deny, S::Denied),
        (S::Running, E::Cancel, S::Cancelled),
        (S::Failed, E::Retry, S::Pending),
        (S::Failed, E::Cancel, S::Cancelled),
    ]
}

#[test]
fn every_pair_of_a_task_is_legal_exactly_where_the_table_says_so() {
    let legal = legal_of_task();
    for state in TASK_STATES {
        for event in TASK_EVENTS {
            let expected = legal.iter().find(|row| (row.0, row.1) == (state, event));
            assert_eq!(
                state.next(event).ok(),
                expected.map(|row| row.2),
                "{state:?} {event:?}"
            );
        }
    }
}

#[test]
fn every_pair_of_a_step_is_legal_exactly_where_the_table_says_so() {
    let legal = legal_of_step();
    for state in STEP_STATES {
        for event in STEP_EVENTS {
            let expected = legal.iter().find(|row| (row.0, row.1) == (state, event));
            assert_eq!(
                state.next(event).ok(),
                expected.map(|row| row.2),
                "{state:?} {event:?}"
            );
        }
    }
}

#[test]
fn an_illegal_transition_is_a_sentence() {
    let task = TaskState::Succeeded.next(TaskEvent::Start).unwrap_err();
    assert_eq!(task.to_string(), "a task that is succeeded cannot start");
    let step = S::Denied.next(E::AskApproval).unwrap_err();
    assert_eq!(
        step.to_string(),
        "a step that is denied cannot wait for an approval"
    );
}

#[test]
fn the_names_are_those_of_serde() {
    for state in TASK_STATES {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
    for state in STEP_STATES {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
}

proptest! {
    #[test]
    fn a_task_that_is_over_stays_as_it_is(events in proptest::collection::vec(select(&TASK_EVENTS[..]), 0..32)) {
        let mut state = TaskState::Queued;
        for event in events {
            let next = state.next(event);
            if state.is_final() {
                prop_assert!(next.is_err(), "{state:?} took {event:?}");
            }
            state = next.unwrap_or(state);
        }
    }

    #[test]
    fn a_step_that_is_over_stays_so_unless_it_failed(events in proptest::collection::vec(select(&STEP_EVENTS[..]), 0..64)) {
        let mut state = S::Pending;
        for event in events {
            let next = state.next(event);
            if state.is_final() && state != S::Failed {
                prop_assert!(next.is_err(), "{state:?} took {event:?}");
            }
            state = next.unwrap_or(state);
        }
    }

    #[test]
    fn a_step_runs_only_after_it_was_judged_and_authorized(events in proptest::collection::vec(select(&STEP_EVENTS[..]), 0..64)) {
        let mut state = S::Pending;
        let (mut judged, mut authorized) = (false, false);
        for event in events {
            let Ok(next) = state.next(event) else { continue };
            match event {
                E::Judge => judged = true,
                E::Authorize => {
                    prop_assert!(judged);
                    authorized = true;
                }
                E::Start => prop_assert!(authorized),
                E::Retry | E::Void => (judged, authorized) = (false, false),
                _ => {}
            }
            state = next;
        }
    }
}
