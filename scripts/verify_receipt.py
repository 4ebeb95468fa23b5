#!/usr/bin/env python3
"""Verifies Stepseal receipts offline: a second opinion, written from host/stepseal-receipts/FORMAT.md alone.

    scripts/verify_receipt.py --trust trust.json receipt.stepseal.json...

Needs Python 3.9 and the package `cryptography`. Prints a verdict for each check; exit code 1 where a receipt is refused.
It does not replay the records through the state machines (FORMAT.md §5, number 6), knows no witness and no earlier
checkpoint, and runs no step again: `stepseal verify` and `stepseal replay` do.
"""
import argparse
import base64
import hashlib
import json
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RECEIPT_BYTES_MAX, TRUST_BYTES_MAX, RECORD_BYTES_MAX, DEPTH_MAX = 64 << 20, 1 << 20, 32 << 10, 16
CHECKS = ["signatures", "chain", "inclusion", "completeness", "append-only", "witnessed", "disclosure", "replay"]
IN_TOTO, BLIND1 = "application/vnd.in-toto+json", b"stepseal/payload/v1\n"
KINDS = ["task.open", "step.authorized", "step.completed", "step.failed", "step.denied", "task.close"]
SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
P = 2**255 - 19
# The y of every point of low order: of order 4, 1, 2 and 8.
LOW_ORDER = {0, 1, P - 1} | {int.from_bytes(bytes.fromhex(y), "little") for y in (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")}

class Fault(Exception):
    """What is wrong, in words."""

def need(found, what):
    if not found:
        raise Fault(what)
    return found

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def unique(pairs):
    need(len(dict(pairs)) == len(pairs), "an object has the same member twice")
    return dict(pairs)

def read(path, bytes_max):
    try:
        with open(path, "rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise Fault(f"it cannot be read: {error.strerror}") from None
    need(len(data) <= bytes_max, f"it has more than {bytes_max} bytes")
    return parse(data)

def parse(data):
    try:
        return json.loads(data.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Fault(f"it is not JSON: {error}") from None

def get(value, name, kind, default=None):
    found = value.get(name, default) if isinstance(value, dict) else None
    need(isinstance(found, kind), f"it has no member {name} that is a {kind.__name__}")
    return found

def b64(text, what, length=None):
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise Fault(f"{what} is not base64") from None
    need(base64.b64encode(data).decode() == text, f"{what} is not padded base64 with zero unused bits")
    need(length in (None, len(data)), f"{what} has {len(data)} bytes, and {length} are expected")
    return data

def integer(value, name, default=None):
    text = get(value, name, str, default)
    need(re.fullmatch("0|[1-9][0-9]{0,19}", text, re.ASCII) and int(text) < 2**64, f"{name} is not a decimal string")
    return int(text)

def digest(value, name):
    text = get(get(value, name, dict), "sha256", str)
    need(re.fullmatch("[0-9a-f]{64}", text) and len(value[name]) == 1, f"{name} is not a digest")
    return bytes.fromhex(text)

def signed_json(value, depth=0):
    """The rules of §1 that a parser does not keep: no number, no null, the names, the depth."""
    if not isinstance(value, (dict, list)):
        return need(isinstance(value, (str, bool)), "a record has no number and no null")
    need(depth < DEPTH_MAX, "a record is nested at most 16 deep")
    for name in value if isinstance(value, dict) else ():
        need(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_.-]*", name, re.ASCII), f"a record has no member {name!r}")
    for inner in value.values() if isinstance(value, dict) else value:
        signed_json(inner, depth + 1)

def public_key(raw, prefix):
    y = int.from_bytes(raw[len(prefix):], "little") & (2**255 - 1)
    need(raw.startswith(prefix) and y < P and y not in LOW_ORDER, "a key is not an Ed25519 key, or a weak one")
    return raw[len(prefix):]

def signs(key, signature, message):
    if len(signature) != 64 or int.from_bytes(signature[:32], "little") & (2**255 - 1) in LOW_ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True

def read_trust(path):
    """The origin, the log's keys by key id, and the record keys with the indexes they are valid at."""
    trust = read(path, TRUST_BYTES_MAX)
    need(get(trust, "mediaType", str) == "application/vnd.stepseal.trust.v1+json", "it is not a trust file")
    origin, logs, records = get(trust, "origin", str), {}, []
    for vkey in get(trust, "log", list):
        name, key_id, key = need(str(vkey).count("+") > 1 and vkey, "a log key is no vkey").split("+", 2)
        raw = b64(key, "a log key", 33)
        need(name == origin and key_id == sha256(name.encode(), b"\n", raw)[:4].hex(), f"{vkey} is no key of {origin}")
        logs[bytes.fromhex(key_id)] = public_key(raw, b"\x01")
    for key in get(trust, "records", list):
        raw = public_key(b64(get(key, "key", str), "a record key", 44), SPKI_PREFIX)
        records.append((raw, integer(key, "fromIndex"), integer(key, "toIndex", str(2**64 - 1))))
    return origin, need(logs, "it has no log key"), need(records, "it has no record key")

def open_checkpoint(note, origin, logs):
    text, blank, signatures = note.rpartition("\n\n")
    need(blank and signatures.endswith("\n"), "the checkpoint is not a signed note")
    text, known = text + "\n", False
    for line in signatures[:-1].split("\n"):
        dash, name, signature = (line.split(" ") + ["", ""])[:3]
        raw = b64(signature, "a signature of the checkpoint")
        need(dash == "\u2014" and len(raw) > 4 and line.count(" ") == 2, "a line of the checkpoint is no signature")
        if name == origin and raw[:4] in logs:
            known = need(signs(logs[raw[:4]], raw[4:], text.encode()), "the log's signature of the checkpoint is bad")
    need(known, "no trusted log key signed the checkpoint")
    lines = text.split("\n")
    need(len(lines) == 4 and lines[0] == origin, f"the checkpoint is not three lines of the log {origin}")
    return integer({"size": lines[1]}, "size"), b64(lines[2], "the root", 32)

def open_entry(envelope, index, keys):
    """The leaf hash and the statement of an entry, once a trusted key is known to have signed it."""
    payload, signatures = b64(get(envelope, "payload", str), "the payload"), get(envelope, "signatures", list)
    need(get(envelope, "payloadType", str) == IN_TOTO, f"payloadType is not {IN_TOTO}")
    need(len(payload) <= RECORD_BYTES_MAX, "the record has more than 32 KiB")
    need(len(signatures) == 1, f"it has {len(signatures)} signatures, and exactly one is expected")
    signature = b64(get(signatures[0], "sig", str), "the signature", 64)
    pae = b"DSSEv1 28 " + IN_TOTO.encode() + b" %d " % len(payload) + payload
    believed = [key for key, first, last in keys if first <= index <= last and signs(key, signature, pae)]
    need(believed, "no record key that is trusted at this index signed it: payload or signature was changed")
    encode = lambda data: base64.b64encode(data).decode()
    leaf = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
        "data": {"algorithm": "SHA2_256", "digest": encode(sha256(pae))}, "signature": {
            "content": encode(signature),
            "verifier": {"keyDetails": "PKIX_ED25519", "publicKey": {"rawBytes": encode(SPKI_PREFIX + believed[0])}}}}}}
    return sha256(b"\0", json.dumps(leaf, separators=(",", ":")).encode()), payload

def open_record(payload, origin):
    """The predicate of a statement whose signature was verified, if it keeps the rules of §1 and §2."""
    value = parse(payload)
    signed_json(value)
    canonical = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    # A lone surrogate cannot be encoded, and then the two differ.
    need(canonical.encode(errors="replace") == payload, "the record is not canonical JSON")
    record = get(value, "predicate", dict)
    names = ["plan"] if record.get("kind") == "task.open" else ["output", "input", "component"]
    subject = [{"name": name, "digest": record[name] if name == "plan" else get(record[name], "digest", dict)}
               for name in names if name in record]
    need(value == {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://stepseal.dev/record/v1",
                   "subject": subject, "predicate": record}, "the record is no statement of Stepseal about its subject")
    need(record.get("kind") in KINDS, f"the kind {record.get('kind')!r} is unknown")
    need(record.get("log") == origin, f"the record was written for another log, {record.get('log')!r}")
    return record

def check_inclusion(leaf, index, head, proof):
    """RFC 6962 §2.1.1, from the leaf up."""
    node, last = leaf, head[0] - 1
    need(index <= last and len(proof) <= 64, f"index {index} is beyond the log's {head[0]} entries, or the proof too long")
    for sibling in [b64(hash, "a hash of the proof", 32) for hash in proof]:
        need(last, "the proof is too long")
        if index % 2 or index == last:
            node = sha256(b"\1", sibling, node)
            while index and index % 2 == 0:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\1", node, sibling)
        index, last = index >> 1, last >> 1
    need(last == 0 and node == head[1], "it is not proven to be in the log at its index")

def check_link(record, index, leaf, before, seq):
    task = get(record, "task", dict)
    found = integer(task, "seq")
    need(found == seq, f"task.seq is {found}, and {seq} is expected: a record is missing, doubled or out of order")
    need((record.get("kind") == "task.open") == (seq == 0), "exactly the first record of a task is task.open")
    if before:
        need(index > before[0], "the indexes do not rise")
        need(digest(task, "prev") == before[1], "task.prev is not the leaf hash of the record before")
        need(get(task, "id", str) == before[2], "the record is of another task")
    else:
        need("prev" not in task, "the first record has a prev")
    return index, leaf, get(task, "id", str)

def check_close(close, count, before, allow_open):
    if close.get("kind") != "task.close":
        return not need(allow_open, "open: the last record is not task.close, so the tail is unproven (see --allow-open)")
    need(integer(close, "records") == count, f"task.close does not count {count} records")
    return need(count > 1 and digest(close, "head") == before, "task.close: head is not the leaf hash of the record before")

def claims(record):
    """The blobs that a record speaks of: name, digest, and the commitment where there is one."""
    commitments = [(record, name) for name in ("input", "output")]
    for verdict in get(record, "verdicts", list, []):
        commitments.append((verdict, "input"))
        yield digest(verdict, "settings"), None
    for owner, name in commitments:
        if name in owner:
            yield digest(owner[name], "digest"), owner[name]
    for name in [name for name in ("plan", "policies", "grants") if name in record]:
        yield digest(record, name), None
    if "hostcalls" in record:
        yield digest(record["hostcalls"], "digest"), None

def check_blob(blob, claimed):
    name = sha256(blob)
    need(name in claimed, f"the blob sha256:{name.hex()} is one of which no record speaks")
    for commitment in filter(None, claimed[name]):
        skip = len(BLIND1) + 32 if get(commitment, "commit", str) == "blind1" else 0
        need(not skip or blob.startswith(BLIND1), "a blob has not the prefix of blind1")
        need(integer(commitment, "size") == len(blob) - skip, "a blob has another size than its record says")

def verify(path, trust, allow_open):
    """The verdicts and faults of one receipt."""
    (origin, logs, keys), receipt = trust, read(path, RECEIPT_BYTES_MAX)
    need(get(receipt, "mediaType", str) == "application/vnd.stepseal.receipt.v1+json", "it is not a receipt")
    need(get(receipt, "erased", list, []) == [], "it has erased entries, which this version cannot check")
    entries, blobs = need(get(receipt, "entries", list), "it has no entry"), get(receipt, "disclosures", list, [])
    verdicts, faults = dict.fromkeys(CHECKS, "not-checked"), []

    def check(name, where, act, *arguments):
        try:
            found = act(*arguments)
        except Fault as fault:
            verdicts[name], found = "fail", None
            faults.append(f"{name}: {where}{fault}")
        else:
            verdicts[name] = "fail" if verdicts[name] == "fail" else "pass"
        return found

    head = check("signatures", "", open_checkpoint, get(receipt, "checkpoint", str), origin, logs)
    records, leaves, before, claimed = [], [], None, {}
    for number, entry in enumerate(entries):
        where = f"entries[{number}]: "
        index = check("signatures", where, integer, entry, "index")
        opened = index is not None and check("signatures", where, open_entry, get(entry, "envelope", dict, {}), index, keys)
        if opened and head:
            check("inclusion", where, check_inclusion, opened[0], index, head, get(entry, "proof", list, []))
        record = opened and check("chain", where, open_record, opened[1], origin)
        if record:
            # Behind an entry that is not believed there is nothing to link to.
            if len(records) == number:
                before = check("chain", where, check_link, record, index, opened[0], before, number)
            records.append(record)
            leaves.append(opened[0])
            for name, commitment in check("chain", where, lambda: list(claims(record))) or []:
                claimed.setdefault(name, []).append(commitment)
    if len(records) == len(entries):
        if verdicts["chain"] == "pass":
            closed = check("completeness", "", check_close, records[-1], len(records), (leaves[-2:-1] or [b""])[0], allow_open)
            verdicts["completeness"] = "pass" if closed else "not-checked" if closed is False else "fail"
        for number, blob in enumerate(blobs):
            where = f"disclosures[{number}]: "
            check("disclosure", where, lambda: check_blob(b64(get(blob, "blob", str), "the blob"), claimed))
    elif verdicts["chain"] == "pass":
        verdicts["chain"] = "not-checked"
    return verdicts, faults

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("receipts", nargs="+", metavar="RECEIPT")
    parser.add_argument("--trust", required=True, help="the trust file, which came to you by a way you trust")
    parser.add_argument("--allow-open", action="store_true", help="accept a task that is not closed")
    options, refused = parser.parse_args(), False
    try:
        trust = read_trust(options.trust)
    except Fault as fault:
        sys.exit(f"{options.trust}: {fault}")
    for path in options.receipts:
        try:
            verdicts, faults = verify(path, trust, options.allow_open)
        except Fault as fault:
            verdicts, faults = {}, [str(fault)]
        print(f"{path}: {'REFUSED' if faults else 'verified'}")
        for check, verdict in verdicts.items():
            print(f"  {check:<13} {verdict}")
        for fault in faults:
            print(f"  fault: {fault}")
        refused = refused or bool(faults)
    sys.exit(refused)

if __name__ == "__main__":
    main()
