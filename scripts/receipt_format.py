"""What a receipt and a trust file look like (host/stepseal-receipts/FORMAT.md, §1 to §4): strict JSON, and a reader for every member.

Part of verify_receipt.py. Everything here is bounded, and nothing is believed: a fault names the member it is in.
"""
import base64
import datetime
import hashlib
import json
import re
from decimal import Decimal
from types import SimpleNamespace

RECEIPT_BYTES_MAX, TRUST_BYTES_MAX, RECORD_BYTES_MAX, PLAN_BYTES_MAX = 64 << 20, 1 << 20, 32 << 10, 16 << 20
BLIND1 = b"stepseal/payload/v1\n"
SPKI_PREFIX, P = bytes.fromhex("302a300506032b6570032100"), 2**255 - 19
# The y of every point of low order: of order 4, 1, 2 and 8.
LOW_ORDER = {0, 1, P - 1} | {int.from_bytes(bytes.fromhex(y), "little") for y in (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")}

class Fault(Exception):
    """What is wrong: the member it is in, and a sentence."""

def need(found, member, message):
    if not found:
        raise Fault(member, message)
    return found

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

# JSON (§1): what not every reader understands alike is refused.
def unique(pairs):
    need(len(dict(pairs)) == len(pairs), "", "an object has the same member twice")
    return dict(pairs)

def double(text):
    need(abs(float(text)) != float("inf"), "", "a number is beyond the range of a double")
    return float(text)

def whole(text):
    found = double(text)
    exact = int(found) == int(text) or abs(found) < 1e21 and int(Decimal(repr(found))) == int(text)
    need(exact, "", "an integer is not exact as a double")
    return int(text)

def walk(value, depth, signed):
    if isinstance(value, str):
        value.encode()  # a lone surrogate is a ValueError
    elif isinstance(value, (dict, list)):
        need(depth, "", "it is nested too deep")
        for name in value if isinstance(value, dict) else ():
            name.encode()
            need(not signed or re.fullmatch("[a-zA-Z_][a-zA-Z0-9_.-]*", name), "", f"signed JSON has no member {name!r}")
        for inner in value.values() if isinstance(value, dict) else value:
            walk(inner, depth - 1, signed)
    else:
        need(not signed or isinstance(value, bool), "", "signed JSON has no number and no null")

def parse(data, bytes_max, depth, member="", signed=False):
    try:
        need(len(data) <= bytes_max, "", f"it has more than {bytes_max} bytes")
        value = json.loads(data.decode(), object_pairs_hook=unique, parse_int=whole, parse_float=double,
                           parse_constant=lambda name: need(False, "", f"{name} is not JSON"))
        walk(value, depth, signed)
        canonical = signed and json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        need(not signed or canonical.encode() == data, "", "it is not canonical JSON")
    except Fault as fault:
        raise Fault(member, fault.args[1]) from None
    except (ValueError, RecursionError) as error:
        raise Fault(member, f"it is not JSON: {error}") from None
    return value

# Readers of members: each takes a value and its path. Integers come as int, digests and base64 as bytes.
def text(value, path):
    need(isinstance(value, str), path, "it must be a string")
    return value

def match(pattern):
    return lambda value, path: need(re.fullmatch(pattern, text(value, path)), path, f"it must match {pattern}") and value

def integer(value, path, most=2**64 - 1):
    digits = match("0|[1-9][0-9]{0,19}")(value, path)
    need(int(digits) <= most, path, f"it must be at most {most}")
    return int(digits)

def b64(length=None, most=RECEIPT_BYTES_MAX):
    def read(value, path):
        try:
            data = base64.b64decode(text(value, path), validate=True)
        except ValueError:
            data = None
        good = data is not None and base64.b64encode(data).decode() == value and length in (None, len(data)) and len(data) <= most
        need(good, path, f"it must be padded base64 with zero unused bits{f' of {length} bytes' if length else ''}")
        return data
    return read

def time(value, path):
    match(r"(19[7-9]|[2-9]\d\d)\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")(value, path)
    try:
        return datetime.datetime.fromisoformat(value[:-1])
    except ValueError:
        raise Fault(path, "there is no such time") from None

def key(prefix):
    def read(value, path):
        raw = b64(len(prefix) + 32)(value, path)
        y = int.from_bytes(raw[len(prefix):], "little") & P + 18
        need(raw.startswith(prefix) and y < P and y not in LOW_ORDER and on_curve(y), path, "it is no Ed25519 key, or a weak one")
        return raw[len(prefix):]
    return read

def on_curve(y):
    u, v = y * y - 1, -121665 * pow(121666, P - 2, P) * y * y + 1
    return pow(u * pow(v, P - 2, P), (P - 1) // 2, P) in (0, 1)

class Maybe(SimpleNamespace):
    """A reader of what may be absent."""

def maybe(reader, absent=None):
    return Maybe(reader=reader, absent=absent)

def many(reader, most, least=0):
    def read(value, path):
        need(isinstance(value, list) and least <= len(value) <= most, path, f"it must be a list of {least} to {most} items")
        return [reader(item, f"{path}[{number}]") for number, item in enumerate(value)]
    return read if least else maybe(read, [])

def members(open_to_others=True, **known):
    def read(value, path):
        need(isinstance(value, dict), path, "it must be an object")
        inner, found = path and path + ".", {}
        for name, reader in known.items():
            if name in value:
                found[name] = getattr(reader, "reader", reader)(value[name], inner + name)
            else:
                found[name] = need(isinstance(reader, Maybe), inner + name, "it is missing") and reader.absent
        for name in value if not open_to_others else ():
            need(name in known, inner + name[:64], "it is unknown")
        return found
    return read

HEX = {count: match(f"[0-9a-f]{{{count}}}") for count in (16, 32, 64)}
SHA256 = members(False, sha256=HEX[64])
digest = lambda value, path: bytes.fromhex(SHA256(value, path)["sha256"])
SMALL, COMMIT = lambda value, path: integer(value, path, 2**32 - 1), match("blind1|plain")
PAYLOAD = members(digest=digest, size=integer, mediaType=text, commit=COMMIT)
VERDICT = members(
    policy=digest, name=text, stage=match("plan|before-step|after-step"), verdict=match("not-applicable|allow|needs-approval|deny"),
    mode=match("enforce|monitor"), code=maybe(text), reason=maybe(text), approvers=maybe(SMALL), role=maybe(text), settings=digest,
    input=members(digest=digest, size=integer, commit=COMMIT), fuel=integer)
APPROVAL = members(approver=text, decision=match("approve|reject"), role=maybe(text), subject=digest, envelope=maybe(digest))
STATUS = match("ok|failed|invalid-input|unavailable|trap|out-of-fuel|out-of-memory|timeout|denied|cancelled")
PREDICATE = members(
    kind=match(r"task\.open|step\.authorized|step\.completed|step\.failed|step\.denied|task\.close"), log=text, nonce=HEX[32],
    task=maybe(members(id=text, seq=integer, prev=maybe(digest))), plan=maybe(digest), policies=maybe(digest), grants=maybe(digest),
    step=maybe(members(id=text, index=integer, attempt=SMALL, type=text)),
    component=maybe(members(name=text, version=text, digest=digest)), runtime=maybe(members(host=text, engine=text, config=digest)),
    limits=maybe(members(fuel=integer, memory=integer, wallMs=integer, input=integer, output=integer)),
    input=maybe(PAYLOAD), output=maybe(PAYLOAD), verdicts=many(VERDICT, 256), approvals=many(APPROVAL, 256),
    hostcalls=maybe(members(count=integer, digest=digest)), fuel=maybe(members(limit=integer, used=integer)),
    memory=maybe(members(limit=integer, peak=integer)), seed=maybe(HEX[64]), time=maybe(members(start=time, end=time)),
    outcome=maybe(members(status=STATUS, code=maybe(text), message=maybe(text))), records=maybe(integer), head=maybe(digest),
    trace=maybe(members(traceId=HEX[32], spanId=HEX[16])))
STATEMENT = members(
    False, _type=match(r"https://in-toto\.io/Statement/v1"), predicateType=match("https://stepseal.dev/record/v1"),
    predicate=lambda value, path: PREDICATE(value, "predicate"), subject=many(members(False, name=text, digest=digest), 256))
ENVELOPE = members(
    False, payload=b64(most=RECORD_BYTES_MAX + 1), payloadType=match("(?s).{0,255}"),
    signatures=many(members(False, keyid=maybe(match("(?s).{0,256}")), sig=b64(64)), 16, 1))
PROOF = many(b64(32), 64)
RECEIPT = members(
    mediaType=match(r"application/vnd\.stepseal\.receipt\.v1\+json"), erased=many(None, 0), checkpoint=text,
    entries=many(members(False, index=integer, envelope=ENVELOPE, proof=PROOF), 100_000), approvals=many(ENVELOPE, 100_000),
    disclosures=many(members(False, blob=b64()), 400_000), consistency=many(members(False, size=integer, proof=PROOF), 64))
TRUST = members(
    False, mediaType=match(r"application/vnd\.stepseal\.trust\.v1\+json"), origin=match("(?=.{1,255}$)[!-*,-.0-~]+(/[!-*,-.0-~]+)*"),
    log=many(text, 256, 1), approvers=many(members(False, name=match("(?s).+"), key=key(SPKI_PREFIX)), 256), root=many(key(SPKI_PREFIX), 256),
    records=many(members(False, key=key(SPKI_PREFIX), fromIndex=integer, toIndex=maybe(integer, 2**64 - 1)), 256, 1))
