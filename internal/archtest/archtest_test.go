// Package archtest_test checks the rules of the house that a compiler does not:
// which package may import which, and a few things that code must not do.
package archtest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/cofferhq/coffer/"

// layers order the packages: each imports only from layers above its own in
// this list. A folder ending in / stands for every package below it.
func layers() [][]string {
	return [][]string{
		{"api", "internal/fault", "internal/clock", "internal/version", "internal/store/btree", "internal/seal/shamir", "internal/pgtest", "internal/k8stest", "internal/ldaptest"},
		{"internal/wire", "internal/store", "internal/config", "internal/bench"},
		{"internal/cli", "internal/route", "internal/store/mem", "internal/store/raft", "internal/store/storetest", "internal/cluster/port"},
		{"internal/barrier", "internal/engine", "internal/envelope", "internal/namespace", "internal/openapi", "internal/replica"},
		{"internal/authn", "internal/expiry", "internal/engine/enginetest"},
		// The nouns, and the engines and methods beside them.
		{
			"internal/audit", "internal/autopilot", "internal/backup", "internal/catalog", "internal/cluster", "internal/cluster/membership", "internal/diag", "internal/lease", "internal/lockout",
			"internal/mount", "internal/oidc", "internal/policy", "internal/quota", "internal/seal", "internal/settings", "internal/snapshot", "internal/tools", "internal/engine/", "internal/authn/",
		},
		{"internal/identity", "internal/token"}, // one is whom policies are rendered for, the other ends the leases of what it revokes
		{"internal/wrap"},                       // keeps answers under tokens
		{"internal/gate"},
		{"internal/httpd"},
		{"internal/server"},
		{"internal/server/servertest", "internal/serve"},
		{"internal/server/clustertest"},
		{"cmd/", "e2e/"},
	}
}

// contract is all that engines and methods import beside their own packages and
// the contract of their kind.
func contract() []string {
	return []string{"internal/engine", "internal/route", "internal/wire", "internal/fault", "internal/clock", "internal/store"}
}

// file is a parsed source file.
type file struct {
	name string // below the module's root
	pkg  string // its package's folder
	test bool
	set  *token.FileSet
	tree *ast.File
}

func (f *file) at(n ast.Node) string {
	return f.name + ":" + strconv.Itoa(f.set.Position(n.Pos()).Line)
}

// imports are the packages of this module that the file imports.
func (f *file) imports() []string {
	var own []string
	for _, spec := range f.tree.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil && strings.HasPrefix(name, module) {
			own = append(own, strings.TrimPrefix(name, module))
		}
	}
	return own
}

// sources parses every Go file of the module.
func sources(t *testing.T) []*file {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []*file
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); base == "testdata" || base == "node_modules" || len(base) > 2 && base[0] == '.' {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f := &file{set: token.NewFileSet(), test: strings.HasSuffix(name, "_test.go")}
		if f.tree, err = parser.ParseFile(f.set, name, nil, parser.SkipObjectResolution); err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		f.name = filepath.ToSlash(rel)
		f.pkg = path.Dir(f.name)
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 100 {
		t.Fatalf("found only %d files: is this the module's root?", len(files))
	}
	return files
}

// layerOf returns the index of a package's layer, -1 if it has none.
func layerOf(pkg string) int {
	below := -1
	for i, names := range layers() {
		for _, name := range names {
			if name == pkg {
				return i
			}
			if strings.HasSuffix(name, "/") && strings.HasPrefix(pkg, name) {
				below = i
			}
		}
	}
	return below
}

func TestImportsPointOneWay(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		own := layerOf(f.pkg)
		if own < 0 {
			t.Errorf("%s: the package %s is in no layer; add it to the list in this test", f.name, f.pkg)
			continue
		}
		for _, dep := range f.imports() {
			sameFamily := family(f.pkg) != "" && family(f.pkg) == family(dep)
			if layerOf(dep) >= own && !sameFamily {
				t.Errorf("%s imports %s, which is not below it", f.name, dep)
			}
			switch {
			case f.pkg == "api", clientSide(f.pkg) && !clientSide(dep) && dep != "api" && dep != "internal/clock":
				t.Errorf("%s imports %s: the client side knows nothing of the server's packages", f.name, dep)
			case dep == "internal/store/raft" || dep == "internal/store/mem":
				if f.pkg != "internal/server" && f.pkg != "internal/engine/enginetest" {
					t.Errorf("%s imports %s: only the composition root chooses a store", f.name, dep)
				}
			case dep == "internal/barrier" && f.pkg != "internal/seal" && f.pkg != "internal/server":
				t.Errorf("%s imports %s: everything else knows only the store's contract", f.name, dep)
			}
		}
	}
}

// clientSide reports whether a package belongs to the command line rather than
// to the server that it talks to.
func clientSide(pkg string) bool { return pkg == "internal/cli" || pkg == "internal/bench" }

// family is the folder of an engine or a method, "" for other packages.
func family(pkg string) string {
	parts := strings.Split(pkg, "/")
	if len(parts) < 3 || parts[1] != "engine" && parts[1] != "authn" || parts[2] == "enginetest" || parts[2] == "authntest" {
		return ""
	}
	return strings.Join(parts[:3], "/")
}

func TestEnginesAndMethodsKnowOnlyTheirContract(t *testing.T) {
	for _, f := range sources(t) {
		own := family(f.pkg)
		if own == "" || f.test {
			continue
		}
		for _, dep := range f.imports() {
			ofMethod := strings.HasPrefix(own, "internal/authn/") && dep == "internal/authn"
			if family(dep) != own && !ofMethod && !slices.Contains(contract(), dep) {
				t.Errorf("%s imports %s", f.name, dep)
			}
		}
	}
}

// TestHTTPStaysAtTheEdge keeps requests, answers and status codes out of
// everything that serves them.
func TestHTTPStaysAtTheEdge(t *testing.T) {
	edge := []string{
		"api", "internal/httpd", "internal/server", "internal/server/servertest", "internal/server/clustertest", "internal/cli",
		"internal/backup",             // a client of object stores
		"internal/engine/pki/acme",    // a client of those who answer challenges; its problems carry a status
		"internal/k8stest",            // a server for tests
		"internal/cluster/membership", // a client of other nodes' APIs
	}
	for _, f := range sources(t) {
		if f.test || slices.Contains(edge, f.pkg) || strings.HasPrefix(f.pkg, "cmd/") {
			continue
		}
		inspect(f, func(sel *ast.SelectorExpr, pkg string) {
			if pkg == "http" && (strings.HasPrefix(sel.Sel.Name, "Status") || sel.Sel.Name == "ResponseWriter" || sel.Sel.Name == "Request") {
				t.Errorf("%s uses http.%s", f.at(sel), sel.Sel.Name)
			}
		})
	}
}

func TestTimeComesFromTheClock(t *testing.T) {
	for _, f := range sources(t) {
		inspect(f, func(sel *ast.SelectorExpr, pkg string) {
			if pkg != "time" {
				return
			}
			switch name := sel.Sel.Name; {
			case name == "Sleep":
				t.Errorf("%s sleeps; wait for what is awaited", f.at(sel))
			case !f.test && f.pkg != "internal/clock" && !outsideTheServer(f.pkg) && (name == "Now" || name == "Since" || name == "Until"):
				t.Errorf("%s calls time.%s; take a clock.Clock", f.at(sel), name)
			}
		})
	}
}

// outsideTheServer reports whether a package runs in clients and tests only.
func outsideTheServer(pkg string) bool {
	return pkg == "api" || pkg == "internal/pgtest" || pkg == "internal/k8stest" || pkg == "internal/ldaptest" || strings.HasPrefix(pkg, "cmd/")
}

func TestNothingRunsBeforeMain(t *testing.T) {
	for _, f := range sources(t) {
		for _, d := range f.tree.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s is an init function; pass in what it sets up", f.at(fn))
			}
		}
	}
}

// TestSecretsAreNotComparedByOperator finds what the clear text of a secret is
// compared with by == or !=, whose time tells how much was right. A comparison
// with "" tells nothing.
func TestSecretsAreNotComparedByOperator(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		ast.Inspect(f.tree, func(n ast.Node) bool {
			b, ok := n.(*ast.BinaryExpr)
			if ok && (b.Op == token.EQL || b.Op == token.NEQ) && (reveals(b.X) && !empty(b.Y) || reveals(b.Y) && !empty(b.X)) {
				t.Errorf("%s compares a secret; use crypto/subtle", f.at(b))
			}
			return true
		})
	}
}

// reveals reports whether an expression is a call of wire.Secret's Reveal.
func reveals(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Reveal"
}

func empty(e ast.Expr) bool {
	lit, ok := e.(*ast.BasicLit)
	return ok && lit.Value == `""`
}

// inspect visits every pkg.Name of a file.
func inspect(f *file, visit func(sel *ast.SelectorExpr, pkg string)) {
	ast.Inspect(f.tree, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok {
				visit(sel, id.Name)
			}
		}
		return true
	})
}
