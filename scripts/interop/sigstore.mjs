// Verifies exported bundles with npm's @sigstore/verify, under the exported trusted root and record keys.
//
//     node sigstore.mjs MODULES DIR PROGRAM    node_modules, what prepare.py made, and the stepseal that imports
//
// The log vouches for no time, so the verifier is asked for no timestamp; all else is as it comes.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

const [modules, work, program] = process.argv.slice(2).map((path) => resolve(path));
const require = createRequire(join(modules, 'x'));
const { bundleFromJSON, bundleToJSON } = require('@sigstore/bundle');
const { PublicKey, TrustedRoot } = require('@sigstore/protobuf-specs');
const { PolicyError, VerificationError, Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

function fail(message) {
  console.error(`sigstore: ${message}`);
  process.exit(1);
}

const json = (path) => JSON.parse(readFileSync(path, 'utf8'));

function material(root, keys) {
  const found = Object.entries(keys).map(([hint, key]) => [hint, PublicKey.fromJSON(key)]);
  return toTrustMaterial(TrustedRoot.fromJSON(root), Object.fromEntries(found));
}

const root = json(join(work, 'keys/trusted_root.json'));
const keys = json(join(work, 'keys/record-keys.json'));
const WITHOUT_TIME = { tlogThreshold: 1, timestampThreshold: 0 };

// What the verifier says against a bundle; nothing where it accepts it.
function refusal(bundle, trusted = material(root, keys), options = WITHOUT_TIME) {
  try {
    new Verifier(trusted, options).verify(toSignedEntity(bundleFromJSON(bundle)));
    return undefined;
  } catch (error) {
    if (error instanceof VerificationError || error instanceof PolicyError) return error;
    throw error;
  }
}

function flip(base64) {
  const bytes = Buffer.from(base64, 'base64');
  bytes[bytes.length >> 1] ^= 1;
  return bytes.toString('base64');
}

// Each changes one thing, and says whether there was anything to change.
const entry = (bundle) => bundle.verificationMaterial.tlogEntries[0];
const CHANGES = {
  'a payload with a bit flipped': (bundle) => { bundle.dsseEnvelope.payload = flip(bundle.dsseEnvelope.payload); },
  'another payload type': (bundle) => { bundle.dsseEnvelope.payloadType += 'x'; },
  'a signature with a bit flipped': (bundle) => {
    const signature = bundle.dsseEnvelope.signatures[0];
    signature.sig = flip(signature.sig);
  },
  'another leaf': (bundle) => { entry(bundle).canonicalizedBody = flip(entry(bundle).canonicalizedBody); },
  'another index': (bundle) => {
    const proof = entry(bundle).inclusionProof;
    proof.logIndex = String(BigInt(proof.logIndex) ^ 1n);
  },
  'a proof with a bit flipped': (bundle) => {
    const proof = entry(bundle).inclusionProof;
    proof.hashes[0] = flip(proof.hashes[0]);
  },
  'a shorter proof': (bundle) => { entry(bundle).inclusionProof.hashes.pop(); },
  'another tree size': (bundle) => {
    const { checkpoint } = entry(bundle).inclusionProof;
    checkpoint.envelope = checkpoint.envelope.replace(/\n(\d+)\n/, (_, size) => `\n${BigInt(size) + 1n}\n`);
  },
  'another log': (bundle) => { entry(bundle).logId.keyId = flip(entry(bundle).logId.keyId); },
  'another key': (bundle) => { bundle.verificationMaterial.publicKey.hint = '00'.repeat(32); },
};

function check(path) {
  const bundle = json(path);
  const refused = refusal(bundle);
  if (refused) fail(`@sigstore/verify refuses ${path}: ${refused.code}: ${refused.message}`);
  for (const [what, change] of Object.entries(CHANGES)) {
    const changed = structuredClone(bundle);
    change(changed);
    if (!refusal(changed)) fail(`@sigstore/verify accepts ${path} with ${what}`);
  }
  const untrusted = { ...root, tlogs: [] };
  if (!refusal(bundle, material(untrusted, keys))) fail(`@sigstore/verify accepts ${path} without a log's key`);
  // Why the threshold is a parameter above, told by the verifier itself.
  const timed = refusal(bundle, material(root, keys), {});
  if (timed?.code !== 'TIMESTAMP_ERROR') fail(`asked for a timestamp, @sigstore/verify says of ${path}: ${timed?.code}`);
  return bundle;
}

// A bundle that Sigstore's own code wrote again is still one of ours, and the receipt made of it the same.
function comesBack(directory, files, bundles) {
  const again = `${directory}-again`;
  mkdirSync(again, { recursive: true });
  bundles.forEach((bundle, at) => {
    writeFileSync(join(again, files[at]), JSON.stringify(bundleToJSON(bundleFromJSON(bundle))));
  });
  const receipt = (from) => execFileSync(program, ['receipt', 'import', ...files.map((file) => join(from, file))]);
  const made = receipt(directory);
  if (!made.equals(receipt(again))) fail(`${again} is not imported as ${directory} is`);
  const original = json(directory.replace(/sigstore-bundle$/, 'stepseal.json'));
  const { checkpoint, entries } = JSON.parse(made);
  if (JSON.stringify([checkpoint, entries]) !== JSON.stringify([original.checkpoint, original.entries])) {
    fail(`${directory} is not imported as the receipt it came from`);
  }
}

let verified = 0;
for (const name of readdirSync(join(work, 'receipts')).filter((name) => name.endsWith('.sigstore-bundle'))) {
  const directory = join(work, 'receipts', name);
  const files = readdirSync(directory);
  comesBack(directory, files, files.map((file) => check(join(directory, file))));
  verified += files.length;
}
if (verified === 0) fail(`there are no bundles in ${work}`);
console.log(`  Sigstore   @sigstore/verify verifies ${verified} bundles under trusted_root.json, and refuses each after each of ` +
  `${Object.keys(CHANGES).length} changes; written again by @sigstore/bundle, they are imported as the same receipts`);
