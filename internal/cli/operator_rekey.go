package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/cofferhq/coffer/api"
)

// rekeyFlags are the flags of operator rekey.
type rekeyFlags struct {
	init, cancel, status, verify, backup, retrieve, delete bool
	shares, threshold                                      int
	nonce, target                                          string
	pgp                                                    pgpKeys
}

func operatorRekeyCommand() *command {
	return &command{
		name: "rekey", args: "[KEY]", max: 1, groups: connects | formats,
		short: "Replace the key shares",
		long: "Start with -init; then each holder of a share runs the command once, until enough shares were given.\n" +
			"With -verify the holders of the new shares prove that they have them, before the old ones lose their effect.\n\n" +
			"  {name} operator rekey -init -key-shares=5 -key-threshold=3 -verify\n  {name} operator rekey\n  {name} operator rekey -verify",
		define: func(fs *flag.FlagSet) action {
			var f rekeyFlags
			fs.BoolVar(&f.init, "init", false, "start the operation")
			fs.BoolVar(&f.cancel, "cancel", false, "give up the operation")
			fs.BoolVar(&f.status, "status", false, "show the progress")
			fs.BoolVar(&f.verify, "verify", false, "with -init, ask for verification; else contribute a new share to it")
			fs.IntVar(&f.shares, "key-shares", usualShares, "`number` of key shares to make")
			fs.IntVar(&f.shares, "n", usualShares, "short for -key-shares=`number`")
			fs.IntVar(&f.threshold, "key-threshold", usualThreshold, "`number` of key shares that unseal")
			fs.IntVar(&f.threshold, "t", usualThreshold, "short for -key-threshold=`number`")
			fs.StringVar(&f.nonce, "nonce", "", "`nonce` of the operation; needed when the key is an argument")
			fs.StringVar(&f.target, "target", "barrier", "replace the shares of `barrier` or recovery")
			fs.Var(&f.pgp, "pgp-keys", "encrypt each share for one of the PGP keys in these `files`")
			fs.BoolVar(&f.backup, "backup", false, "keep a copy of the encrypted shares on the server; needs -pgp-keys")
			fs.BoolVar(&f.retrieve, "backup-retrieve", false, "print the copy of the encrypted shares")
			fs.BoolVar(&f.delete, "backup-delete", false, "delete the copy of the encrypted shares")
			return func(ctx context.Context, c *call) error { return c.rekey(ctx, f) }
		},
	}
}

func (c *call) rekey(ctx context.Context, f rekeyFlags) error {
	target := api.RekeyBarrier
	switch f.target {
	case "barrier":
	case "recovery":
		target = api.RekeyRecovery
	default:
		return usageError(fmt.Sprintf("Unknown -target %q: use barrier or recovery", f.target))
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	r := cl.Rekey(target)
	switch {
	case f.init:
		return c.rekeyInit(ctx, r, f)
	case f.cancel:
		return c.rekeyCancel(ctx, r, f)
	case f.retrieve:
		return c.rekeyBackup(ctx, r)
	case f.delete:
		if err := r.DeleteBackup(ctx); err != nil {
			return failed("deleting the stored keys", err)
		}
		c.success("Deleted stored keys (if they existed)")
		return nil
	case f.status && f.verify:
		v, err := r.VerifyStatus(ctx)
		if err != nil {
			return failed("reading the verification status", err)
		}
		return c.tableValue(v, verificationTable(v))
	case f.status:
		status, err := r.Status(ctx)
		if err != nil {
			return failed("reading the rekey status", err)
		}
		return c.tableValue(status, rekeyTable(status))
	case f.verify:
		return c.rekeyVerify(ctx, r, f)
	}
	return c.rekeyUpdate(ctx, r, f)
}

func (c *call) rekeyInit(ctx context.Context, r api.Rekey, f rekeyFlags) error {
	if f.backup && len(f.pgp) == 0 {
		return usageError("-backup needs -pgp-keys: the copy is not kept in the clear")
	}
	status, err := r.Init(ctx, api.RekeyRequest{
		SecretShares: f.shares, SecretThreshold: f.threshold, PGPKeys: f.pgp, Backup: f.backup, RequireVerification: f.verify,
	})
	if err != nil {
		return failed("starting the rekey", err)
	}
	if len(f.pgp) == 0 && c.tabular() {
		fmt.Fprint(c.Err, "WARNING! Without -pgp-keys the new keys are shown in the clear to whoever contributes the last share,\nand if they are lost, so is the data.\n\n")
	}
	return c.tableValue(status, rekeyTable(status))
}

func (c *call) rekeyCancel(ctx context.Context, r api.Rekey, f rekeyFlags) error {
	cancel, what := r.Cancel, "rekeying"
	if f.verify {
		cancel, what = r.CancelVerify, "rekey verification"
	}
	if err := cancel(ctx, f.nonce); err != nil {
		return failed("canceling "+what, err)
	}
	c.success("Canceled %s (if it was started)", what)
	return nil
}

func (c *call) rekeyBackup(ctx context.Context, r api.Rekey) error {
	backup, err := r.Backup(ctx)
	if err != nil {
		return failed("retrieving the stored keys", err)
	}
	return c.value(backup, func(w io.Writer) {
		t := newTable("Fingerprint", "Key")
		for _, fingerprint := range sortedKeys(backup.KeysBase64) {
			for _, key := range backup.KeysBase64[fingerprint] {
				t.row(fingerprint, key)
			}
		}
		fmt.Fprintf(w, "Nonce: %s\n\n", backup.Nonce)
		t.print(w)
	})
}

// share returns the key share for the operation nonce that is in progress, and
// the nonce to send with it. A share in an argument goes with an explicit
// nonce, so that it is not given to an operation nobody meant.
func (c *call) share(ctx context.Context, f rekeyFlags, what, prompt, nonce string) (string, string, error) {
	if len(c.args) > 0 {
		if f.nonce == "" {
			return "", "", usageError("Missing nonce value: specify it via the -nonce flag")
		}
		nonce = f.nonce
	} else if f.nonce != "" {
		nonce = f.nonce
	}
	if len(c.args) == 0 && isTerminal(c.In) {
		fmt.Fprintf(c.Err, "%s operation nonce: %s\n", what, nonce)
	}
	key, err := c.keyShare(ctx, prompt)
	return key, nonce, err
}

func (c *call) rekeyUpdate(ctx context.Context, r api.Rekey, f rekeyFlags) error {
	status, err := r.Status(ctx)
	if err != nil {
		return failed("reading the rekey status", err)
	}
	if !status.Started {
		return &exitError{exitLocal, fmt.Sprintf("No rekey is in progress: start one with \"%s operator rekey -init\"", c.name)}
	}
	key, nonce, err := c.share(ctx, f, "Rekey", "Rekey Key", status.Nonce)
	if err != nil {
		return err
	}
	update, err := r.Update(ctx, key, nonce)
	if err != nil {
		return failed("rekeying", err)
	}
	if !update.Complete {
		return c.tableValue(update.RekeyStatus, rekeyTable(&update.RekeyStatus))
	}
	out := newKeys{
		Nonce: update.Nonce, Complete: true, Keys: update.Keys, KeysBase64: update.KeysBase64, PGPFingerprints: update.PGPFingerprints,
		Backup: update.Backup, VerificationRequired: update.VerificationRequired, VerificationNonce: update.VerificationNonce,
	}
	return c.value(out, func(w io.Writer) { c.printKeys(w, out) })
}

// newKeys is the machine-readable form of a completed rekey.
type newKeys struct {
	Nonce                string   `json:"nonce"`
	Complete             bool     `json:"complete"`
	Keys                 []string `json:"keys"`
	KeysBase64           []string `json:"keys_base64"`
	PGPFingerprints      []string `json:"pgp_fingerprints"`
	Backup               bool     `json:"backup"`
	VerificationRequired bool     `json:"verification_required"`
	VerificationNonce    string   `json:"verification_nonce,omitempty"`
}

func (c *call) printKeys(w io.Writer, u newKeys) {
	fmt.Fprintln(w)
	for i, k := range u.KeysBase64 {
		if i < len(u.PGPFingerprints) {
			fmt.Fprintf(w, "Key %d fingerprint: %s; value: %s\n", i+1, u.PGPFingerprints[i], k)
		} else {
			fmt.Fprintf(w, "Key %d: %s\n", i+1, k)
		}
	}
	fmt.Fprintf(w, "\nOperation nonce: %s\n", u.Nonce)
	if u.VerificationRequired {
		fmt.Fprintf(w, "Verification nonce: %s\n\nThe old keys stay valid until the new ones are verified: each holder runs\n\"%s operator rekey -verify -nonce=%s\".\n", u.VerificationNonce, c.name, u.VerificationNonce)
		return
	}
	fmt.Fprint(w, "\nThe keys are replaced, and the old ones have no effect any more. Give each new key to another\nperson: they are not shown again.\n")
}

func (c *call) rekeyVerify(ctx context.Context, r api.Rekey, f rekeyFlags) error {
	status, err := r.VerifyStatus(ctx)
	if err != nil {
		return failed("reading the verification status", err)
	}
	if !status.Started {
		return &exitError{exitLocal, "No rekey verification is in progress"}
	}
	key, nonce, err := c.share(ctx, f, "Rekey verification", "Rekey Verification Key", status.Nonce)
	if err != nil {
		return err
	}
	v, err := r.Verify(ctx, key, nonce)
	if err != nil {
		return failed("verifying", err)
	}
	if v.Complete && c.tabular() {
		c.success("Rekey verification successful. The keys are replaced: use the new ones from now on.")
		return nil
	}
	return c.tableValue(v, verificationTable(v))
}

func rekeyTable(s *api.RekeyStatus) *table {
	t := newTable("Key", "Value")
	t.add("Nonce", s.Nonce)
	t.add("Started", s.Started)
	if s.Started {
		t.add("Rekey Progress", fmt.Sprintf("%d/%d", s.Progress, s.Required))
		t.add("New Shares", s.N)
		t.add("New Threshold", s.T)
		t.add("Verification Required", s.VerificationRequired)
		if s.VerificationNonce != "" {
			t.add("Verification Nonce", s.VerificationNonce)
		}
	}
	if len(s.PGPFingerprints) > 0 {
		t.add("PGP Fingerprints", "["+strings.Join(s.PGPFingerprints, " ")+"]")
		t.add("Backup", s.Backup)
	}
	return t
}

func verificationTable(v *api.RekeyVerification) *table {
	t := newTable("Key", "Value")
	t.add("New Shares", v.N)
	t.add("New Threshold", v.T)
	t.add("Verification Nonce", v.Nonce)
	t.add("Verification Progress", fmt.Sprintf("%d/%d", v.Progress, v.T))
	return t
}
