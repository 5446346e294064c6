package audit

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"time"
)

// signingContext separates checkpoint signatures from anything else that the
// same key might sign.
const signingContext = "coffer audit checkpoint v1\x00"

// chainMark begins the closing member of every line. It cannot occur later in
// the line than where the writer put it: what follows is numbers, hex and
// base64.
const chainMark = `,"chain":{"seq":`

// chain is the state that links one line to the next.
type chain struct {
	seq  uint64 // of the last line
	last [sha256.Size]byte
}

// seal closes the line that begins at from in buf, moves the chain on and
// appends the line end. The line holds everything but its closing brace.
func (c *chain) seal(buf []byte, from int) []byte {
	buf = append(c.link(buf), "}}"...)
	return c.advance(buf, from)
}

// link appends the member that ties a line to the one before, open at its end.
func (c *chain) link(buf []byte) []byte {
	buf = append(buf, chainMark...)
	buf = strconv.AppendUint(buf, c.seq+1, 10)
	buf = append(buf, `,"prev":"`...)
	buf = hex.AppendEncode(buf, c.last[:])
	return append(buf, '"')
}

func (c *chain) advance(buf []byte, from int) []byte {
	c.seq++
	c.last = sha256.Sum256(buf[from:])
	return append(buf, '\n')
}

// reason says why a checkpoint was written.
type reason string

const (
	reasonOpen     reason = "open"     // the target was opened: start, reopen, or after a rotation
	reasonInterval reason = "interval" // enough entries or time since the last one
	reasonRotate   reason = "rotate"   // last line before a rotation or a reopening
	reasonClose    reason = "close"    // last line of an orderly end
)

// notary writes checkpoint lines: the chain's state, signed.
type notary struct {
	signer crypto.Signer // nil: checkpoints are written but prove nothing
	rand   io.Reader
	keyID  string
	device string
	node   string
	prefix string
}

// checkpoint is what a checkpoint line tells beside its place in the chain.
type checkpoint struct {
	reason  reason
	entries uint64 // entries since the last checkpoint
	dropped uint64 // entries lost since the last checkpoint, for want of room
	torn    bool   // the line before this one is the rest of a failed write
}

// appendCheckpoint appends a signed checkpoint line and moves the chain on.
func (n *notary) appendCheckpoint(buf []byte, c *chain, now time.Time, cp checkpoint) ([]byte, error) {
	from := len(buf)
	buf = append(buf, n.prefix...)
	e := encoder{buf: buf}
	e.buf = append(e.buf, '{')
	e.time("time", now, time.RFC3339Nano)
	e.str("type", "checkpoint")
	e.open("checkpoint")
	e.str("reason", string(cp.reason))
	e.str("device", n.device)
	e.str("node", n.node)
	e.num("entries", int64(cp.entries))
	e.num("dropped", int64(cp.dropped))
	e.flag("torn", cp.torn)
	e.str("key_id", n.keyID)
	e.close()
	buf = c.link(e.buf)
	if n.signer != nil {
		sig, err := n.signer.Sign(n.rand, signedMessage(buf[from:]), crypto.Hash(0))
		if err != nil {
			return buf[:from], fmt.Errorf("signing audit checkpoint: %w", err)
		}
		buf = append(buf, sigMark...)
		buf = base64.StdEncoding.AppendEncode(buf, sig)
		buf = append(buf, '"')
	}
	buf = append(buf, "}}"...)
	return c.advance(buf, from), nil
}

const sigMark = `,"sig":"`

// signedMessage is what a checkpoint's signature covers: the line up to the
// signature, which holds the hash of all lines before.
func signedMessage(line []byte) []byte {
	sum := sha256.Sum256(line)
	return append([]byte(signingContext), sum[:]...)
}

// chainFields are the parsed closing member of a line.
type chainFields struct {
	seq  uint64
	prev [sha256.Size]byte
	sig  []byte
	// signed is the length of the part that sig covers.
	signed int
}

// parseChain reads the closing member of a line without its line end.
func parseChain(line []byte) (f chainFields, ok bool) {
	at := bytes.LastIndex(line, []byte(chainMark))
	if at < 0 {
		return f, false
	}
	seq, rest, ok := bytes.Cut(line[at+len(chainMark):], []byte(`,"prev":"`))
	if !ok || len(rest) <= hexSum || rest[hexSum] != '"' {
		return f, false
	}
	var err error
	if f.seq, err = strconv.ParseUint(string(seq), 10, 64); err != nil || f.seq == 0 {
		return f, false
	}
	if _, err := hex.Decode(f.prev[:], rest[:hexSum]); err != nil {
		return f, false
	}
	rest = rest[hexSum+1:]
	if string(rest) == "}}" {
		return f, true
	}
	f.signed = len(line) - len(rest)
	sig, marked := bytes.CutPrefix(rest, []byte(sigMark))
	sig, closed := bytes.CutSuffix(sig, []byte(`"}}`))
	if !marked || !closed {
		return f, false
	}
	f.sig, err = base64.StdEncoding.AppendDecode(nil, sig)
	return f, err == nil && len(f.sig) > 0
}
