package engine_test

import (
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/engine"
)

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "A_b-c.d9": true, "_": true, "0": true, strings.Repeat("a", 256): true,
		"": false, ".": false, "-a": false, "a-": false, "a.": false, "a b": false, "a/b": false, "ä": false, "a\x00": false, strings.Repeat("a", 257): false,
	} {
		if err := engine.CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
