package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cofferhq/coffer/internal/audit"
)

// sampleLog is a log with a checkpoint after every tenth entry.
func sampleLog(t testing.TB, n int) (lines []string, pub ed25519.PublicKey) {
	t.Helper()
	h, f := newFakeHouse(t, func(c *audit.Config) { c.CheckpointEntries = 10 }, "d")
	for i := range n {
		if err := h.log(t, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	h.stop()
	lines = strings.SplitAfter(f["d"].text(), "\n")
	return lines[:len(lines)-1], h.Pub()
}

func verifyLines(lines []string, pub ed25519.PublicKey) (audit.Report, error) {
	return audit.Verify(strings.NewReader(strings.Join(lines, "")), pub)
}

func TestVerificationFindsEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines, pub := sampleLog(t, 35)
		if _, err := verifyLines(lines, pub); err != nil {
			t.Fatal(err)
		}
		for i := range lines {
			edited := slices.Clone(lines)
			edited[i] = strings.Replace(lines[i], `"time":"2`, `"time":"3`, 1)
			removed := slices.Delete(slices.Clone(lines), i, i+1)
			doubled := slices.Insert(slices.Clone(lines), i, lines[i])
			swapped := slices.Clone(lines)
			if i > 0 {
				swapped[i], swapped[i-1] = swapped[i-1], swapped[i]
			}
			blank := slices.Insert(slices.Clone(lines), i, "\n")
			foreign := slices.Insert(slices.Clone(lines), i, "{\"type\":\"request\"}\n")
			for name, changed := range map[string][]string{
				"edited": edited, "removed": removed, "doubled": doubled, "swapped": swapped, "blank": blank, "foreign": foreign,
			} {
				if i == 0 && (name == "removed" || name == "swapped") {
					continue // see below
				}
				r, err := verifyLines(changed, pub)
				switch {
				case err != nil && !errors.Is(err, audit.ErrBroken):
					t.Errorf("line %d %s: %v", i, name, err)
				case err == nil && name == "removed" && i == len(lines)-1:
					if r.Complete {
						t.Error("the last line was removed and the log seems complete")
					}
				case err == nil && i == 0 && r.Foreign == 1:
					// The chain begins after it.
				case err == nil:
					t.Errorf("line %d %s: not found", i, name)
				}
			}
		}
	})
}

func TestCutLogsShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines, pub := sampleLog(t, 35)
		whole, err := verifyLines(lines, pub)
		if err != nil || !whole.Complete {
			t.Fatalf("%+v %v", whole, err)
		}
		for n := 1; n < len(lines); n++ {
			r, err := verifyLines(lines[:n], pub)
			if err != nil {
				t.Fatalf("cut after %d: %v", n, err)
			}
			if r.Complete || r.LastSeq == whole.LastSeq {
				t.Errorf("cut after %d lines and seems complete: %+v", n, r)
			}
			if r, err = verifyLines(lines[n:], pub); err != nil || r.FirstSeq != uint64(n)+1 || r.FirstPrev == [32]byte{} {
				t.Errorf("without the first %d lines: %+v %v", n, r, err)
			}
		}
		if _, err := verifyLines(nil, pub); err == nil {
			t.Error("an empty log verified")
		}
	})
}

// Who can write the file but has no key cannot mend the chain.
func TestForgedTailIsNotProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines, pub := sampleLog(t, 35)
		wrong := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)).Public().(ed25519.PublicKey)
		if _, err := verifyLines(lines, wrong); !errors.Is(err, audit.ErrBroken) {
			t.Errorf("another key verifies: %v", err)
		}

		// A log made without a key hangs together and proves nothing.
		h, f := newFakeHouse(t, func(c *audit.Config) { c.Signer = nil }, "d")
		if err := h.log(t, "1"); err != nil {
			t.Fatal(err)
		}
		h.stop()
		unsigned := strings.SplitAfter(f["d"].text(), "\n")
		if _, err := verifyLines(unsigned, pub); !errors.Is(err, audit.ErrBroken) {
			t.Errorf("an unsigned log verifies: %v", err)
		}
		if r, err := verifyLines(unsigned, nil); err != nil || r.Entries != 1 {
			t.Errorf("%+v %v", r, err)
		}
		// Nor can it take the place of a signed one's end.
		if _, err := verifyLines(append(slices.Clone(lines[:20]), unsigned...), pub); !errors.Is(err, audit.ErrBroken) {
			t.Errorf("an unsigned end verifies: %v", err)
		}
	})
}

func FuzzVerify(f *testing.F) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	f.Add([]byte(`{"time":"x","type":"checkpoint","checkpoint":{"reason":"open","torn":true},"chain":{"seq":1,"prev":"` + strings.Repeat("0", 64) + `","sig":"AA=="}}` + "\n"))
	f.Add([]byte(`{"time":"x","chain":{"seq":18446744073709551615,"prev":"` + strings.Repeat("0", 64) + `"}}` + "\n"))
	f.Add([]byte(`{,"chain":{"seq":0,"prev":"` + strings.Repeat("0", 64) + `"}}`))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		if _, err := audit.Verify(bytes.NewReader(log), key.Public().(ed25519.PublicKey)); err == nil {
			t.Errorf("verified without a signature: %q", log)
		}
		_, _ = audit.Verify(bytes.NewReader(log), nil)
	})
}
