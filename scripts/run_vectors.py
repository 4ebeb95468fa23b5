#!/usr/bin/env python3
"""Runs the test vectors of the receipt format through scripts/verify_receipt.py, with verify_witnesses.py for who cosigned.

    scripts/run_vectors.py [DIRECTORY]

Exit code 1 where a receipt is accepted that must be rejected, or rejected that must be accepted, or where a verdict or a check that fails
or stays unanswered is another than the vector says.
"""
import base64
import json
import pathlib
import sys

import verify_receipt
import verify_witnesses

DIRECTORY = pathlib.Path(__file__).parent.parent / "host/stepseal-receipts/vectors"

def judge(vector, trust):
    """Whether the receipt is accepted, the checks that fail, those that are unanswered, and the verdicts."""
    try:
        trust = verify_receipt.read_trust(vector["trust"].encode() if "trust" in vector else trust)
    except ValueError:
        return False, {"trust"}, [], {}
    witnessed = None
    if "witnesses" in vector:
        try:
            policy = verify_witnesses.read_policy(vector["witnesses"].encode())
        except ValueError:
            return False, {"witness-policy"}, [], {}
        witnessed = lambda note, trust: verify_witnesses.check_witnessed(note, trust, policy)
    receipt = vector["receipt"].encode() if "receipt" in vector else base64.b64decode(vector["receiptBase64"])
    verdicts, faults, unanswered = verify_receipt.verify(receipt, trust, vector.get("allowOpen", False), vector.get("lastSeen"), witnessed)
    return not faults and not unanswered, {check for check, _ in faults}, unanswered, verdicts

def refused_as_erased(receipt):
    """Whether it has erased entries, which the verifier refuses to judge (FORMAT.md section 4)."""
    try:
        return bool(json.loads(receipt)["erased"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False

def run(directory):
    wrong, counts = 0, {}
    trust = (directory / "trust.json").read_bytes()
    for name, must in (("accept.jsonl", True), ("reject.jsonl", False)):
        lines = (directory / name).read_text(encoding="utf-8").strip().split("\n")
        counts[name] = len(lines)
        for vector in map(json.loads, lines):
            found, expected = judge(vector, trust), vector["expected"]
            checks = {fault["check"] for fault in expected["faults"]}
            judged = must, checks, expected.get("unanswered", []), expected["verdicts"]
            if refused_as_erased(vector.get("receipt", "")):
                judged = False, {"receipt"}, [], dict.fromkeys(verify_receipt.CHECKS, "not-checked")
            if found != judged:
                wrong += 1
                print(f"{vector['name']}: expected {expected}, found {found}", file=sys.stderr)
    accepted, rejected = counts.values()
    print(f"{accepted} vectors that must be accepted, {rejected} that must be rejected: {wrong} judged otherwise")
    return wrong or not all(counts.values())

if __name__ == "__main__":
    sys.exit(bool(run(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY)))
