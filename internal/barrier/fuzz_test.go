package barrier_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cofferhq/coffer/internal/barrier"
)

// FuzzStoredValue puts arbitrary bytes where a sealed value should be.
func FuzzStoredValue(f *testing.F) {
	b, inner, _, _ := fixture(f)
	put(f, b, key("a"), []byte("value"))
	genuine, err := get(f, inner, key("a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine[:barrier.Overhead-1])
	f.Add(genuine[:barrier.Overhead])
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 1})
	f.Add(append([]byte{2}, genuine[1:]...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		put(t, inner, key("a"), raw)
		got, err := get(t, b, key("a"))
		if bytes.Equal(raw, genuine) {
			if err != nil || string(got) != "value" {
				t.Fatalf("the genuine value: %q, %v", got, err)
			}
			return
		}
		if err != barrier.ErrUnreadable {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

// FuzzKeyringRow puts arbitrary bytes where the sealed keyring should be.
func FuzzKeyringRow(f *testing.F) {
	_, inner, root, _ := fixture(f)
	genuine, err := get(f, inner, keyringKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine[:65])
	f.Add(genuine[:77])
	f.Add([]byte{})
	f.Add(append([]byte{2}, genuine[1:]...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		put(t, inner, keyringKey, raw)
		b, err := barrier.Open(t.Context(), inner, root, barrier.Config{ClusterID: "cluster-a"})
		if err == nil {
			b.Close()
			if !bytes.Equal(raw, genuine) {
				t.Fatal("a forged keyring opened")
			}
		}
	})
}

// FuzzKeyring decodes unsealed keyrings: what is accepted must be canonical.
func FuzzKeyring(f *testing.F) {
	one := make([]byte, 30+52)
	one[0] = 1
	one[29] = 1
	one[33] = 1
	f.Add(one)
	f.Add([]byte{})
	f.Add(one[:30])
	two := append(bytes.Clone(one), one[30:]...)
	two[29] = 2
	f.Add(bytes.Clone(two))
	two[85] = 2
	f.Add(two)
	huge := bytes.Clone(one)
	binary.BigEndian.PutUint32(huge[26:], 1<<32-1)
	f.Add(huge)
	f.Fuzz(func(t *testing.T, raw []byte) {
		again, err := barrier.ReencodeKeyring(raw)
		if err == nil && !bytes.Equal(raw, again) {
			t.Fatalf("accepted % x, encodes as % x", raw, again)
		}
	})
}
