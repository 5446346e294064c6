package snapshot

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
)

// The files of an archive, in their order.
const (
	metaName   = "meta.json"
	stateName  = "state.bin"
	sumsName   = "SHA256SUMS"
	sealedName = "SHA256SUMS.sealed"
)

// What the small files may have at most, in bytes.
const maxSmall = 1 << 20

// Meta describes a snapshot. The names are those of the replicated log's own
// snapshots, which Vault's tools show.
type Meta struct {
	Version int    // of the state's format
	ID      string // TERM-INDEX-MILLISECONDS
	Index   uint64 // newest log entry in it
	Term    uint64
	Commit  uint64    // newest commit in it
	Taken   time.Time // when
	Cluster string    // id of the cluster
	Server  string    // version that took it
	Size    int64     // of state.bin
}

// writeArchive writes a snapshot. state writes the rows, meta.Size bytes; seal
// encrypts the sums.
func writeArchive(w io.Writer, meta Meta, state func(io.Writer) error, seal func([]byte) ([]byte, error)) error {
	zipped := gzip.NewWriter(w)
	archive := tar.NewWriter(zipped)
	var sums bytes.Buffer
	add := func(name string, size int64, write func(io.Writer) error) error {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: meta.Taken, Format: tar.FormatPAX}); err != nil {
			return err
		}
		sum := sha256.New()
		if err := write(io.MultiWriter(archive, sum)); err != nil {
			return err
		}
		if name == metaName || name == stateName {
			fmt.Fprintf(&sums, "%x  %s\n", sum.Sum(nil), name)
		}
		return nil
	}
	bytesOf := func(b []byte) func(io.Writer) error {
		return func(w io.Writer) error { _, err := w.Write(b); return err }
	}
	encoded, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	if err := add(metaName, int64(len(encoded)), bytesOf(encoded)); err != nil {
		return err
	}
	if err := add(stateName, meta.Size, state); err != nil {
		return err
	}
	if err := add(sumsName, int64(sums.Len()), bytesOf(sums.Bytes())); err != nil {
		return err
	}
	sealed, err := seal(sums.Bytes())
	if err != nil {
		return err
	}
	if err := add(sealedName, int64(len(sealed)), bytesOf(sealed)); err != nil {
		return err
	}
	return errors.Join(archive.Close(), zipped.Close())
}

// Archive is what was read of an archive, beside the state.
type Archive struct {
	Meta   Meta
	Sums   []byte // SHA256SUMS
	Sealed []byte // SHA256SUMS.sealed
}

// The refusals of archives.
var (
	errNoArchive = fault.New(fault.Invalid, "this is no snapshot: it is not a gzip-compressed archive of one")
	errCutOff    = fault.New(fault.Invalid, "the snapshot is not complete: its end is missing, as after a download that broke off")
	errSums      = fault.New(fault.Invalid, "the snapshot is damaged: its checksums do not fit")
)

// Read reads a whole archive, handing the state to w, and checks its sums. What
// was handed over counts only if there is no error.
func Read(r io.Reader, w io.Writer) (*Archive, error) {
	zipped, err := gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
	if err != nil {
		return nil, refuse(errNoArchive, err)
	}
	a := &Archive{}
	files := tar.NewReader(zipped)
	sums := map[string]hash.Hash{}
	for _, want := range []string{metaName, stateName, sumsName, sealedName} {
		h, err := files.Next()
		switch {
		case err != nil && want == metaName:
			return nil, refuse(errNoArchive, err)
		case err != nil:
			return nil, refuse(errCutOff, err)
		case h.Name != want || h.Typeflag != tar.TypeReg:
			return nil, refuse(errNoArchive, fmt.Errorf("%q where %q should be", h.Name, want))
		}
		sums[want] = sha256.New()
		from := io.TeeReader(files, sums[want])
		if want == stateName {
			if h.Size != a.Meta.Size {
				return nil, errSums
			}
			if _, err := io.Copy(w, from); err != nil {
				return nil, broken(err)
			}
			continue
		}
		content, err := io.ReadAll(io.LimitReader(from, maxSmall+1))
		if err != nil {
			return nil, broken(err)
		}
		if len(content) > maxSmall {
			return nil, errNoArchive
		}
		switch want {
		case metaName:
			if json.Unmarshal(content, &a.Meta) != nil {
				return nil, errNoArchive
			}
		case sumsName:
			a.Sums = content
		case sealedName:
			a.Sealed = content
		}
	}
	if err := atEnd(files, zipped); err != nil {
		return nil, err
	}
	var expected bytes.Buffer
	for _, name := range []string{metaName, stateName} {
		fmt.Fprintf(&expected, "%s  %s\n", hex.EncodeToString(sums[name].Sum(nil)), name)
	}
	if !bytes.Equal(expected.Bytes(), a.Sums) {
		return nil, errSums
	}
	return a, nil
}

// atEnd makes sure that archive and compression end here; gzip has a checksum of
// its own there.
func atEnd(files *tar.Reader, zipped *gzip.Reader) error {
	if _, err := files.Next(); !errors.Is(err, io.EOF) {
		return refuse(errCutOff, err)
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(zipped, maxSmall)); err != nil {
		return broken(err)
	}
	return nil
}

// writeFailed is an error of who takes the state, not of the archive.
type writeFailed struct{ error }

// Unwrap returns the cause.
func (w writeFailed) Unwrap() error { return w.error }

// broken words an error in the middle of an archive.
func broken(err error) error {
	if w := (writeFailed{}); errors.As(err, &w) {
		return w.error
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return refuse(errCutOff, err)
	}
	return refuse(errSums, err)
}

// refuse gives a refusal a cause for the log.
func refuse(refusal, cause error) error {
	var f *fault.Error
	if errors.As(refusal, &f) && cause != nil {
		return fault.Wrap(f.Kind, cause, f.Msg)
	}
	return refusal
}
