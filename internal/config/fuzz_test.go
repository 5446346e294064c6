package config_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/config"
)

// FuzzParse checks that no file crashes the parser, that an error names the
// file, and that what was accepted can be validated, shown and compared.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/vault.hcl", "testdata/full.hcl", "testdata/full.json"} {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	for _, src := range []string{
		"", "{", "{}", "[]", "\xef\xbb\xbf{}", "a = <<EOF\nx\nEOF\n", "a = <<-EOF\n x\n EOF", "a \"b\" \"c\" {}",
		"ui = \"${x}\"", "ui = 0x", "api_addr = \"\\u00\"", "\"listener\" \"tcp\" = {}", "listener = [{}, [], 1]",
		"audit { file {} }", "audit \"file\" \"a\" \"b\" {}", "audit = [{file = [{}]}]", "seal \"shamir\" = []",
		`{"listener":null}`, `{"listener":[{"tcp":[{"address":1e9}]}]}`, `{"max_lease_ttl":1.5}`, `{"a":` + strings.Repeat("[", 40),
		"// c\n/* d", "max_lease_ttl = \"9223372036d\"", "listener \"tcp\" { custom_response_headers { \"200\" = { \"A\" = [\"b\\r\\n\"] } } }",
	} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := config.Parse("fuzz", src)
		if err != nil {
			var problem *config.Error
			if !errors.As(err, &problem) || problem.Pos.File != "fuzz" {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		_ = c.Validate() // any outcome is fine; it must not panic
		c.Sanitized()
		if changed, needRestart := config.Reloadable(c, c); len(changed)+len(needRestart) > 0 {
			t.Fatalf("differs from itself: %v %v", changed, needRestart)
		}
	})
}
