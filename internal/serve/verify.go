package serve

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/cli"
)

// VerifyAudit runs the audit verify command: it reads audit logs, oldest first,
// and needs no server.
func VerifyAudit(_ context.Context, args []string, stdio cli.Stdio) int {
	key := ""
	fs := flag.NewFlagSet("audit verify", flag.ContinueOnError)
	fs.SetOutput(stdio.Err)
	fs.StringVar(&key, "public-key", "", "`key` that sys/config/auditing/key shows; without it only the chain is checked, not who wrote it")
	fs.Usage = func() {
		fmt.Fprintf(stdio.Err, "Usage: audit verify [-public-key=KEY] FILE...\n\nFiles of one log, oldest first.\n\n")
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 1
	}
	report, err := verifyAudit(key, fs.Args())
	if err != nil {
		fmt.Fprintf(stdio.Err, "Error: %v\n", err)
		if errors.Is(err, audit.ErrBroken) {
			return 2
		}
		return 1
	}
	if err := writeReport(stdio.Out, report, key != ""); err != nil {
		return 1
	}
	return 0
}

func verifyAudit(key string, files []string) (audit.Report, error) {
	if len(files) == 0 {
		return audit.Report{}, errors.New("name the files of an audit log, oldest first")
	}
	var pub ed25519.PublicKey
	if key != "" {
		raw, err := base64.StdEncoding.DecodeString(key)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return audit.Report{}, errors.New("the public key is not an Ed25519 key in base64; read it from sys/config/auditing/key")
		}
		pub = raw
	}
	v := audit.NewVerifier(pub)
	for _, name := range files {
		if err := readLog(v, name); err != nil {
			return v.Report(), fmt.Errorf("%s: %w", name, err)
		}
	}
	return v.Report(), v.Finish()
}

func readLog(v *audit.Verifier, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return v.Read(f)
}

func writeReport(w io.Writer, r audit.Report, signed bool) error {
	verdict := "The chain is whole; without -public-key its signatures were not checked."
	if signed {
		verdict = "The log is whole and its checkpoints are signed."
	}
	_, err := fmt.Fprintf(w, `%s

Lines        %d (%d to %d)
Entries      %d
Checkpoints  %d
Unproven     %d (after the last checkpoint)
Torn         %d (left behind by failed writes)
Foreign      %d (before the chain began)
Complete     %t (ends with a closing checkpoint)
Last hash    %x
`, verdict, r.Lines, r.FirstSeq, r.LastSeq, r.Entries, r.Checkpoints, r.Unproven, r.Torn, r.Foreign, r.Complete, r.LastHash)
	return err
}
