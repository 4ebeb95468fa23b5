#!/usr/bin/env python3
"""Verifies Stepseal receipts offline: a second opinion, written from host/stepseal-receipts/FORMAT.md alone.

    scripts/verify_receipt.py --trust trust.json receipt.stepseal.json...

Needs Python 3.9 and the package `cryptography`; its other parts are receipt_format.py and receipt_meaning.py beside it. Prints a verdict
for each check and each fault with its place; exit code 1 where a receipt is refused. It knows no witness and runs no step again:
`stepseal replay` does.
"""
import argparse
import base64
import json
import re
import sys
from types import SimpleNamespace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from receipt_format import (BLIND1, LOW_ORDER, P, RECEIPT, RECEIPT_BYTES_MAX, RECORD_BYTES_MAX, SPKI_PREFIX, STATEMENT, TRUST,
                            TRUST_BYTES_MAX, Fault, b64, digest, integer, key, match, members, need, parse, sha256, text)
from receipt_meaning import check_end, check_links, tell

NOTE_BYTES_MAX, IN_TOTO = 64 << 10, "application/vnd.in-toto+json"
CHECKS = ["signatures", "chain", "inclusion", "completeness", "append-only", "witnessed", "disclosure", "replay"]

def read_trust(data):
    trust = TRUST(parse(data, TRUST_BYTES_MAX, 8), "")
    places, logs = [], {}
    for number, vkey in enumerate(trust["log"]):
        at = f"log[{number}]"
        name, key_id, raw = need(vkey.count("+") > 1 and vkey, at, "it is no vkey").split("+", 2)
        raw = b"\x01" + key(b"\x01")(raw, at)
        need(name == trust["origin"] and key_id == sha256(name.encode(), b"\n", raw)[:4].hex(), at, f"it is no key of {trust['origin']}")
        logs[bytes.fromhex(key_id)] = raw[1:]
        places.append((raw[1:], at, 0, 2**64))
    for number, entry in enumerate(trust["records"]):
        need(entry["fromIndex"] <= entry["toIndex"], f"records[{number}].toIndex", "the range ends before it begins")
        places.append((entry["key"], f"records[{number}]", entry["fromIndex"], entry["toIndex"]))
    places += [(entry["key"], f"approvers[{number}]", 0, 2**64) for number, entry in enumerate(trust["approvers"])]
    places += [(raw, f"root[{number}]", 0, 2**64) for number, raw in enumerate(trust["root"])]
    for number, (raw, at, first, last) in enumerate(places):
        for other, _, begin, end in places[:number]:
            need(raw != other or first > end or begin > last, at, "the key stands twice")
    return {**trust, "log": logs}

def signs(key, signature, message):
    try:
        need(int.from_bytes(signature[:32], "little") & P + 18 not in LOW_ORDER, "", "R is of low order")
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError, Fault):
        return False
    return True

def open_checkpoint(note, trust, member):
    need(len(note.encode()) <= NOTE_BYTES_MAX and not re.search("[\0-\x09\x0b-\x1f]", note), member, "it is too long, or has a control character")
    body, blank, signatures = note.rpartition("\n\n")
    need(blank and signatures.endswith("\n") and signatures.count("\n") <= 100, member, "it is not a signed note")
    body, known = body + "\n", False
    for line in signatures[:-1].split("\n"):
        name, signature = match("\u2014 [^\\s+]{1,255} [^ ]+")(line, member)[2:].split(" ")
        raw = b64()(signature, member)
        need(len(raw) > 4, member, "a signature is too short")
        if name == trust["origin"] and raw[:4] in trust["log"]:
            known = need(signs(trust["log"][raw[:4]], raw[4:], body.encode()), member, "the log's signature is bad")
    need(known, member, "no trusted log key signed it")
    lines = body.split("\n")
    need(len(lines) == 4 and lines[0] == trust["origin"], member, f"it is not three lines of the log {trust['origin']}")
    head = integer(lines[1], member, 2**62), b64(32)(lines[2], member)
    return need((head[0] or head[1] == sha256()) and head, member, "an empty log has the root of the empty tree")

def pae(envelope):
    kind, payload = envelope["payloadType"].encode(), envelope["payload"]
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)

def believe(envelope, keys, member):
    """The key that made the one signature of an envelope."""
    need(envelope["payloadType"] == IN_TOTO, f"{member}payloadType", f"it must be {IN_TOTO}")
    need(len(envelope["signatures"]) == 1, f"{member}signatures", "exactly one signature is expected")
    believed = [key for key in keys if signs(key, envelope["signatures"][0]["sig"], pae(envelope))]
    return need(believed, f"{member}signatures", "no key that is trusted here signed it: payload or signature was changed")[0]

def leaf_hash(envelope, key):
    encode = lambda data: base64.b64encode(data).decode()
    leaf = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
        "data": {"algorithm": "SHA2_256", "digest": encode(sha256(pae(envelope)))}, "signature": {
            "content": encode(envelope["signatures"][0]["sig"]),
            "verifier": {"keyDetails": "PKIX_ED25519", "publicKey": {"rawBytes": encode(SPKI_PREFIX + key)}}}}}}
    return sha256(b"\0", json.dumps(leaf, separators=(",", ":")).encode())

def read_record(payload):
    statement = STATEMENT(parse(payload, RECORD_BYTES_MAX, 16, "payload", True), "statement")
    record = statement["predicate"]
    names = ["plan"] if record["kind"] == "task.open" else ["output", "input", "component"]
    subject = [{"name": name, "digest": record[name] if name == "plan" else record[name]["digest"]} for name in names if record[name]]
    need(statement["subject"] == subject, "statement.subject", "it must be the digests of output, input and component, or of the plan")
    return record

def check_inclusion(entry, head):
    """RFC 9162 §2.1.3.2, from the leaf up."""
    node, index, last = entry.leaf, entry.index, head[0] - 1
    need(index <= last, "index", f"the log has {head[0]} entries")
    for sibling in entry.proof:
        need(last, "proof", "it is too long")
        if index % 2 or index == last:
            node = sha256(b"\1", sibling, node)
            while index and index % 2 == 0:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\1", node, sibling)
        index, last = index >> 1, last >> 1
    need(last == 0 and node == head[1], "proof", "it does not prove the entry to be in the log at its index")

def check_consistency(head, seen, proofs):
    """RFC 9162 §2.1.4.2."""
    need(head[0] != seen[0] or head == seen, "checkpoint", "the log signed two heads of one size: keep both, they prove it")
    proof = next((proof["proof"] for proof in proofs if proof["size"] == seen[0]), None)
    (old, old_root), (new, new_root) = sorted((head, seen))
    if old == new or old == 0:
        return need(not proof, "consistency", "a proof without a hash is expected")
    path = list(need(proof is not None and [old_root] * (old & (old - 1) == 0) + proof, "consistency", "there is no proof"))
    node, last, first = old - 1, new - 1, path.pop(0)
    while node % 2:
        node, last = node >> 1, last >> 1
    left = right = first
    for sibling in path:
        need(last, "consistency", "the proof is too long")
        if node % 2 or node == last:
            left, right = sha256(b"\1", sibling, left), sha256(b"\1", sibling, right)
            while node and node % 2 == 0:
                node, last = node >> 1, last >> 1
        else:
            right = sha256(b"\1", right, sibling)
        node, last = node >> 1, last >> 1
    need(last == 0 and (left, right) == (old_root, new_root), "consistency", "the log is not proven to continue the one last seen")

def check_envelopes(envelopes, entries, approvers, fault):
    named = {}
    for entry in entries:
        for number, approval in enumerate(entry.record["approvals"]):
            if approval["envelope"]:
                named.setdefault(approval["envelope"], []).append((entry.index, number, approval))
    for number, envelope in enumerate(envelopes):
        spoken = named.pop(sha256(pae(envelope)), [])
        fault(None)(spoken, f"approvals[{number}]", "no record speaks of this envelope, or it stands twice")
        for index, _, approval in spoken:
            try:
                believe(envelope, [known["key"] for known in approvers if known["name"] == approval["approver"]], "")
                said = members(subject=digest, decision=text)(parse(envelope["payload"], RECORD_BYTES_MAX, 16, "", True), "")
                need(said == {"subject": approval["subject"], "decision": approval["decision"]}, "", "it does not say what the record says")
            except Fault as reason:
                fault(index)(False, f"approvals[{number}]", reason.args[1])
    for index, number, approval in sum(named.values(), []):
        fault(index)(False, f"approvals[{number}].envelope", "the envelope is not in the receipt")

def check_disclosures(blobs, entries, fault):
    claims = {}
    for entry in entries:
        record = entry.record
        sized = [(name, record[name]) for name in ("input", "output") if record[name]]
        sized += [(f"verdicts[{number}].input", verdict["input"]) for number, verdict in enumerate(record["verdicts"])]
        plain = [record["plan"], record["policies"], record["grants"]] + [verdict["settings"] for verdict in record["verdicts"]]
        for name in filter(None, plain + [record["hostcalls"] and record["hostcalls"]["digest"]]):
            claims.setdefault(name, [])
        for path, commitment in sized:
            claims.setdefault(commitment["digest"], []).append((entry.index, path, commitment))
    for number, blob in enumerate(blobs):
        found = claims.pop(sha256(blob), None)
        fault(None)(found is not None, f"disclosures[{number}]", "no record speaks of this blob, or it stands twice")
        for index, path, commitment in found or ():
            skip = len(BLIND1) + 32 if commitment["commit"] == "blind1" else 0
            if fault(index)(not skip or blob.startswith(BLIND1) and len(blob) >= skip, f"{path}.commit", "the blob is no blind1 blob"):
                fault(index)(commitment["size"] == len(blob) - skip, f"{path}.size", f"the payload has {len(blob) - skip} bytes")

def verify(data, trust, allow_open=False, last_seen=None):
    """The verdicts, and every fault as check, index in the log, member and sentence."""
    verdicts, faults = dict.fromkeys(CHECKS, "not-checked"), []

    def attempt(check, index, act, *arguments):
        try:
            return act(*arguments)
        except Fault as fault:
            faults.append((check, index, *fault.args))

    def faults_of(check):
        return lambda index: lambda found, member, message: bool(found) or faults.append((check, index, member, message))

    def conclude(check, asked):
        verdicts[check] = "fail" if any(fault[0] == check for fault in faults) else "pass" if asked else "not-checked"
        return verdicts[check] == "pass"

    receipt = attempt("receipt", None, lambda: RECEIPT(parse(data, RECEIPT_BYTES_MAX, 16), ""))
    if not receipt:
        return verdicts, faults
    blobs = [disclosure["blob"] for disclosure in receipt["disclosures"]]
    head, entries = attempt("signatures", None, open_checkpoint, receipt["checkpoint"], trust, "checkpoint"), []
    for entry in receipt["entries"]:
        index, envelope = entry["index"], entry["envelope"]
        keys = [key["key"] for key in trust["records"] if key["fromIndex"] <= index <= key["toIndex"]]
        signer = attempt("signatures", index, believe, envelope, keys, "envelope.")
        record = signer and attempt("chain", index, read_record, envelope["payload"])
        if record:
            entries.append(SimpleNamespace(index=index, leaf=leaf_hash(envelope, signer), record=record, proof=entry["proof"]))
    check_envelopes(receipt["approvals"], entries, trust["approvers"], faults_of("signatures"))
    conclude("signatures", True)
    for entry in entries if head else ():
        attempt("inclusion", entry.index, check_inclusion, entry, head)
    whole = len(entries) == len(receipt["entries"])  # around an entry that is not believed the others make no chain
    conclude("inclusion", whole and head and entries)
    if whole:
        attempt("chain", None, need, entries, "entries", "there is no entry")
        check_links(entries, trust["origin"], faults_of("chain"))
        story = conclude("chain", True) and tell(entries, faults_of("chain"))
        if conclude("chain", True):
            check_end(entries, story, blobs, allow_open, faults_of("completeness"))
            conclude("completeness", entries[-1].record["kind"] == "task.close")
        check_disclosures(blobs, entries, faults_of("disclosure"))
        conclude("disclosure", blobs)
    conclude("chain", whole)
    if last_seen is not None and head:
        seen = attempt("append-only", None, open_checkpoint, last_seen, trust, "last-seen")
        if seen:
            attempt("append-only", None, check_consistency, head, seen, receipt["consistency"])
        conclude("append-only", True)
    return verdicts, faults

def read(path, bytes_max):
    try:
        with open(path, "rb") as file:
            return file.read(bytes_max + 1)
    except OSError as error:
        sys.exit(f"{path}: it cannot be read: {error.strerror}")

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("receipts", nargs="+", metavar="RECEIPT")
    parser.add_argument("--trust", required=True, help="the trust file, which came to you by a way you trust")
    parser.add_argument("--last-seen", metavar="NOTE", help="the last checkpoint of this log that you saw")
    parser.add_argument("--allow-open", action="store_true", help="accept a task that is not closed")
    options, refused = parser.parse_args(), False
    try:
        trust = read_trust(read(options.trust, TRUST_BYTES_MAX))
    except Fault as fault:
        sys.exit(f"{options.trust}: {fault.args[0]}: {fault.args[1]}")
    seen = options.last_seen and read(options.last_seen, NOTE_BYTES_MAX).decode(errors="replace")
    for path in options.receipts:
        verdicts, faults = verify(read(path, RECEIPT_BYTES_MAX), trust, options.allow_open, seen)
        print(f"{path}: {'REFUSED' if faults else 'verified'}")
        for check, verdict in verdicts.items():
            print(f"  {check:<13} {verdict}")
        for check, index, member, message in faults:
            place = "".join(f"{part}: " for part in ("" if index is None else f"entry {index}", member) if part)
            # What a receipt says is not to reach a terminal as it is.
            print(f"  fault: {check}: {''.join(char if char.isprintable() else '?' for char in place + message)[:1000]}")
        refused = refused or bool(faults)
    sys.exit(refused)

if __name__ == "__main__":
    main()
