// Verifies a log of fastify-model-guard with nothing but Go's own golang.org/x/mod/sumdb.
//
//	verify_log FOLDER VKEY-FILE                               the whole log: signature, root from the lines, tiles
//	verify_log FOLDER VKEY-FILE inclusion PROOF LINE          that a line stands in it, by a .tlog-proof file
//	verify_log FOLDER VKEY-FILE consistency CHECKPOINT PROOF  that it continues an earlier checkpoint, by hashes, one a line
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	folder, verifier, err := open(args)
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(filepath.Join(folder, "checkpoint"), verifier)
	if err != nil {
		return err
	}
	switch {
	case len(args) == 2:
		return verifyLog(folder, tree)
	case len(args) == 5 && args[2] == "inclusion":
		return verifyInclusion(verifier, args[3], args[4])
	case len(args) == 5 && args[2] == "consistency":
		return verifyConsistency(tree, verifier, args[3], args[4])
	}
	return fmt.Errorf("not understood: %q", args)
}

func open(args []string) (string, note.Verifier, error) {
	if len(args) < 2 {
		return "", nil, fmt.Errorf("not understood: %q", args)
	}
	key, err := os.ReadFile(args[1])
	if err != nil {
		return "", nil, err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	return args[0], verifier, err
}

func openCheckpoint(file string, verifier note.Verifier) (tlog.Tree, error) {
	signed, err := os.ReadFile(file)
	if err != nil {
		return tlog.Tree{}, err
	}
	return verifyCheckpoint(signed, verifier)
}

func verifyCheckpoint(signed []byte, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// verifyLog computes the root from the lines, and holds every record against its tile.
func verifyLog(folder string, tree tlog.Tree) error {
	lines, err := readLines(folder)
	if err != nil {
		return err
	}
	if int64(len(lines)) < tree.N {
		return fmt.Errorf("%d lines, %d under the checkpoint", len(lines), tree.N)
	}
	root, err := rootOf(lines[:tree.N])
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return fmt.Errorf("the lines do not have the root of the checkpoint")
	}
	hashes := tlog.TileHashReader(tree, tiles{folder})
	for n, line := range lines[:tree.N] {
		found, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(n))})
		if err != nil {
			return err
		}
		if found[0] != tlog.RecordHash(line) {
			return fmt.Errorf("record %d does not have the hash in its tile", n)
		}
	}
	fmt.Printf("%d records, their root and their tiles\n", tree.N)
	return nil
}

func readLines(folder string) ([][]byte, error) {
	files, err := filepath.Glob(filepath.Join(folder, "segments", "*.jsonl"))
	if err != nil {
		return nil, err
	}
	sort.Strings(files)
	var lines [][]byte
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, line := range bytes.SplitAfter(content, []byte("\n")) {
			if bytes.HasSuffix(line, []byte("\n")) {
				lines = append(lines, line[:len(line)-1])
			}
		}
	}
	return lines, nil
}

func rootOf(lines [][]byte) (tlog.Hash, error) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = stored[index]
		}
		return found, nil
	})
	for n, line := range lines {
		hashes, err := tlog.StoredHashes(int64(n), line, reader)
		if err != nil {
			return tlog.Hash{}, err
		}
		stored = append(stored, hashes...)
	}
	return tlog.TreeHash(int64(len(lines)), reader)
}

// tiles reads tiles of height 8 where C2SP tlog-tiles puts them: without the height that Go's own path begins with.
type tiles struct{ folder string }

func (t tiles) Height() int { return 8 }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		place := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		content, err := os.ReadFile(filepath.Join(t.folder, place))
		if err != nil {
			return nil, err
		}
		found = append(found, content)
	}
	return found, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func verifyInclusion(verifier note.Verifier, proofFile, lineFile string) error {
	content, err := os.ReadFile(proofFile)
	if err != nil {
		return err
	}
	line, err := os.ReadFile(lineFile)
	if err != nil {
		return err
	}
	head, signed, _ := strings.Cut(string(content), "\n\n")
	tree, err := verifyCheckpoint([]byte(signed), verifier)
	if err != nil {
		return err
	}
	lines := strings.Split(head, "\n")
	if len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "index ") {
		return fmt.Errorf("not a proof")
	}
	index, err := strconv.ParseInt(lines[1][len("index "):], 10, 64)
	if err != nil {
		return err
	}
	hashes, err := parseHashes(lines[2:])
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(hashes, tree.N, tree.Hash, index, tlog.RecordHash(line)); err != nil {
		return err
	}
	fmt.Printf("record %d of %d\n", index, tree.N)
	return nil
}

func verifyConsistency(tree tlog.Tree, verifier note.Verifier, checkpointFile, proofFile string) error {
	earlier, err := openCheckpoint(checkpointFile, verifier)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(proofFile)
	if err != nil {
		return err
	}
	hashes, err := parseHashes(strings.Fields(string(content)))
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(hashes, tree.N, tree.Hash, earlier.N, earlier.Hash); err != nil {
		return err
	}
	fmt.Printf("%d records continue %d\n", tree.N, earlier.N)
	return nil
}

func parseHashes(lines []string) ([]tlog.Hash, error) {
	hashes := []tlog.Hash{}
	for _, line := range lines {
		content, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(content) != tlog.HashSize {
			return nil, fmt.Errorf("not a hash: %q", line)
		}
		var hash tlog.Hash
		copy(hash[:], content)
		hashes = append(hashes, hash)
	}
	return hashes, nil
}
