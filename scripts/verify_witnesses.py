"""Who else saw the log (host/stepseal-receipts/FORMAT.md, §5.3): what verify_receipt.py leaves out, to be passed to its `verify`."""
import os
import re
from types import SimpleNamespace

from verify_receipt import END, integer, need, signers, signs, vkey

POLICY_BYTES_MAX, ITEMS_MAX, NAME_BYTES_MAX = 256 << 10, 256, 255

# Fewest and most items of each kind of line.
FORMS = {"log": (1, 2), "witness": (2, 3), "group": (3, END), "quorum": (1, 1)}

def read_policy(data):
    """C2SP tlog-policy: logs, voters by name (a witness's vkey, or a group's threshold and members), and the quorum."""
    lines, logs, voters, words, grouped, quorum = data.decode(errors="surrogateescape"), [], {"none": (0, ())}, [], ["none"], None
    need(len(data) <= POLICY_BYTES_MAX and re.fullmatch("([^\0-\x08\x0b-\x1f\x7f]*\n)?", lines), "it is too long, cut, or no text")
    for line in lines.split("\n"):
        word, *items = re.split("[ \t]+", line.strip(" \t"))
        if word[:1] in ("", "#"):
            continue
        need(word in FORMS and FORMS[word][0] <= len(items) <= FORMS[word][1], f"this is no line of a policy: {word}")
        words.append(word)
        if word in ("witness", "group"):
            need(items[0] not in voters and len(os.fsencode(items[0])) <= NAME_BYTES_MAX, "a name is taken, or too long")
        if word == "log":
            logs.append(vkey(items[0], 1))
        elif word == "quorum":
            quorum = need(items[0] in voters, "the quorum was not defined", items[0])
        elif word == "witness":
            voters[items[0]] = vkey(items[1], 4)
        else:
            names, grouped = items[2:], grouped + items[2:]
            need(set(names) <= voters.keys() and len(set(grouped)) == len(grouped), "a member was not defined, or is one already")
            threshold = {"all": len(names), "any": 1}.get(items[1]) or integer(items[1], len(names))
            voters[items[0]] = need(threshold, "a group needs somebody", threshold), names
    witnesses = [voter for voter in voters.values() if len(voter) == 3]
    need(len({key for _, _, key in logs + witnesses}) == len(logs + witnesses), "a key stands twice")
    need(words.count("quorum") == 1 and all(words.count(word) <= ITEMS_MAX for word in FORMS), "not one quorum, or too much of the rest")
    return SimpleNamespace(logs=logs, voters=voters, witnesses=witnesses, quorum=quorum)

def cosigns(key, cosignature, text):
    """C2SP tlog-cosignature, cosignature/v1: a time, and a signature over it and the text of the note."""
    seconds = int.from_bytes(cosignature[:8], "big")
    return seconds < 2**63 and signs(key, cosignature[8:], b"cosignature/v1\ntime %d\n" % seconds + text)

def check_witnessed(note, trust, policy):
    """Whether anybody had to be asked, if enough cosigned and no cosignature is forged."""
    need(not policy.logs or trust["origin"] in [name for name, _, _ in signers(note, policy.logs)[1]], "no log of the policy signed it")
    need(not {key for _, _, key in policy.witnesses} & {key for key, _, _ in trust["keys"]}, "a witness's key is in the trust file")
    cosigned = signers(note, policy.witnesses, cosigns)[1]
    met = lambda voter: voter in cosigned if len(voter) == 3 else sum(met(policy.voters[name]) for name in voter[1]) >= voter[0]
    return need(met(policy.voters[policy.quorum]), "the quorum of witnesses is not met", policy.quorum != "none")
