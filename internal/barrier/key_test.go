package barrier_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/cofferhq/coffer/internal/barrier"
)

func TestKeysAreNeverShown(t *testing.T) {
	k := newKey(t)
	holder := struct {
		K barrier.Key
		P *barrier.Key
	}{k, &k}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&out, verb+verb, k, holder)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("key", "k", k, "holder", holder)
	slog.New(slog.NewTextHandler(&out, nil)).Info("key", "k", k, "holder", holder)
	if err := json.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	raw := k.Expose()
	for name, form := range map[string][]byte{
		"raw":    raw,
		"hex":    []byte(hex.EncodeToString(raw[:4])),
		"base64": []byte(base64.StdEncoding.EncodeToString(raw)[:8]),
		"list":   []byte(fmt.Sprint(raw[:4])[1:6] + " "),
	} {
		if bytes.Contains(bytes.ToLower(out.Bytes()), bytes.ToLower(form)) {
			t.Errorf("shown as %s", name)
		}
	}
}

func TestZeroedKeyIsGone(t *testing.T) {
	k := newKey(t)
	kept, alias := k.Clone(), k
	k.Zero()
	if !bytes.Equal(alias.Expose(), make([]byte, barrier.KeySize)) {
		t.Error("a copy still has the bytes")
	}
	if kept.Equal(k) {
		t.Error("the clone was cleared too")
	}
	if _, err := barrier.ParseKey([]byte("short")); err == nil {
		t.Error("a short key was taken")
	}
}
