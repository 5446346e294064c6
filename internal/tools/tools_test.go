package tools_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"testing"
	"testing/iotest"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/tools"
)

func mounted(t *testing.T) *enginetest.Mount {
	t.Helper()
	return enginetest.New(t, tools.Routes("tools/"), func(engine.Host) (any, error) { return tools.New(nil), nil })
}

func TestHashKnowsTheAlgorithmsOfVault(t *testing.T) {
	m := mounted(t)
	hello := map[string]any{"input": "aGVsbG8gd29ybGQ="}
	for _, tt := range []struct {
		path string
		body map[string]any
		want string
	}{
		{"tools/hash/sha2-224", hello, "2f05477fc24bb4faefd86517156dafdecec45b8ad3cf2522a563582b"},
		{"tools/hash/sha2-256", hello, "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"},
		{"tools/hash/sha2-384", hello, "fdbd8e75a67f29f701a4e040385e2e23986303ea10239211af907fcbb83578b3e417cb71ce646efd0819dd8c088de1bd"},
		{"tools/hash/sha2-512", hello, "309ecc489c12d6eb4cc40f50c902f2b4d0ed77ee511a7c7a9bcd3ca86d4cd86f989dd35bc5ff499670da34255b45b0cfd830e81f605dcf7dc5542e93ae9cd76f"},
		{"tools/hash/sha3-224", hello, "dfb7f18c77e928bb56faeb2da27291bd790bc1045cde45f3210bb6c5"},
		{"tools/hash/sha3-256", hello, "644bcc7e564373040999aac89e7622f3ca71fba1d972fd94a31c3bfbf24e3938"},
		{"tools/hash/sha3-384", hello, "83bff28dde1b1bf5810071c6643c08e5b05bdb836effd70b403ea8ea0a634dc4997eb1053aa3593f590f9c63630dd90b"},
		{"tools/hash/sha3-512", hello, "840006653e9ac9e95117a15c915caab81662918e925de9e004f774ff82d7079a40d4d27b1b372657c61d46d470304c88c788b3a4527ad074d1dccbee5dbaa99a"},
		{"tools/hash", hello, "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"},
		{"tools/hash", map[string]any{}, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"tools/hash", map[string]any{"input": "", "algorithm": "sha2-512", "urlalgorithm": "sha2-256"}, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"tools/hash/sha2-256", map[string]any{"input": "aGVsbG8gd29ybGQ=", "format": "base64", "algorithm": "sha2-512"}, "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="},
	} {
		if got := m.Write(tt.path, tt.body).Map(t)["sum"]; got != tt.want {
			t.Errorf("%s %v: got %v, want %s", tt.path, tt.body, got, tt.want)
		}
	}
}

func TestRandomMakesAsManyBytesAsAskedFor(t *testing.T) {
	m := mounted(t)
	for _, tt := range []struct {
		path, body string
		decode     func(string) ([]byte, error)
		want       int
	}{
		{"tools/random", ``, base64.StdEncoding.DecodeString, 32},
		{"tools/random", `{"bytes":8,"format":"hex"}`, hex.DecodeString, 8},
		{"tools/random", `{"bytes":"9","urlbytes":"7"}`, base64.StdEncoding.DecodeString, 7},
		{"tools/random", `{"bytes":131072}`, base64.StdEncoding.DecodeString, 131072},
		{"tools/random/16", `{"format":"hex"}`, hex.DecodeString, 16},
		{"tools/random/16", `{"bytes":4}`, base64.StdEncoding.DecodeString, 16},
		{"tools/random/platform", `{"bytes":5}`, base64.StdEncoding.DecodeString, 5},
		{"tools/random/platform/4", `{"format":"hex"}`, hex.DecodeString, 4},
		{"tools/random/all/4", `{"format":"hex"}`, hex.DecodeString, 4},
	} {
		text, _ := m.Write(tt.path, tt.body).Map(t)["random_bytes"].(string)
		b, err := tt.decode(text)
		if err != nil || len(b) != tt.want {
			t.Errorf("%s %s: got %d bytes (%v), want %d", tt.path, tt.body, len(b), err, tt.want)
		}
	}
	if a, b := m.Write("tools/random", nil), m.Write("tools/random", nil); string(a.Data) == string(b.Data) {
		t.Error("two requests gave the same bytes")
	}
}

func TestBadInputIsRefused(t *testing.T) {
	m := mounted(t)
	for _, tt := range []struct{ path, body string }{
		{"tools/hash/md5", `{"input":"aGVsbG8="}`},
		{"tools/hash", `{"algorithm":""}`},
		{"tools/hash", `{"input":"***"}`},
		{"tools/hash", `{"input":"aGVsbG8=","format":"octal"}`},
		{"tools/hash", `{"input":["a"]}`},
		{"tools/random/abc", ``},
		{"tools/random/0", ``},
		{"tools/random/-1", ``},
		{"tools/random/99999999999999999999", ``},
		{"tools/random", `{"bytes":10000000}`},
		{"tools/random", `{"bytes":131073}`},
		{"tools/random", `{"bytes":"many"}`},
		{"tools/random", `{"format":"octal"}`},
		{"tools/random", `{"source":"dice"}`},
		{"tools/random/seal", ``},
		{"tools/random/dice/4", ``},
		{"tools/random/platform/platform", ``},
	} {
		if err := m.Fails(fault.Invalid, route.VerbWrite, tt.path, tt.body); fault.Message(err) == "" {
			t.Errorf("%s %s: the refusal does not say why", tt.path, tt.body)
		}
	}
}

func TestAFailingSourceIsAnError(t *testing.T) {
	broken := errors.New("no entropy")
	m := enginetest.New(t, tools.Routes("tools/"), func(engine.Host) (any, error) { return tools.New(iotest.ErrReader(broken)), nil })
	if err := m.Fails(fault.Internal, route.VerbWrite, "tools/random", nil); !errors.Is(err, broken) {
		t.Errorf("got %v, want the cause", err)
	}
}
