#!/usr/bin/env python3
"""Runs the test vectors of the receipt format through scripts/verify_receipt.py.

    scripts/run_vectors.py [DIRECTORY]

Exit code 1 where a receipt is accepted that must be rejected, or rejected that must be accepted, or where the check that fails, or the
entry it fails at, is another than the vector says.
"""
import base64
import json
import pathlib
import sys

import verify_receipt

DIRECTORY = pathlib.Path(__file__).parent.parent / "host/stepseal-receipts/vectors"

def judge(vector, trust):
    """Whether the receipt is accepted, its verdicts, and the places of its faults."""
    receipt = vector["receipt"].encode() if "receipt" in vector else base64.b64decode(vector["receiptBase64"])
    try:
        trust = verify_receipt.read_trust(vector["trust"].encode() if "trust" in vector else trust)
    except verify_receipt.Fault as fault:
        return False, {}, [("trust", None, fault.args[0])]
    verdicts, faults = verify_receipt.verify(receipt, trust, vector.get("allowOpen", False), vector.get("lastSeen"))
    return not faults, verdicts, [fault[:3] for fault in faults]

def run(directory):
    wrong, elsewhere, counts = 0, 0, {}
    trust = (directory / "trust.json").read_bytes()
    for name, must in (("accept.jsonl", True), ("reject.jsonl", False)):
        lines = (directory / name).read_text(encoding="utf-8").strip().split("\n")
        counts[name] = len(lines)
        for vector in map(json.loads, lines):
            accepted, verdicts, faults = judge(vector, trust)
            expected = vector["expected"]
            places = {(fault["check"], int(fault["index"]) if "index" in fault else None) for fault in expected["faults"]}
            if accepted != must or expected["accepted"] != must:
                problem = f"{'accepted' if accepted else 'rejected'}, which it must not be"
            elif places != {fault[:2] for fault in faults}:
                problem = f"it must be rejected for {sorted(map(str, places))}"
            elif verdicts != expected["verdicts"]:
                problem = f"its verdicts must be {expected['verdicts']}"
            else:
                elsewhere += {fault["member"] for fault in expected["faults"]} != {fault[2] for fault in faults}
                continue
            wrong += 1
            print(f"{vector['name']}: {problem}; found {faults}", file=sys.stderr)
    print(f"{counts['accept.jsonl']} vectors that must be accepted, {counts['reject.jsonl']} that must be rejected: {wrong} judged otherwise, "
          f"{elsewhere} with a fault in a member of another name")
    return wrong or not all(counts.values())

if __name__ == "__main__":
    sys.exit(bool(run(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY)))
