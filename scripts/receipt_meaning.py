"""What the records of a task say together (host/stepseal-receipts/FORMAT.md, §5, numbers 5 and 6): chain, meaning, completeness.

Part of verify_receipt.py. An entry has `index`, `leaf` (its hash) and `record`. `fault(index)` gives a function that takes whether all is
well, the member and a sentence, notes a fault where it is not, and returns whether it is.
"""
import json
from types import SimpleNamespace

from receipt_format import BLIND1, PLAN_BYTES_MAX, Fault, members, many, need, parse, sha256, text

def check_links(entries, origin, fault):
    before = None
    for entry in entries:
        must, record, task = fault(entry.index), entry.record, entry.record["task"]
        must(record["log"] == origin, "log", "the record was written for another log")
        must(task, "task", "the record is of no task")
        if not task:
            continue
        if before is None:
            must(task["seq"] == 0, "task.seq", "records before it are missing")
            must(task["prev"] is None or task["seq"], "task.prev", "the first record has a prev")
        elif must(entry.index > before.index, "index", "the indexes do not rise"):
            same = must(task["id"] == before.record["task"]["id"], "task.id", "the record is of another task")
            if same and must(task["seq"] == before.record["task"]["seq"] + 1, "task.seq", "a record is missing, doubled or out of order"):
                must(task["prev"] == before.leaf, "task.prev", "it is not the leaf hash of the record before")
        must((record["kind"] == "task.open") == (task["seq"] == 0), "kind", "exactly the first record of a task is task.open")
        before = entry

def enforced(record):
    return [verdict for verdict in record["verdicts"] if verdict["mode"] == "enforce"]

def denies(verdict):
    return verdict["verdict"] == "deny" or (verdict["verdict"], verdict["stage"]) == ("needs-approval", "after-step")

def runs(record):
    return record["kind"] in ("step.authorized", "step.completed") or record["fuel"] is not None

def tell(entries, fault):
    """What the records say happened (§5, Meaning): the state of the task, its steps, and the record that opened it."""
    opened, task, steps, places = None, "queued", {}, {}
    for entry in entries:
        must, record, step = fault(entry.index), entry.record, entry.record["step"]
        kind, status = record["kind"], (record["outcome"] or {}).get("status")
        must(not (opened and opened["plan"] and record["plan"]) or opened["plan"] == record["plan"], "plan", "the task has another plan")
        if kind in ("task.open", "task.close"):
            must(not record["approvals"], "approvals", "an approval is of an attempt of a step")
        if kind == "task.open":
            opened = record
            must(record["plan"], "plan", "a task.open record must pin a plan")
        elif kind == "task.close":
            can = task == "running" or (task == "queued" and status in ("denied", "cancelled"))
            if must(status, "outcome", "it must say how the task ended") and must(
                    status in ("ok", "failed", "denied", "cancelled"), "outcome.status", "a task does not end so"):
                task = status if must(can, "kind", f"a task that is {task} cannot end {status}") else task
        elif must(step, "step", "a record of a step must say which"):
            must(places.setdefault(step["index"], step["id"]) == step["id"], "step.index", "another step is at this place of the plan")
            if must(task in ("queued", "running"), "kind", f"the task is {task} already"):
                task = "running"
                must(not (opened and runs(record) and any(map(denies, enforced(opened)))), "kind", "the step ran although the plan was denied")
                tell_step(entry, steps, opened, status, must)
    return task, steps, opened

def tell_step(entry, steps, opened, status, must):
    record, step = entry.record, entry.record["step"]
    known = steps.setdefault(step["id"], SimpleNamespace(state="pending", step=step, authorized=None, index=entry.index))
    end = {"step.authorized": None, "step.completed": "ok", "step.denied": "denied"}
    must((step["index"], step["type"]) == (known.step["index"], known.step["type"]), "step", "index or type of the step changed")
    fits = status == end[record["kind"]] if record["kind"] in end else status not in (None, "ok", "denied")
    must(fits, "outcome.status", f"a {record['kind']} record cannot be {status}")
    attempt = {"pending": 1, "failed": known.step["attempt"] + 1}.get(known.state, known.step["attempt"])
    if not must(step["attempt"] == attempt, "step.attempt", f"attempt {attempt} is expected"):
        return
    can = known.state in ("pending", "failed") or known.state == "authorized" and record["kind"] != "step.authorized" and (
        record["kind"] != "step.denied" or runs(record))
    if not must(can, "kind", f"{record['kind']} cannot follow: the attempt is {known.state}"):
        return
    check_attempt(record, known.authorized, opened, must)
    known.state = {"step.authorized": "authorized", "step.completed": "ok", "step.denied": "denied"}.get(
        record["kind"], "cancelled" if status == "cancelled" else "failed")
    known.step, known.index, known.authorized = step, entry.index, record if known.state == "authorized" else None

def check_attempt(record, authorized, opened, must):
    kind, done, fuel, limits = record["kind"], record["kind"] == "step.completed", record["fuel"], record["limits"]
    for member, needed in {"component": runs(record), "input": runs(record), "grants": kind == "step.authorized", "output": done, "fuel": done}.items():
        must(record[member] or not needed, member, f"a {kind} record must have it")
    must(not fuel or fuel["used"] <= fuel["limit"], "fuel.used", "it is over the limit")
    must(not fuel or not limits or fuel["limit"] == limits["fuel"], "fuel.limit", "it is not limits.fuel")
    must(authorized or not record["hostcalls"] or not record["hostcalls"]["count"], "hostcalls.count", "the effects were not authorized")
    for path in ("component.digest", "input.digest", "grants", "policies", "limits") if authorized else ():
        member = path.split(".")[0]
        one, other = ((of[member] or {}).get("digest") if "." in path else of[member] for of in (record, authorized))
        must(one is None or other is None or one == other, path, "what ran is not what was authorized")
    approvals, sources = record["approvals"], [source for source in (record, authorized) if source]
    if approvals:
        first = lambda member: next((source[member] for source in sources if source[member] is not None), None)
        policies = first("policies") or (opened or {}).get("policies")
        digests = {"component": (first("component") or {}).get("digest"), "input": (first("input") or {}).get("digest"),
                   "grants": first("grants"), "policies": policies}
        absent = next((name for name, found in digests.items() if found is None), None)
        if must(not absent, absent, "the subject of the approvals cannot be computed without it"):
            shown = {"task": record["task"]["id"], "step": record["step"]["id"], "attempt": str(record["step"]["attempt"]),
                     **{name: {"sha256": found.hex()} for name, found in digests.items()}}
            subject = sha256(json.dumps(shown, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode())
            for number, approval in enumerate(approvals):
                must(approval["subject"] == subject, f"approvals[{number}].subject", "the approval is of something else")
    rejected = any(approval["decision"] == "reject" for approval in approvals)
    if runs(record):
        for verdict in enforced(record):
            must(not denies(verdict) or (kind, verdict["stage"]) == ("step.denied", "after-step"), "verdicts", "a policy denied what ran")
        must(not rejected or kind == "step.denied", "approvals", "a person rejected what ran")
        given = [approval for source in sources for approval in source["approvals"] if approval["decision"] == "approve"]
        for verdict in enforced(record) + (enforced(opened) if opened and not authorized else []):
            if verdict["verdict"] == "needs-approval" and not denies(verdict):
                people = {approval["approver"] for approval in given if verdict["role"] in (None, approval["role"])}
                must(len(people) >= max(verdict["approvers"] or 1, 1), "approvals", f"{len(people)} people approved, which is too few")
        allowed = any(v["stage"] == "before-step" and v["verdict"] in ("allow", "needs-approval") for v in enforced(record))
        must(kind != "step.authorized" or allowed or any(approval["decision"] == "approve" for approval in approvals),
             "approvals", "nobody allowed the effectful step")
    if kind == "step.denied":
        coded = record["outcome"] and record["outcome"]["code"] is not None
        must(any(map(denies, enforced(record))) or rejected or coded, "verdicts", "nothing says who denied the step")

def check_end(entries, story, blobs, allow_open, fault):
    (task, steps, opened), last, must = story, entries[-1], fault(None)
    plan = opened and next((blob for blob in blobs if sha256(blob) == opened["plan"]), None)
    if plan is not None:
        try:
            need(plan.startswith(BLIND1) and len(plan) >= len(BLIND1) + 32, "plan", "it is no blind1 blob")
            plan = members(steps=many(members(id=text), PLAN_BYTES_MAX).reader)(parse(plan[len(BLIND1) + 32:], PLAN_BYTES_MAX, 128, "plan"), "plan")
            ids = [step["id"] for step in plan["steps"]]
        except Fault as reason:
            return must(False, "plan", f"the disclosed plan cannot be read: {reason.args[1]}")
        for id, known in steps.items():
            fault(known.index)(ids[known.step["index"]:][:1] == [id], "plan", "the step is not at its place of the plan")
        must(task != "ok" or set(ids) <= set(steps), "plan", "the task is ok, and a step of its plan has no record")
    if last.record["kind"] != "task.close":
        return must(allow_open, "entries", "open: tail unproven, the last record is not task.close (see --allow-open)")
    must, states = fault(last.index), {known.state for known in steps.values()}
    must(last.record["records"] == len(entries), "records", f"the task has {len(entries)} records")
    must(last.record["head"] == (entries[-2].leaf if len(entries) > 1 else None), "head", "it is not the leaf hash of the record before")
    denied = "denied" in states or any(map(denies, enforced(opened)))
    must({"ok": states <= {"ok"}, "failed": "failed" in states, "denied": denied}.get(task, True), "outcome.status", f"the steps did not end {task}")
    for known in steps.values():
        fault(known.index)(known.state != "authorized", "step", "it was authorized, and nothing says how it ended")
