#!/usr/bin/env python3
"""Verifies Stepseal receipts offline: a second opinion, written from host/stepseal-receipts/FORMAT.md alone.

Needs Python 3.9 and the package `cryptography`. Prints a verdict for each check and what is wrong, of a chain only the first; exit code 1
where a receipt is refused. It asks no witnesses (verify_witnesses.py does) and runs no step again (`stepseal replay` does).
"""
import argparse, base64, datetime, decimal, hashlib, json, re, sys, types
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
CHECKS, END = ("signatures", "chain", "inclusion", "completeness", "append-only", "witnessed", "disclosure", "replay"), 2**64 - 1
RECEIPT_BYTES_MAX, PLAN_BYTES_MAX, TRUST_BYTES_MAX, NOTE_BYTES_MAX, RECORD_BYTES_MAX = 64 << 20, 16 << 20, 1 << 20, 64 << 10, 32 << 10
IN_TOTO, BLIND1, SPKI = "application/vnd.in-toto+json", b"stepseal/payload/v1\n", bytes.fromhex("302a300506032b6570032100")
P, Y, KEY_NAME = 2**255 - 19, 2**255 - 1, r"[^\s\0-\x1f\x7f-\x9f+]{1,255}"
LOW_ORDER = {0, 1, P - 1} | {int.from_bytes(bytes.fromhex(y), "little") for y in (  # the y of points of order 4, 1, 2 and 8
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")}
def need(condition, message, result=True):
    if not condition: raise ValueError(message)
    return result
def sha256(*parts): return hashlib.sha256(b"".join(parts)).digest()
def unique(pairs): return need(len(dict(pairs)) == len(pairs), "an object has the same member twice", dict(pairs))
def whole(digits):  # what a double holds exactly, or the way RFC 8785 writes one
    near = float(digits)
    return need(int(near) == int(digits) or abs(near) < 1e21 and decimal.Decimal(repr(near)) == int(digits), "an integer is inexact", near)
def walk(value, depth, signed):
    if not isinstance(value, (dict, list)):
        return need(not signed or isinstance(value, (str, bool)), "signed JSON has no number and no null")
    named = not signed or isinstance(value, list) or all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_.-]*", name) for name in value)
    need(depth and named, "it is nested too deep, or signed JSON has a member of another name")
    for inner in value.values() if isinstance(value, dict) else value: walk(inner, depth - 1, signed)
def canonical(value):  # RFC 8785 of what has no number; no lone surrogate, NaN or infinity gets through
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
def parse(data, bytes_max, depth, signed=False):
    need(len(data) <= bytes_max, f"it has more than {bytes_max} bytes")
    value = json.loads(data.decode(), object_pairs_hook=unique, parse_int=whole)
    walk(value, depth, signed)
    return need(canonical(value) == data or not signed, "signed JSON must be canonical", value)
def read(shape, value, others=False):  # a shape is a function, [shape of the items, least, most], or {"name": shape, "absent?": shape}
    if callable(shape): return shape(value)
    if isinstance(shape, list):
        need(isinstance(value, list) and shape[1] <= len(value) <= shape[2], f"a list of {shape[1]} to {shape[2]} items is expected")
        return [read(shape[0], item, others) for item in value]
    known, strict = {name.rstrip("?"): inner for name, inner in shape.items()}, not others and shape is not RECEIPT
    fits = isinstance(value, dict) and (not strict or value.keys() <= known.keys())
    need(fits and all(name[-1] == "?" or name in value for name in shape), f"an object with the members {', '.join(shape)} is expected")
    return {name: read(part, value[name], others) if name in value else [] if type(part) is list else None for name, part in known.items()}
def match(pattern): return lambda value: need(isinstance(value, str) and re.fullmatch(pattern, value, re.A), f"it is no {pattern}", value)
def integer(value, most=END): return need(int(match("0|[1-9][0-9]{0,19}")(value)) <= most, f"it must be at most {most}", int(value))
def b64(value, length=None):
    data = base64.b64decode(text(value), validate=True)
    return need(base64.b64encode(data).decode() == value and length in (None, len(data)), "it is no base64, or of another length", data)
def time(value): return datetime.datetime.fromisoformat(match(r"(19[7-9]|[2-9]\d\d)\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")(value)[:-1])
def point(raw):  # a public key: the canonical encoding of a point on the curve, not of low order
    y = int.from_bytes(raw, "little") & Y
    square = (y * y - 1) * (-121665 * pow(121666, P - 2, P) * y * y + 1)
    return need(y < P and y not in LOW_ORDER and pow(square, (P - 1) // 2, P) in (0, 1), "it is no Ed25519 key, or a weak one", raw)
def spki(value): return need(b64(value, 44)[:12] == SPKI, "it is no Ed25519 key", point(b64(value, 44)[12:]))
def vkey(value, kind):  # name, key id and key of a log (kind 1) or a witness (4)
    name, key_id, raw = (re.fullmatch(rf"({KEY_NAME})\+([0-9a-f]{{8}})\+(.+)", text(value)) or need(False, "it is no vkey")).groups()
    own, raw = sha256(name.encode(), b"\n", b64(raw, 33))[:4], b64(raw, 33)
    return need(raw[0] == kind and own.hex() == key_id, "a vkey is of another type, or its key id is wrong", (name, own, point(raw[1:])))
text, anything, small = match("(?s).*"), lambda value: value, lambda value: integer(value, 2**32 - 1)
hash32, hexadecimal = lambda value: b64(value, 32), lambda length: match(f"[0-9a-f]{{{length}}}")
digest = lambda value: bytes.fromhex(read({"sha256": hexadecimal(64)}, value)["sha256"])
FAILURE = "failed|invalid-input|unavailable|trap|out-of-fuel|out-of-memory|timeout|cancelled"
OF_ACTS = ("actor", "plugin", "binding", "key", "erasure", "shard")
BLOB = {"digest": digest, "size": integer, "commit": match("blind1|plain")}
VERDICT = {"policy": digest, "name": text, "stage": match("plan|before-step|after-step"), "mode": match("enforce|monitor"), "input": BLOB,
           "verdict": match("not-applicable|allow|needs-approval|deny"), "code?": text, "reason?": text, "approvers?": small, "role?": text,
           "settings": digest, "fuel": integer}
APPROVAL = {"approver": text, "envelope?": digest, **(SAID := {"decision": match("approve|reject"), "role?": text, "subject": digest})}
RECORD = {
    "kind": match(r"task\.(open|close)|step\.(authorized|completed|failed|denied)|erasure|component\.added|shard\.open|(grant|policy)\."
        r"changed|key\.(rotate|revoke)"), "log": text, "nonce": hexadecimal(32), "task?": {"id": text, "seq": integer, "prev?": digest},
    "step?": {"id": text, "index": integer, "attempt": small, "type": text}, "plan?": digest, "policies?": digest, "records?": integer,
    "component?": {"name": text, "version": text, "digest": digest}, "runtime?": {"host": text, "engine": text, "config": digest},
    "limits?": dict.fromkeys(("fuel", "memory", "wallMs", "input", "output"), integer), "seed?": hexadecimal(64), "head?": digest,
    "verdicts?": [VERDICT, 0, 256], "approvals?": [APPROVAL, 0, 256], "hostcalls?": {"count": integer, "digest": digest}, "grants?": digest,
    "fuel?": {"limit": integer, "used": integer}, "memory?": {"limit": integer, "peak": integer}, "time?": {"start": time, "end": time},
    "outcome?": {"status": match(f"ok|denied|{FAILURE}"), "code?": text, "message?": text}, **{f"{name}?": anything for name in OF_ACTS},
    "trace?": {"traceId": hexadecimal(32), "spanId": hexadecimal(16)}, **dict.fromkeys(("input?", "output?"), {**BLOB, "mediaType": text})}
STATEMENT = {"_type": match(r"https://in-toto\.io/Statement/v1"), "predicateType": match(r"https://stepseal\.dev/record/v1"),
             "subject": [{"name": text, "digest": digest}, 0, 256], "predicate": anything}
PROOF, SIGNATURE = [hash32, 0, 64], {"keyid?": match("(?s).{0,256}"), "sig": lambda value: b64(value, 64)}
DSSE = {"payload": b64, "payloadType": match("(?s).{0,255}"), "signatures": [SIGNATURE, 1, 16]}
RECEIPT = {"mediaType": match(r"application/vnd\.stepseal\.receipt\.v1\+json"), "checkpoint": text, "erased?": [anything, 0, END],
           "entries?": [{"index": integer, "envelope": DSSE, "proof?": PROOF, "shared?": small}, 0, 10**5], "approvals?": [DSSE, 0, 10**5],
           "disclosures?": [{"blob": b64}, 0, 400_000], "consistency?": [{"size": integer, "proof?": PROOF}, 0, 64]}
TRUST = {"mediaType": match(r"application/vnd\.stepseal\.trust\.v1\+json"), "origin": match("(?=.{1,255}$)[!-*,-.0-~]+(/[!-*,-.0-~]+)*"),
         "log": [lambda value: vkey(value, 1), 1, 256], "records": [{"key": spki, "fromIndex": integer, "toIndex?": integer}, 1, 256],
         "approvers?": [{"name": match("(?s).+"), "key": spki, "fromIndex?": integer, "toIndex?": integer}, 0, 256],
         "root?": [spki, 0, 256]}
def ranged(key): return key["key"], key["fromIndex"] or 0, END if key["toIndex"] is None else key["toIndex"]
def read_trust(data):
    trust = read(TRUST, parse(data, TRUST_BYTES_MAX, 8))
    need({name for name, _, _ in trust["log"]} == {trust["origin"]}, "a log key has another name than the origin")
    trust["records"], people = [ranged(key) for key in trust["records"]], [ranged(key) for key in trust["approvers"]]
    others = [(key, 0, END) for key in [own for _, _, own in trust["log"]] + trust["root"]]
    trust["keys"] = trust["records"] + [(key, 0, END if first <= last else -1) for key, first, last in people] + others
    for place, (key, first, last) in enumerate(trust["keys"]):
        apart = all(key != other or last < begin or end < first for other, begin, end in trust["keys"][:place])
        need(first <= last and apart, "a key stands twice, or its range ends before it begins")
    return trust
def signs(key, signature, message):
    try: Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError): return False
    return int.from_bytes(signature[:32], "little") & Y not in LOW_ORDER
def signers(note, keys, verifies=signs):  # the text of a signed note and the keys that signed it; a bad signature of one rejects it
    (body, blank, lines), found = note.rpartition("\n\n"), set()
    short = len(note.encode()) <= NOTE_BYTES_MAX and lines.count("\n") <= 100
    need(short and blank and lines[-1:] == "\n" and not re.search("[\0-\x09\x0b-\x1f]", note), "it is no signed note, or too long")
    for line in lines[:-1].split("\n"):
        name, raw = (re.fullmatch(f"\u2014 ({KEY_NAME}) ([^ ]+)", line) or need(False, "a line is no signature")).groups()
        raw = need(len(b64(raw)) > 4, "a signature is too short", b64(raw))
        for key in (key for key in keys if key[:2] == (name, raw[:4])):
            found.add(need(verifies(key[2], raw[4:], (body + "\n").encode()), f"the signature of {name} is bad", key))
    return body, found
def open_checkpoint(note, trust):
    body, found = signers(note, trust["log"])
    origin, size, root = need(found and body.count("\n") == 2, "no log signed it, or it is not three lines", body).split("\n")
    need(origin == trust["origin"] and (integer(size, 2**62) or hash32(root) == sha256()), "it is of another log, or not of the empty one")
    return int(size), hash32(root)
def pae(envelope): return b"DSSEv1 28 %s %d %s" % (IN_TOTO.encode(), len(envelope["payload"]), envelope["payload"])
def believe(envelope, keys):  # the key that made the one signature of an envelope
    need(envelope["payloadType"] == IN_TOTO and len(envelope["signatures"]) == 1, f"one signature over {IN_TOTO} is expected")
    found = [key for key in keys if signs(key, envelope["signatures"][0]["sig"], pae(envelope))]
    return need(found, "no key that is trusted here signed it: payload or signature was changed", found)[0]
def leaf_hash(envelope, key):
    parts = map(base64.b64encode, (sha256(pae(envelope)), envelope["signatures"][0]["sig"], SPKI + key))
    return sha256(b'\0{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256","digest":"%s"'
                  b'},"signature":{"content":"%s","verifier":{"keyDetails":"PKIX_ED25519","publicKey":{"rawBytes":"%s"}}}}}}' % (*parts,))
def read_record(payload):
    record = read(RECORD, (statement := read(STATEMENT, parse(payload, RECORD_BYTES_MAX, 16, True)))["predicate"], True)
    named = ["plan"] if record["kind"] == "task.open" else ["output", "input", "component"]
    subject = [{"name": name, "digest": pinned(name, record)} for name in named if record[name]]
    return need(statement["subject"] == subject, "the subject is not the record's digests", record)
def climb(node, path, inner, proof, old=False):  # the root above a node; to its right is only what is newer than an old tree
    for level, sibling in enumerate(proof):
        node = sha256(b"\1", sibling, node) if level >= inner or path >> level & 1 else node if old else sha256(b"\1", node, sibling)
    return node
def included(leaf, index, head, proof):  # RFC 6962 §2.1.1
    inner = (index ^ head[0] - 1).bit_length()
    fits = index < head[0] and len(proof) == inner + bin(index >> inner).count("1")
    return need(fits and climb(leaf, index, inner, proof) == head[1], "it is not proven to be in the log at its index")
def check_seen(head, note, trust, proofs):  # §5.8, RFC 6962 §2.1.2: whether there is an answer
    size, root = open_checkpoint(note, trust)
    need(head[0] > size or head == (size, root), "the log was rewound, or signed two heads of one size: keep both, they prove it")
    proof = {item["size"]: item["proof"] for item in proofs}.get(size, None if size else [])
    if not size or head[0] == size: return need(size or not proof, "a proof from the empty log has no hash")
    if proof is None: return False
    path, inner = size - 1 >> (shift := (size & -size).bit_length() - 1), (size - 1 ^ head[0] - 1).bit_length() - shift
    node, *rest = proof if path and proof else [root, *proof]
    proven = (climb(node, path, inner, rest, True), climb(node, path, inner, rest)) == (root, head[1])
    return need(proven and len(rest) == inner + bin(path >> inner).count("1"), "the log does not continue the one last seen")
def enforced(record): return [verdict for verdict in record["verdicts"] if verdict["mode"] == "enforce"]
def denies(verdict): return verdict["verdict"] == "deny" or (verdict["verdict"], verdict["stage"]) == ("needs-approval", "after-step")
def denied(record): return any(map(denies, enforced(record)))
def runs(record): return record["kind"] in ("step.authorized", "step.completed") or record["fuel"] is not None
def pinned(name, *records):  # what the first of the records that has the member says: its digest, where it has one
    found = next((record[name] for record in records if record and record[name] is not None), None)
    return found["digest"] if name in ("output", "component", "input") and found else found
def tell(story, record):  # goes on with the story by one record, if that can have happened (§5, Meaning)
    kind, step, opened, status = record["kind"], record["step"], story.opened, (record["outcome"] or {"status": None})["status"]
    need(opened["plan"] and record["plan"] in (None, opened["plan"]), "the task pins no plan, or another one")
    foreign = OF_ACTS if kind[:4] == "step" else (*OF_ACTS, "approvals")
    need(not any(record[name] not in (None, []) for name in foreign), f"a {kind} record has none of {foreign}")
    if kind == "task.close":
        can = status in (("ok", "failed", "denied", "cancelled") if story.task == "running" else ("denied", "cancelled"))
        story.task = need(can and story.task in ("queued", "running"), f"a task that is {story.task} cannot end {status}", status)
    if kind[:4] == "task": return
    need(step and story.task in ("queued", "running"), f"it says no step, or the task is {story.task}")
    story.task, known = "running", story.steps.setdefault(step["id"], types.SimpleNamespace(state="pending", step=step, authorized=None))
    placed = story.places.setdefault(step["index"], step["id"]) == step["id"] and step["index"] == known.step["index"]
    need(placed and step["type"] == known.step["type"] and not (runs(record) and denied(opened)), "it is elsewhere, or the plan was denied")
    fits = {"step.authorized": [None], "step.completed": ["ok"], "step.denied": ["denied"]}.get(kind, FAILURE.split("|"))
    attempt = {"pending": 1, "failed": known.step["attempt"] + 1}.get(known.state, known.step["attempt"])
    need(status in fits and step["attempt"] == attempt, f"a {kind} record cannot be {status}, or attempt {attempt} is expected")
    ends = known.state == "authorized" and kind != "step.authorized" and (kind != "step.denied" or runs(record))
    need(ends or known.state in ("pending", "failed"), f"{kind} cannot follow: the attempt is {known.state}")
    check_attempt(record, known.authorized, opened)
    known.state, known.step = "cancelled" if status == "cancelled" else kind[5:], step
    known.authorized = record if kind == "step.authorized" else None
def check_attempt(record, authorized, opened):
    kind, fuel, approvals, rules, ran = record["kind"], record["fuel"], record["approvals"], enforced(record), runs(record)
    needed = ["component", "input"] * ran + ["grants"] * (kind == "step.authorized") + ["output", "fuel"] * (kind == "step.completed")
    need(all(record[name] for name in needed), f"a {kind} record needs {needed}")
    limits = record["limits"] or {"fuel": fuel and fuel["limit"]}
    need(not fuel or fuel["used"] <= fuel["limit"] == limits["fuel"], "fuel is over the limit, or that is not limits.fuel")
    need(authorized or not record["hostcalls"] or not record["hostcalls"]["count"], "the effects were not authorized")
    for name in ("component", "input", "grants", "policies", "limits"):
        need(pinned(name, record) in (None, pinned(name, authorized, record)), f"{name}: what ran is not what was authorized")
    shown = {name: pinned(name, record, authorized, name == "policies" and opened) for name in ("component", "input", "grants", "policies")}
    need(not approvals or None not in shown.values(), "the subject of the approvals cannot be computed")
    ids = {"task": record["task"]["id"], "step": record["step"]["id"], "attempt": str(record["step"]["attempt"])}
    subject = sha256(canonical({**ids, **{name: {"sha256": found.hex()} for name, found in shown.items() if found}}))
    need(all(approval["subject"] == subject for approval in approvals), "an approval is of something else")
    rejected, after = any(approval["decision"] == "reject" for approval in approvals), kind == "step.denied"
    no = [verdict for verdict in rules if denies(verdict) and not (after and verdict["stage"] == "after-step")]
    need(not ran or not no and (after or not rejected), "a policy denied or a person rejected what ran")
    given = [approval for approval in approvals + (authorized or {"approvals": []})["approvals"] if approval["decision"] == "approve"]
    for verdict in rules + ([] if authorized else enforced(opened)):
        people = {approval["approver"] for approval in given if verdict["role"] in (None, approval["role"])}
        asked = ran and verdict["verdict"] == "needs-approval" and not denies(verdict)
        need(not asked or len(people) >= max(verdict["approvers"] or 1, 1), f"{len(people)} people approved, which is too few")
    allowed = given or any(verdict["stage"] == "before-step" and verdict["verdict"] in ("allow", "needs-approval") for verdict in rules)
    need(kind != "step.authorized" or allowed, "nobody allowed the effectful step")
    need(not after or denied(record) or rejected or record["outcome"]["code"] is not None, "nothing says who denied the step")
def payload_of(blob): return need(blob.startswith(BLIND1) and len(blob) >= len(BLIND1) + 32, "no blind1 blob", blob[len(BLIND1) + 32:])
def check_end(entries, story, blobs, allow_open):  # whether the receipt tells the whole of the task; returns whether that is closed
    plan, close, states = blobs.get(story.opened["plan"]), entries[-1].record, {known.state for known in story.steps.values()}
    if plan is not None:
        steps = read({"steps": [{"id": text}, 0, END]}, parse(payload_of(plan), PLAN_BYTES_MAX, 128), True)["steps"]
        placed = all(steps[known.step["index"]:][:1] == [{"id": name}] for name, known in story.steps.items())
        missing = story.task == "ok" and {step["id"] for step in steps} - story.steps.keys()
        need(placed and not missing, "a step is not at its place of the plan, or has no record although the task is ok")
    if close["kind"] != "task.close": return need(allow_open, "open: tail unproven, task.close is missing (see --allow-open)", False)
    need((close["records"], close["head"]) == (len(entries), entries[-2].leaf), "records or head of task.close are wrong")
    fits = {"ok": states <= {"completed"}, "failed": "failed" in states, "denied": "denied" in states or denied(story.opened)}
    need(fits.get(story.task, True) and "authorized" not in states, "the steps did not end so, or one was authorized and has no result")
def check_envelopes(envelopes, entries, approvers):
    given = [(approval, entry.index) for entry in entries for approval in entry.record["approvals"]]
    shown, named = {sha256(pae(envelope)): envelope for envelope in envelopes}, {approval["envelope"] for approval, _ in given}
    need(len(shown) == len(envelopes) and shown.keys() == named - {None}, "an approver's envelope is missing or too much")
    for approval, index in given:
        begun = [ranged(key) for key in approvers if key["name"] == approval["approver"] and ranged(key)[1] <= index]
        envelope = shown.get(approval["envelope"]) or need(not begun, "an approver who has a key did not sign", None)
        signer = envelope and believe(envelope, [key for key, _, last in begun if index <= last])
        said = signer and read(SAID, parse(envelope["payload"], RECORD_BYTES_MAX, 16, True), True)
        need(not said or said == {member: approval[member] for member in said}, "an approver's envelope says something else")
def claims(record):  # every blob that a record speaks of
    sized = [record["input"], record["output"], *(verdict["input"] for verdict in record["verdicts"]), record["hostcalls"]]
    plain = [record["plan"], record["policies"], record["grants"], *(verdict["settings"] for verdict in record["verdicts"])]
    return [claim for claim in sized if claim] + [{"digest": name} for name in plain if name]
def check_disclosures(disclosures, blobs, entries):
    spoken = [claim for entry in entries for claim in claims(entry.record)]
    need(len(blobs) == len(disclosures) and blobs.keys() <= {claim["digest"] for claim in spoken}, "a blob is unspoken of, or stands twice")
    for blob, claim in [(blobs[claim["digest"]], claim) for claim in spoken if "size" in claim and claim["digest"] in blobs]:
        need(len(payload_of(blob) if claim["commit"] == "blind1" else blob) == claim["size"], "a blob has another size than a record says")
    return bool(blobs)
def check_chain(entries, origin):
    for before, entry in zip([None, *entries], entries):
        record, task = entry.record, entry.record["task"]
        need(record["log"] == origin and task and record["kind"][:4] in ("task", "step"), "it is of another log, or of no task")
        risen = not before or entry.index > before.index and task["id"] == before.record["task"]["id"]
        expected = (before.record["task"]["seq"] + 1, before.leaf) if before else (0, None)
        need(risen and (task["seq"], task["prev"]) == expected, "a record is missing, doubled, out of order or of another task")
        need((record["kind"] == "task.open") == (not before), "exactly the first record of a task is task.open")
    story = need(entries, "no entry", types.SimpleNamespace(task="queued", steps={}, places={}, opened=entries and entries[0].record))
    for entry in entries: tell(story, entry.record)
    return story
def read_receipt(data):
    receipt = read(RECEIPT, parse(data, RECEIPT_BYTES_MAX, 16))
    need(not receipt["erased"], "this verifier cannot check erased entries, and refuses a receipt that has some; `stepseal verify` can")
    for before, entry in zip([{"proof": []}, *receipt["entries"]], receipt["entries"]):
        own, short = len(entry["proof"]), len(before["proof"]) - (entry["shared"] or 0)
        entry["proof"] += need(short >= 0 and own + (entry["shared"] or 0) <= 64, "it shares too many hashes", before["proof"][short:])
    return need((sizes := [item["size"] for item in receipt["consistency"]]) == sorted(set(sizes)), "sizes do not rise", receipt)
def verify(data, trust, allow_open=False, last_seen=None, witnessed=None):  # verdicts, faults, and what was asked and is not answered
    faults, answers = [], {}
    def check(name, act, *arguments):  # what `act` returns: False where there is no answer; None where there is a fault
        try: answers[name] = act(*arguments)
        except (ValueError, ArithmeticError, RecursionError) as fault: return faults.append((name, str(fault)))
        return answers[name]
    receipt, entries = check("receipt", read_receipt, data), []
    head = receipt and check("signatures", open_checkpoint, receipt["checkpoint"], trust)
    for entry in receipt["entries"] if receipt else ():
        key = check("signatures", believe, entry["envelope"], [own for own, low, high in trust["records"] if low <= entry["index"] <= high])
        record = key and check("chain", read_record, entry["envelope"]["payload"])
        if record: entries.append(types.SimpleNamespace(record=record, leaf=leaf_hash(entry["envelope"], key), **entry))
    for entry in entries if head else (): check("inclusion", included, entry.leaf, entry.index, head, entry.proof)
    if receipt: check("signatures", check_envelopes, receipt["approvals"], entries, trust["approvers"])
    if receipt and len(entries) == len(receipt["entries"]):  # around an entry that is not believed the others make no chain
        blobs = {sha256(item["blob"]): item["blob"] for item in receipt["disclosures"]}
        story = check("chain", check_chain, entries, trust["origin"])
        if story: check("completeness", check_end, entries, story, blobs, allow_open)
        check("disclosure", check_disclosures, receipt["disclosures"], blobs, entries)
    else: answers.update(chain=False, inclusion=False)
    if head and witnessed: check("witnessed", witnessed, receipt["checkpoint"], trust)
    if head and last_seen is not None: check("append-only", check_seen, head, last_seen, trust, receipt["consistency"])
    verdict = lambda name: "fail" if name in dict(faults) else "not-checked" if answers.get(name, False) is False else "pass"
    return {name: verdict(name) for name in CHECKS}, faults, ["append-only"] * (answers.get("append-only") is False)
def load(path, bytes_max): return open(path, "rb").read(bytes_max + 1)
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("receipts", nargs="+", metavar="RECEIPT")
    parser.add_argument("--trust", required=True, help="the trust file, which came to you by a way you trust")
    parser.add_argument("--last-seen", metavar="NOTE", help="the last checkpoint of this log that you saw")
    parser.add_argument("--allow-open", action="store_true", help="accept a task that is not closed")
    trust, refused = read_trust(load((options := parser.parse_args()).trust, TRUST_BYTES_MAX)), False
    seen = load(options.last_seen, NOTE_BYTES_MAX).decode() if options.last_seen else None
    for path in options.receipts:
        verdicts, faults, unanswered = verify(load(path, RECEIPT_BYTES_MAX), trust, options.allow_open, seen)
        refused |= bool(faults or unanswered)
        print(f"{path}: {'REFUSED' if faults or unanswered else 'verified'}")
        for name, verdict in verdicts.items(): print(f"  {name:<13} {verdict}{' although asked' * (name in unanswered)}")
        for name, message in faults: print(f"  fault: {name}: {''.join(char if char.isprintable() else '?' for char in message)[:1000]}")
    sys.exit(refused)
if __name__ == "__main__":
    try: main()
    except (OSError, ValueError, ArithmeticError, RecursionError) as error: sys.exit(f"error: {error}")
