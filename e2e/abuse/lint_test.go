package abuse_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// secretNames are names of values that must be compared in constant time, if at
// all, and secretLike those that only sound so.
var (
	secretNames = []string{"password", "secretid", "clienttoken", "roottoken", "unsealkey", "rootkey", "passwd", "otp", "mac", "digest"}
	emptyValues = map[string]bool{`""`: true, "nil": true}
	// standIns are constants that take a secret's place in a text that is shown.
	standIns = map[string]bool{"standIn": true}
)

// TestC9_SecretsAreComparedInConstantTime looks through every file of the server
// for comparisons with == or != and bytes.Equal of what its name says is a
// secret. Comparing with the empty value tells nothing.
func TestC9_SecretsAreComparedInConstantTime(t *testing.T) {
	files := 0
	eachFile(t, func(set *token.FileSet, path string, f *ast.File) {
		files++
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op != token.EQL && n.Op != token.NEQ || empty(n.X) || empty(n.Y) {
					return true
				}
				if secret(n.X) || secret(n.Y) {
					t.Errorf("%s: a secret is compared with %s", set.Position(n.Pos()), n.Op)
				}
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Equal" && ident(sel.X) == "bytes" && (secret(n.Args[0]) || secret(n.Args[1])) {
					t.Errorf("%s: a secret is compared with bytes.Equal", set.Position(n.Pos()))
				}
			}
			return true
		})
	})
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
}

// eachFile parses the server's own files.
func eachFile(t *testing.T, fn func(*token.FileSet, string, *ast.File)) {
	t.Helper()
	set := token.NewFileSet()
	err := filepath.WalkDir(filepath.Join("..", "..", "internal"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		fn(set, path, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// secret reports whether an expression is named like a secret.
func secret(e ast.Expr) bool {
	if call, ok := e.(*ast.CallExpr); ok {
		sel, ok := call.Fun.(*ast.SelectorExpr)
		return ok && sel.Sel.Name == "Reveal"
	}
	name := strings.ToLower(ident(e))
	for _, s := range secretNames {
		if name == s {
			return true
		}
	}
	return false
}

// ident is the last name of an expression, "" if it has none.
func ident(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// empty reports whether an expression is a constant that stands for nothing.
func empty(e ast.Expr) bool {
	if lit, ok := e.(*ast.BasicLit); ok {
		return emptyValues[lit.Value] || lit.Kind == token.INT
	}
	return ident(e) == "nil" || standIns[ident(e)]
}

// TestRowsThatDoNotApply says why rows of the catalogue have no test here.
func TestRowsThatDoNotApply(t *testing.T) {
	for _, r := range []struct{ rows, why string }{
		{"A3 A4 A5", "templated policies have their tests in internal/policy: a value with a separator or a metacharacter, or a template that does not render, refuses the request; A3 here damages stored policies"},
		{"A8", "there are no endpoint policies (Sentinel, CEL)"},
		{"A9", "there is one namespace, so no role policy of another"},
		{"B5 B6 B7 B8 B9", "namespaces cannot be made or deleted yet, and entities are not deleted in batches across them; the namespace of a handle is checked where it is looked up (B2, B3, B4)"},
		{"B10", "there is no plugin catalogue: engines are built in"},
		{"C1", "an auth method cannot return an identity with an error: authn.Login drops the one when the other is set, and the gate sees a reply or an error"},
		{"C2", "there are no internal kinds of operation: a route.Verb is what an HTTP method says, and only endpoints declared by authn.Login make tokens"},
		{"C10", "the cert method is not built; a method's Renew gets its own payload, not the request's credentials"},
		{"D5", "LDAP is not built"},
		{"D8 D9 D10", "login MFA is not built"},
		{"D11 D12 D13 D14", "identity has its own tests; control groups are not built"},
		{"G9", "the agent is not built"},
		{"H6 H7", "nodes do not join yet: there is one"},
		{"H12", "a matter of the Go release and of govulncheck in CI, and of the listeners' timeouts"},
		{"I1", "GF(256) arithmetic without tables has its tests in internal/seal/shamir"},
		{"I2", "everything is sealed with an AEAD; bit flips have their tests in internal/barrier"},
		{"I3", "randomness comes from crypto/rand, which ends the process when it fails, and nonces from cipher.NewGCMWithRandomNonce, which cannot be given a zero nonce; failing readers have their tests in internal/barrier"},
		{"I5", "storage has no SQL"},
		{"S1", "quotas of leases have their tests in internal/quota"},
		{"S2 S3 S4", "nothing is loaded at start: the expiry index is read from its head; scheduling has its tests in internal/expiry"},
		{"S9 S11", "a full disk and the time to open have their tests in internal/store/raft"},
	} {
		t.Logf("%s: %s", r.rows, r.why)
	}
}
