package audit

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// Report is what a verification found. It is meaningful up to the line at
// which an error occurred.
type Report struct {
	// Lines, Entries and Checkpoints were read.
	Lines, Entries, Checkpoints uint64
	// FirstSeq and LastSeq are the first and last place in the chain.
	FirstSeq, LastSeq uint64
	// FirstPrev is what the first line says about the line before it: it is
	// zero if the chain begins here, else the hash of the last line of the
	// file before.
	FirstPrev [sha256.Size]byte
	// LastHash is the hash of the last line. Someone who notes it together with
	// LastSeq can later prove that nothing up to there was taken away.
	LastHash [sha256.Size]byte
	// Unproven is the number of lines after the last signed checkpoint. They
	// hang together, but whoever can write the file could have written them.
	Unproven uint64
	// Complete says that the last line is a checkpoint that ends the file in
	// good order: a rotation or a closing. A file that has been put aside and
	// is not complete has been cut, or its server died.
	Complete bool
	// Torn is the number of unfinished lines that failed writes left behind.
	Torn uint64
	// Foreign is the number of lines before the beginning of the chain: a file
	// that was there before this server wrote to it. Nothing is known of them.
	Foreign uint64
	// Restarts is the number of times that a chain begins anew in the middle,
	// which sinks that cannot be read back do whenever the server starts.
	Restarts uint64
}

// ErrBroken is wrapped by the errors of a verification that found the log
// changed.
var ErrBroken = errors.New("the audit log has been changed")

// Verify reads a log and checks that every line follows the one before it, and
// every checkpoint's signature. A log without any signed checkpoint proves
// nothing and is an error; with a nil pub only the chain is checked.
func Verify(r io.Reader, pub ed25519.PublicKey) (Report, error) {
	v := NewVerifier(pub)
	if err := v.Read(r); err != nil {
		return v.Report(), err
	}
	return v.Report(), v.Finish()
}

// Verifier verifies a log that is spread over several files, oldest first.
type Verifier struct {
	pub    ed25519.PublicKey
	report Report
	chain  chain
	before chain // the chain before the last line
	begun  bool
	signed uint64
	// stranded are unproven lines before the chain began anew.
	stranded uint64
	// begins are the first lines of chains: none may come twice.
	begins map[[sha256.Size]byte]struct{}
	odd    bool // the last line was no line of the log; a torn checkpoint must follow
	oddAt  uint64
	ended  bool // the last line was a checkpoint that ends a file
}

// NewVerifier returns a verifier that checks signatures with pub, or only the
// chain if pub is nil.
func NewVerifier(pub ed25519.PublicKey) *Verifier {
	return &Verifier{pub: pub, begins: map[[sha256.Size]byte]struct{}{}}
}

// Report returns what has been found so far.
func (v *Verifier) Report() Report { return v.report }

// Read verifies the next file.
func (v *Verifier) Read(r io.Reader) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := br.ReadBytes('\n')
		if len(line) > maxLine {
			return v.broken("is longer than any line of an audit log")
		}
		if len(line) > 0 {
			whole := err == nil
			if lineErr := v.line(bytes.TrimSuffix(line, []byte{'\n'}), whole); lineErr != nil {
				return lineErr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading audit log: %w", err)
		}
	}
}

// Finish checks what can only be known at the end.
func (v *Verifier) Finish() error {
	switch {
	case v.odd:
		v.report.Torn++
		v.report.Complete = false
	case v.report.Lines == v.report.Foreign:
		return errors.New("there is no line of an audit log")
	}
	if v.pub != nil && v.signed == 0 {
		return fmt.Errorf("%w, or was never signed: it has no signed checkpoint", ErrBroken)
	}
	return nil
}

func (v *Verifier) broken(what string) error {
	return fmt.Errorf("%w: line %d %s", ErrBroken, v.report.Lines, what)
}

func (v *Verifier) line(line []byte, whole bool) error {
	v.report.Lines++
	f, ok := parseChain(line)
	if !ok || !whole {
		if !v.begun && whole {
			v.report.Foreign++
			return nil
		}
		if v.odd {
			return v.broken("is not a line of an audit log")
		}
		v.odd, v.oddAt = true, v.report.Lines
		return nil
	}
	kind := kindOf(line)
	if err := v.place(f, kind); err != nil {
		return err
	}
	v.before = v.chain
	v.chain = chain{seq: f.seq, last: sha256.Sum256(line)}
	if f.seq == 1 {
		if _, again := v.begins[v.chain.last]; again {
			return v.broken("repeats the beginning of the chain")
		}
		v.begins[v.chain.last] = struct{}{}
	}
	v.report.LastSeq, v.report.LastHash = v.chain.seq, v.chain.last
	v.report.Unproven++
	v.report.Complete = false
	if !kind.checkpoint {
		v.report.Entries++
		return nil
	}
	v.report.Checkpoints++
	if err := v.checkSignature(line, f); err != nil {
		return err
	}
	if f.sig != nil || v.pub == nil {
		v.report.Complete = kind.reason == reasonClose || kind.reason == reasonRotate
	}
	return nil
}

// place checks that a line stands where its chain says.
func (v *Verifier) place(f chainFields, k lineKind) error {
	odd := v.odd
	v.odd = false
	begin := k.checkpoint && k.reason == reasonOpen && f.seq == 1 && f.prev == [sha256.Size]byte{}
	switch {
	case !v.begun:
		if v.report.Foreign > 0 && f.seq != 1 {
			return v.broken("follows one that is not a line of an audit log")
		}
		v.begun = true
		v.report.FirstSeq, v.report.FirstPrev = f.seq, f.prev
		v.chain = chain{seq: f.seq - 1, last: f.prev}
	case odd && !k.torn:
		return fmt.Errorf("%w: line %d is not a line of an audit log", ErrBroken, v.oddAt)
	case begin:
		if v.pub != nil && f.sig == nil {
			return v.broken("begins a new chain without a signature")
		}
		v.report.Restarts++
		v.stranded = v.report.Unproven
		v.chain = chain{}
	case k.torn && !odd && follows(f, v.before):
		// The torn line lacked nothing but its line end.
		v.chain = v.before
	}
	if k.torn {
		v.report.Torn++
	}
	if !follows(f, v.chain) {
		switch {
		case f.seq != v.chain.seq+1:
			return v.broken(fmt.Sprintf("has number %d where %d belongs: lines were removed, added or moved", f.seq, v.chain.seq+1))
		default:
			return v.broken("does not follow the line before it, which was changed")
		}
	}
	return nil
}

func follows(f chainFields, c chain) bool { return f.seq == c.seq+1 && f.prev == c.last }

// checkSignature checks the signature of a checkpoint, if there is a key to.
func (v *Verifier) checkSignature(line []byte, f chainFields) error {
	if v.pub == nil {
		v.report.Unproven = v.stranded
		return nil
	}
	if f.sig == nil {
		return nil // proves nothing, and is counted as unproven
	}
	if !ed25519.Verify(v.pub, signedMessage(line[:f.signed]), f.sig) {
		return v.broken("is a checkpoint with a wrong signature")
	}
	v.signed++
	v.report.Unproven = v.stranded
	return nil
}

// lineKind is what matters to a verification about a line.
type lineKind struct {
	checkpoint bool
	torn       bool
	reason     reason
}

// kindOf tells checkpoints from entries. Entries never have the mark: their
// second member is another type.
func kindOf(line []byte) lineKind {
	const mark = `","type":"checkpoint","checkpoint":{"reason":"`
	at := bytes.Index(line, []byte(`{"time":"`))
	if at < 0 {
		return lineKind{}
	}
	rest := line[at+len(`{"time":"`):]
	end := bytes.IndexByte(rest, '"')
	if end < 0 || !bytes.HasPrefix(rest[end:], []byte(mark)) {
		return lineKind{}
	}
	rest = rest[end+len(mark):]
	end = bytes.IndexByte(rest, '"')
	if end < 0 {
		return lineKind{}
	}
	return lineKind{checkpoint: true, reason: reason(rest[:end]), torn: bytes.Contains(rest, []byte(`,"torn":true`))}
}
