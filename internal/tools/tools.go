// Package tools is the noun behind sys/tools: random bytes and hashes, for
// clients that have no good source of either. The transit engine has the same
// endpoints. It keeps nothing.
package tools

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// Tools is the noun.
type Tools struct{ rand io.Reader }

// New returns the noun. Its source of randomness is that of crypto/rand if
// random is nil.
func New(random io.Reader) *Tools {
	if random == nil {
		random = rand.Reader
	}
	return &Tools{rand: random}
}

// Routes are the endpoints under a prefix, "tools/" for sys/. Their receiver is
// a *[Tools].
func Routes(prefix string) []route.Endpoint {
	return []route.Endpoint{
		route.Write(prefix+"random", (*Tools).random, route.Pure(), route.Doc{Summary: "Make random bytes."}),
		route.Write(prefix+"random/{urlbytes}", (*Tools).randomAt, route.Pure(), route.Doc{
			Summary: "Make random bytes.", Description: "The segment is the number of bytes, or the source that they come from.",
		}),
		route.Write(prefix+"random/{source}/{urlbytes}", (*Tools).randomFrom, route.Pure(), route.Doc{Summary: "Make random bytes from a source."}),
		route.Write(prefix+"hash", (*Tools).hash, route.Pure(), route.Doc{Summary: "Hash bytes."}),
		route.Write(prefix+"hash/{urlalgorithm}", (*Tools).hashBy, route.Pure(), route.Doc{Summary: "Hash bytes with an algorithm."}),
	}
}

// maxRandom is the most bytes that one request may ask for, as in Vault.
const maxRandom = 128 << 10

type randomOptions struct {
	Bytes  int64  `json:"bytes" default:"32" doc:"Number of bytes, at most 131072."`
	Format string `json:"format" default:"base64" doc:"Encoding of the answer: hex or base64."`
}

type randomRequest struct {
	randomOptions
	Source   string `json:"source" default:"platform" doc:"Where the bytes come from: platform, seal or all."`
	URLBytes string `json:"urlbytes" doc:"Number of bytes; beats bytes."`
}

type randomAtRequest struct {
	randomOptions
	Source   string `json:"source" default:"platform" doc:"Where the bytes come from: platform, seal or all."`
	URLBytes string `path:"urlbytes" doc:"Number of bytes, or the source that they come from."`
}

type randomFromRequest struct {
	randomOptions
	Source   string `path:"source" doc:"Where the bytes come from: platform, seal or all."`
	URLBytes string `path:"urlbytes" doc:"Number of bytes."`
}

type randomAnswer struct {
	RandomBytes string `json:"random_bytes"`
}

func (t *Tools) random(_ context.Context, c *route.Call, in randomRequest) (randomAnswer, error) {
	return t.bytes(c, in.Source, in.URLBytes, in.randomOptions)
}

func (t *Tools) randomAt(_ context.Context, c *route.Call, in randomAtRequest) (randomAnswer, error) {
	if slices.Contains(sources, in.URLBytes) {
		return t.bytes(c, in.URLBytes, "", in.randomOptions)
	}
	return t.bytes(c, in.Source, in.URLBytes, in.randomOptions)
}

func (t *Tools) randomFrom(_ context.Context, c *route.Call, in randomFromRequest) (randomAnswer, error) {
	return t.bytes(c, in.Source, in.URLBytes, in.randomOptions)
}

// sources are the names of where random bytes can come from.
var sources = []string{"platform", "seal", "all"}

// bytes makes random bytes; text is their number if it is not "".
func (t *Tools) bytes(c *route.Call, source, text string, o randomOptions) (randomAnswer, error) {
	encode, err := encoding(o.Format)
	if err != nil {
		return randomAnswer{}, err
	}
	if text != "" {
		if o.Bytes, err = strconv.ParseInt(text, 10, 64); err != nil {
			return randomAnswer{}, fault.New(fault.Invalid, "the number of bytes in the path must be a whole number")
		}
	}
	if o.Bytes < 1 || o.Bytes > maxRandom {
		return randomAnswer{}, fault.Newf(fault.Invalid, "the number of bytes must be between 1 and %d", maxRandom)
	}
	switch source {
	case "platform":
	case "all":
		c.Warn("the seal has no source of randomness: all bytes come from the platform")
	case "seal":
		return randomAnswer{}, fault.New(fault.Invalid, `the seal has no source of randomness; use the source "platform"`)
	default:
		return randomAnswer{}, fault.New(fault.Invalid, `unsupported source of randomness; use "platform", "seal" or "all"`)
	}
	b := make([]byte, o.Bytes)
	if _, err := io.ReadFull(t.rand, b); err != nil {
		return randomAnswer{}, fmt.Errorf("reading random bytes: %w", err)
	}
	return randomAnswer{encode(b)}, nil
}

type hashOptions struct {
	Input  string `json:"input" sensitive:"true" doc:"Bytes to hash, in base64."`
	Format string `json:"format" default:"hex" doc:"Encoding of the answer: hex or base64."`
}

type hashRequest struct {
	hashOptions
	Algorithm    string `json:"algorithm" default:"sha2-256" doc:"Hash function: sha2-224, sha2-256, sha2-384, sha2-512, or sha3 with the same sizes."`
	URLAlgorithm string `json:"urlalgorithm" doc:"Hash function; beats algorithm."`
}

type hashByRequest struct {
	hashOptions
	Algorithm    string `json:"algorithm" doc:"Accepted for symmetry; the path decides."`
	URLAlgorithm string `path:"urlalgorithm" doc:"Hash function: sha2-224, sha2-256, sha2-384, sha2-512, or sha3 with the same sizes."`
}

type hashAnswer struct {
	Sum string `json:"sum"`
}

func (t *Tools) hash(_ context.Context, _ *route.Call, in hashRequest) (hashAnswer, error) {
	if in.URLAlgorithm != "" {
		in.Algorithm = in.URLAlgorithm
	}
	return sum(in.Algorithm, in.hashOptions)
}

func (t *Tools) hashBy(_ context.Context, _ *route.Call, in hashByRequest) (hashAnswer, error) {
	return sum(in.URLAlgorithm, in.hashOptions)
}

// functions are the hash functions by name.
var functions = map[string]func() hash.Hash{
	"sha2-224": sha256.New224, "sha2-256": sha256.New, "sha2-384": sha512.New384, "sha2-512": sha512.New,
	"sha3-224": func() hash.Hash { return sha3.New224() }, "sha3-256": func() hash.Hash { return sha3.New256() },
	"sha3-384": func() hash.Hash { return sha3.New384() }, "sha3-512": func() hash.Hash { return sha3.New512() },
}

func sum(algorithm string, o hashOptions) (hashAnswer, error) {
	encode, err := encoding(o.Format)
	if err != nil {
		return hashAnswer{}, err
	}
	function, ok := functions[algorithm]
	if !ok {
		return hashAnswer{}, fault.New(fault.Invalid, "unsupported algorithm; use sha2-224, sha2-256, sha2-384, sha2-512, sha3-224, sha3-256, sha3-384 or sha3-512")
	}
	input, err := base64.StdEncoding.DecodeString(o.Input)
	if err != nil {
		// The decoder's text tells a position; it is left out all the same.
		return hashAnswer{}, fault.New(fault.Invalid, "unable to decode input as base64")
	}
	h := function()
	_, _ = h.Write(input) // a hash never fails
	return hashAnswer{encode(h.Sum(nil))}, nil
}

// encoding returns the encoder that a request names.
func encoding(format string) (func([]byte) string, error) {
	switch format {
	case "hex":
		return hex.EncodeToString, nil
	case "base64":
		return base64.StdEncoding.EncodeToString, nil
	}
	return nil, fault.New(fault.Invalid, `unsupported format; use "hex" or "base64"`)
}
