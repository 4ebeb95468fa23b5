// Tlog checks receipts, exported tlog-proofs and a log's tiles with golang.org/x/mod/sumdb/note and sumdb/tlog, the code with
// which Go checks its checksum database. Its one argument is the directory that prepare.py made.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// TileHeight is that of C2SP tlog-tiles, which leaves it out of the paths.
	tileHeight   = 8
	spkiBytes    = 44
	proofHeader  = "c2sp.org/tlog-proof@v1"
	consistency  = ".consistency"
	checkpointed = ".checkpoint"
)

type trust struct {
	Origin  string   `json:"origin"`
	Log     []string `json:"log"`
	Records []struct {
		Key []byte `json:"key"`
	} `json:"records"`
}

type envelope struct {
	Payload     []byte `json:"payload"`
	PayloadType string `json:"payloadType"`
	Signatures  []struct {
		Sig []byte `json:"sig"`
	} `json:"signatures"`
}

type receipt struct {
	Checkpoint string `json:"checkpoint"`
	Entries    []struct {
		Index    int64            `json:"index,string"`
		Envelope envelope         `json:"envelope"`
		Proof    tlog.RecordProof `json:"proof"`
		// Shared counts the hashes that end the proof and are left out, being those that end the proof of the entry before.
		Shared int `json:"shared,string"`
	} `json:"entries"`
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "tlog: "+format+"\n", args...)
	os.Exit(1)
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		fail("%v", err)
	}
	return data
}

func parse(path string, value any) {
	if err := json.Unmarshal(read(path), value); err != nil {
		fail("%s: %v", path, err)
	}
}

// open verifies a checkpoint under the trusted keys and gives the tree that it is of.
func (t *trust) open(checkpoint []byte) (tlog.Tree, error) {
	var verifiers []note.Verifier
	for _, key := range t.Log {
		verifier, err := note.NewVerifier(key)
		if err != nil {
			return tlog.Tree{}, err
		}
		verifiers = append(verifiers, verifier)
	}
	opened, err := note.Open(checkpoint, note.VerifierList(verifiers...))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != t.Origin || lines[3] != "" {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s", t.Origin)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// leaf makes the log's entry of an envelope, a Rekor v2 hashedrekord, with the trusted key that signed.
func (t *trust) leaf(e envelope) ([]byte, error) {
	if len(e.Signatures) != 1 {
		return nil, fmt.Errorf("%d signatures", len(e.Signatures))
	}
	signature := e.Signatures[0].Sig
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.PayloadType), e.PayloadType, len(e.Payload), e.Payload)
	for _, record := range t.Records {
		if len(record.Key) != spkiBytes || !ed25519.Verify(record.Key[spkiBytes-ed25519.PublicKeySize:], pae, signature) {
			continue
		}
		digest := sha256.Sum256(pae)
		base64 := base64.StdEncoding.EncodeToString
		return fmt.Appendf(nil, `{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256","digest":"%s"},`+
			`"signature":{"content":"%s","verifier":{"keyDetails":"PKIX_ED25519","publicKey":{"rawBytes":"%s"}}}}}}`,
			base64(digest[:]), base64(signature), base64(record.Key)), nil
	}
	return nil, fmt.Errorf("no trusted key signed it")
}

// proven checks that a record is in the log, and that it cannot be shown to be elsewhere or another.
func (t *trust) proven(what string, checkpoint []byte, index int64, e envelope, proof tlog.RecordProof) {
	tree, err := t.open(checkpoint)
	if err != nil {
		fail("sumdb/note refuses the checkpoint of %s: %v", what, err)
	}
	leaf, err := t.leaf(e)
	if err != nil {
		fail("%s at index %d: %v", what, index, err)
	}
	hash := tlog.RecordHash(leaf)
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, hash); err != nil {
		fail("sumdb/tlog refuses index %d of %s: %v", index, what, err)
	}
	wrong := slices.Clone(proof)
	wrong[len(wrong)/2][7] ^= 1
	root := tree.Hash
	root[7] ^= 1
	leaf[len(leaf)/2] ^= 1
	for change, err := range map[string]error{
		"a changed proof":  tlog.CheckRecord(wrong, tree.N, tree.Hash, index, hash),
		"a shorter proof":  tlog.CheckRecord(proof[1:], tree.N, tree.Hash, index, hash),
		"another index":    tlog.CheckRecord(proof, tree.N, tree.Hash, index^1, hash),
		"another root":     tlog.CheckRecord(proof, tree.N, root, index, hash),
		"another leaf":     tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(leaf)),
		"another envelope": t.otherEnvelope(e),
	} {
		if err == nil {
			fail("index %d of %s is accepted with %s", index, what, change)
		}
	}
}

func (t *trust) otherEnvelope(e envelope) error {
	e.Payload = slices.Clone(e.Payload)
	e.Payload[len(e.Payload)/2] ^= 1
	_, err := t.leaf(e)
	return err
}

// forged gives a checkpoint with one bit of what it signs changed.
func forged(checkpoint []byte) []byte {
	changed := bytes.Clone(checkpoint)
	changed[bytes.IndexByte(changed, '\n')+1] ^= 1
	return changed
}

func (t *trust) refusesForged(what string, checkpoint []byte) {
	if _, err := t.open(forged(checkpoint)); err == nil {
		fail("sumdb/note accepts the checkpoint of %s with another size", what)
	}
}

func (t *trust) receipts(dir string) (records, checkpoints int) {
	paths, _ := filepath.Glob(filepath.Join(dir, "*.stepseal.json"))
	for _, path := range paths {
		var r receipt
		parse(path, &r)
		var before tlog.RecordProof
		for _, entry := range r.Entries {
			if entry.Shared < 0 || entry.Shared > len(before) {
				fail("%s: index %d shares %d hashes with a proof of %d", path, entry.Index, entry.Shared, len(before))
			}
			proof := slices.Concat(entry.Proof, before[len(before)-entry.Shared:])
			t.proven(path, []byte(r.Checkpoint), entry.Index, entry.Envelope, proof)
			before = proof
			records++
		}
		t.refusesForged(path, []byte(r.Checkpoint))
		checkpoints++
	}
	return records, checkpoints
}

// tlogProofs checks exported C2SP tlog-proofs.
func (t *trust) tlogProofs(dir string) (proofs int) {
	paths, _ := filepath.Glob(filepath.Join(dir, "*.tlog-proof", "*.tlog-proof"))
	for _, path := range paths {
		head, checkpoint, _ := bytes.Cut(read(path), []byte("\n\n"))
		lines := strings.Split(string(head), "\n")
		if len(lines) < 3 || lines[0] != proofHeader {
			fail("%s is no tlog-proof with an extra line", path)
		}
		extra, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
		var e envelope
		if err != nil || json.Unmarshal(extra, &e) != nil {
			fail("%s: its extra is no envelope", path)
		}
		index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
		if err != nil {
			fail("%s: %v", path, err)
		}
		var proof tlog.RecordProof
		for _, line := range lines[3:] {
			hash, err := tlog.ParseHash(line)
			if err != nil {
				fail("%s: %v", path, err)
			}
			proof = append(proof, hash)
		}
		t.proven(path, checkpoint, index, e, proof)
		proofs++
	}
	return proofs
}

// tiles reads a log's tiles as C2SP tlog-tiles lays them out.
type tiles struct{ dir string }

func (t tiles) Height() int { return tileHeight }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight), "tile/", 1)
		data, err := os.ReadFile(filepath.Join(t.dir, path))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// log checks that a log's tiles are those of its newest checkpoint, and that this one continues the older ones.
func (t *trust) log(dir string) (leaves int64, older int) {
	trees := map[int64]tlog.Tree{}
	paths, _ := filepath.Glob(filepath.Join(dir, "*"+checkpointed))
	var newest tlog.Tree
	for _, path := range paths {
		checkpoint := read(path)
		tree, err := t.open(checkpoint)
		if err != nil {
			fail("sumdb/note refuses %s: %v", path, err)
		}
		t.refusesForged(path, checkpoint)
		trees[tree.N] = tree
		if tree.N > newest.N {
			newest = tree
		}
	}
	if len(trees) < 2 {
		fail("%s has %d checkpoints; two are needed to compare", dir, len(trees))
	}
	hashes := tlog.TileHashReader(newest, tiles{dir})
	for size, tree := range trees {
		t.continues(dir, hashes, tree, newest)
		if size != newest.N {
			older++
		}
	}
	for index, leaf := range entries(dir, newest.N) {
		hash, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))})
		if err != nil {
			fail("sumdb/tlog refuses the tiles: %v", err)
		}
		if hash[0] != tlog.RecordHash(leaf) {
			fail("entry %d of %s is not the one in its tiles", index, dir)
		}
		leaves++
	}
	if leaves != newest.N {
		fail("%s has %d entries, and its checkpoint speaks of %d", dir, leaves, newest.N)
	}
	return leaves, older
}

// continues checks the host's consistency proof, and compares it with that which Go makes of the tiles.
func (t *trust) continues(dir string, hashes tlog.HashReader, old, newest tlog.Tree) {
	path := filepath.Join(dir, fmt.Sprint(old.N)+consistency)
	var given struct {
		Proof tlog.TreeProof `json:"proof"`
	}
	parse(path, &given)
	if err := tlog.CheckTree(given.Proof, newest.N, newest.Hash, old.N, old.Hash); err != nil {
		fail("sumdb/tlog refuses %s: %v", path, err)
	}
	made, err := tlog.ProveTree(newest.N, old.N, hashes)
	if err != nil {
		fail("sumdb/tlog makes no proof of the tiles from %d to %d: %v", old.N, newest.N, err)
	}
	if !slices.Equal(made, given.Proof) {
		fail("%s is not the proof that sumdb/tlog makes of the tiles", path)
	}
	other := old
	other.Hash[7] ^= 1
	if tlog.CheckTree(given.Proof, newest.N, newest.Hash, other.N, other.Hash) == nil {
		fail("sumdb/tlog accepts %s for another tree", path)
	}
	if len(given.Proof) > 0 {
		wrong := slices.Clone(given.Proof)
		wrong[len(wrong)/2][7] ^= 1
		if tlog.CheckTree(wrong, newest.N, newest.Hash, old.N, old.Hash) == nil {
			fail("sumdb/tlog accepts %s with a bit changed", path)
		}
	}
}

// entries reads all entry tiles: each leaf has its length before it.
func entries(dir string, size int64) (leaves [][]byte) {
	const width = 1 << tileHeight
	for first := int64(0); first < size; first += width {
		path := fmt.Sprintf("tile/entries/%03d", first/width)
		if size-first < width {
			path += fmt.Sprintf(".p/%d", size-first)
		}
		data := read(filepath.Join(dir, path))
		for len(data) >= 2 {
			end := 2 + int(binary.BigEndian.Uint16(data))
			if end > len(data) {
				fail("%s ends within an entry", path)
			}
			leaves = append(leaves, data[2:end])
			data = data[end:]
		}
	}
	return leaves
}

func believed(path string) *trust {
	var t trust
	parse(path, &t)
	return &t
}

func main() {
	if len(os.Args) != 2 {
		fail("usage: tlog DIR")
	}
	work := os.Args[1]
	told := believed(filepath.Join(work, "keys", "trust.json"))
	records, checkpoints := told.receipts(filepath.Join(work, "receipts"))
	proofs := told.tlogProofs(filepath.Join(work, "receipts"))
	if records == 0 || proofs != records {
		fail("%s has %d records in receipts and %d tlog-proofs", work, records, proofs)
	}
	fmt.Printf("  Go         sumdb/note opens %d checkpoints; sumdb/tlog proves %d records of receipts and %d tlog-proofs, and none after each of 6 changes\n",
		checkpoints, records, proofs)
	log := filepath.Join(work, "log")
	leaves, older := believed(filepath.Join(log, "trust.json")).log(log)
	fmt.Printf("  Go         sumdb/tlog reads a log of %d leaves from its tiles, and proves as the host does that it continues %d older heads\n",
		leaves, older)
}
