package shamir_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"math/bits"
	"testing"

	"github.com/cofferhq/coffer/internal/seal/shamir"
)

// TestMultiplicationTable compares all products with those of an independent
// implementation by logarithms.
func TestMultiplicationTable(t *testing.T) {
	h := sha256.New()
	for a := range 256 {
		var row [256]byte
		for b := range row {
			row[b] = shamir.Mul(byte(a), byte(b))
		}
		h.Write(row[:])
	}
	const want = "14a1e7e77ca8a30b5bb53e6310748ce0498eb9e04ab78a44dbefb6ebfac8a84b"
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("table hashes to %s, want %s", got, want)
	}
	for a := 1; a < 256; a++ {
		if p := shamir.Mul(byte(a), shamir.Inverse(byte(a))); p != 1 {
			t.Errorf("%d times its inverse is %d", a, p)
		}
	}
	if shamir.Inverse(0) != 0 {
		t.Error("the inverse of 0 is not 0")
	}
}

// TestArithmeticHasNoSecretDependentSteps reads the source of the arithmetic:
// no branch, no index, no loop whose length is not a constant.
func TestArithmeticHasNoSecretDependentSteps(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "gf256.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt, *ast.SwitchStmt, *ast.ForStmt, *ast.IndexExpr, *ast.BranchStmt, *ast.SliceExpr:
			t.Errorf("%T in the arithmetic", n)
		case *ast.RangeStmt:
			if _, constant := n.X.(*ast.BasicLit); !constant {
				t.Error("a loop's length is not a constant")
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); !ok || f.Name != "mul" && f.Name != "byte" {
				t.Error("a call of something else")
			}
		}
		return true
	})
}

// The shares of bytes 0x40 to 0x5f at the points 1, 2, 3, 0x80 and 0xff, made
// by an independent implementation.
var vectors = []string{
	"09174d10055d8d25b492de00512473a2bbce8db3a298eff5c8ef4757852c8d4101",
	"5043c2d7e5bef0f91d0416e06abd22cbee77af46eb64fbd4bf01edaf978c997f02",
	"1915cd84a4a63b9be1df82ab77d41f2605e870a61da942762fb7f0a34efd4a6103",
	"a1e44e62ed406a96c3b5bce7c3d1442cd4df2689de37db9dfacd2131fb3ee64b80",
	"ec0bb9034ce5eabd74e3606e6ef59136d05972b1ffc10b5d0c38444a46f18567ff",
}

func TestVectors(t *testing.T) {
	want := make([]byte, 32)
	for i := range want {
		want[i] = byte(0x40 + i)
	}
	var shares [][]byte
	for _, v := range vectors {
		b, err := hex.DecodeString(v)
		if err != nil {
			t.Fatal(err)
		}
		shares = append(shares, b)
	}
	eachSubset(shares, func(subset [][]byte) {
		got, err := shamir.Combine(subset)
		if len(subset) < 2 {
			if err == nil {
				t.Errorf("%d shares combine", len(subset))
			}
			return
		}
		if err != nil || bytes.Equal(got, want) != (len(subset) >= 3) {
			t.Errorf("%d shares: equal %v, error %v", len(subset), bytes.Equal(got, want), err)
		}
	})
}

func eachSubset(shares [][]byte, f func([][]byte)) {
	for mask := range uint(1) << len(shares) {
		subset := make([][]byte, 0, bits.OnesCount(mask))
		for i, s := range shares {
			if mask>>i&1 == 1 {
				subset = append(subset, s)
			}
		}
		f(subset)
	}
}

func TestEverySubsetOfEverySmallSplit(t *testing.T) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	for n := 2; n <= 7; n++ {
		for threshold := 2; threshold <= n; threshold++ {
			shares, err := shamir.Split(secret, n, threshold, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			eachSubset(shares, func(subset [][]byte) {
				if len(subset) < 2 {
					return
				}
				got, err := shamir.Combine(subset)
				if err != nil || bytes.Equal(got, secret) != (len(subset) >= threshold) {
					t.Errorf("%d of %d with %d shares: equal %v, error %v", threshold, n, len(subset), bytes.Equal(got, secret), err)
				}
			})
		}
	}
}

func TestManyShares(t *testing.T) {
	secret := []byte("one byte more than thirty-two....")
	shares, err := shamir.Split(secret, 255, 255, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := shamir.Combine(shares); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("255 of 255: %q, %v", got, err)
	}
	if got, _ := shamir.Combine(shares[1:]); bytes.Equal(got, secret) {
		t.Error("254 of 255 shares suffice")
	}
}

func TestSplitBounds(t *testing.T) {
	for _, c := range []struct{ n, threshold int }{{1, 1}, {2, 1}, {2, 3}, {0, 0}, {256, 2}, {5, -1}, {-1, 2}} {
		if _, err := shamir.Split([]byte("x"), c.n, c.threshold, rand.Reader); err == nil {
			t.Errorf("%d of %d passed", c.threshold, c.n)
		}
	}
	if _, err := shamir.Split(nil, 3, 2, rand.Reader); err == nil {
		t.Error("an empty secret passed")
	}
}

func TestShortRandomnessFails(t *testing.T) {
	for n := range 5 {
		src := io.MultiReader(io.LimitReader(rand.Reader, int64(n)), broken{})
		if _, err := shamir.Split([]byte("secret"), 3, 2, src); err == nil {
			t.Errorf("%d random bytes were enough", n)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

func TestMalformedShares(t *testing.T) {
	cases := map[string][][]byte{
		"none":              nil,
		"one":               {{1, 1}},
		"different lengths": {{1, 1}, {1, 2, 3}},
		"doubled point":     {{1, 7}, {2, 7}},
		"point zero":        {{1, 0}, {2, 7}},
		"only points":       {{1}, {2}},
		"empty":             {{}, {}},
	}
	for name, shares := range cases {
		if got, err := shamir.Combine(shares); err == nil {
			t.Errorf("%s: combined to %x", name, got)
		}
	}
}

// FuzzCombine feeds shares cut from arbitrary bytes: it must not panic, and a
// genuine split must combine to its secret.
func FuzzCombine(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), 4, 2)
	f.Add([]byte{}, 0, 0)
	f.Add([]byte{1, 0, 1, 0}, 2, 2)
	f.Add([]byte{1, 9, 1, 9}, 2, 3)
	f.Fuzz(func(t *testing.T, raw []byte, size, threshold int) {
		if size < 1 || size > 64 {
			return
		}
		var shares [][]byte
		for rest := raw; len(rest) >= size; rest = rest[size:] {
			shares = append(shares, rest[:size])
		}
		if got, err := shamir.Combine(shares); err == nil && len(got) != size-1 {
			t.Fatalf("%d bytes from shares of %d", len(got), size)
		}
		split, err := shamir.Split(raw, 5, threshold, rand.Reader)
		if err != nil {
			return
		}
		if got, err := shamir.Combine(split[:threshold]); err != nil || !bytes.Equal(got, raw) {
			t.Fatalf("split and combined to %x, %v", got, err)
		}
	})
}

func BenchmarkCombine(b *testing.B) {
	secret := make([]byte, 32)
	shares, err := shamir.Split(secret, 5, 3, rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := shamir.Combine(shares[:3]); err != nil {
			b.Fatal(err)
		}
	}
}
