package cli

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/cofferhq/coffer/api"
)

// rootFlags are the flags of operator generate-root.
type rootFlags struct {
	init, cancel, status, generateOTP bool
	decode, otp, nonce                string
	pgp                               pgpKey
}

func operatorGenerateRootCommand() *command {
	return &command{
		name: "generate-root", args: "[KEY]", max: 1, groups: connects | formats,
		short: "Make a new root token from a quorum of key shares",
		long: "Start with -init, which prints a one-time password; then each holder of a share runs the command\n" +
			"once. The last one gets the token, encoded with the password.\n\n" +
			"  {name} operator generate-root -init\n  {name} operator generate-root\n  {name} operator generate-root -decode=ENCODED -otp=PASSWORD",
		define: func(fs *flag.FlagSet) action {
			var f rootFlags
			fs.BoolVar(&f.init, "init", false, "start an attempt")
			fs.BoolVar(&f.cancel, "cancel", false, "give up the attempt")
			fs.BoolVar(&f.status, "status", false, "show the progress")
			fs.StringVar(&f.decode, "decode", "", "decode the `token` with -otp; - reads it from standard input")
			fs.BoolVar(&f.generateOTP, "generate-otp", false, "print a one-time password to use with -init")
			fs.StringVar(&f.otp, "otp", "", "one-time `password` for -init or -decode")
			fs.Var(&f.pgp, "pgp-key", "encrypt the token for the PGP key in this `file` instead")
			fs.StringVar(&f.nonce, "nonce", "", "`nonce` of the attempt; needed when the key is an argument")
			return func(ctx context.Context, c *call) error { return c.generateRoot(ctx, f) }
		},
	}
}

func (c *call) generateRoot(ctx context.Context, f rootFlags) error {
	if f.decode != "" {
		return c.decodeRoot(ctx, f)
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	g := cl.GenerateRoot()
	switch {
	case f.generateOTP:
		return c.generateOTP(ctx, g)
	case f.init:
		if f.otp != "" && f.pgp != "" {
			return usageError("-otp and -pgp-key exclude each other")
		}
		status, err := g.Init(ctx, f.otp, string(f.pgp))
		if err != nil {
			return failed("starting the root generation", err)
		}
		return c.tableValue(status, rootTable(status))
	case f.cancel:
		if err := g.Cancel(ctx); err != nil {
			return failed("canceling the root generation", err)
		}
		c.success("Root token generation canceled (if it was started)")
		return nil
	case f.status:
		status, err := g.Status(ctx)
		if err != nil {
			return failed("reading the status of the root generation", err)
		}
		return c.tableValue(status, rootTable(status))
	}
	return c.rootUpdate(ctx, g, f)
}

func (c *call) rootUpdate(ctx context.Context, g api.GenerateRoot, f rootFlags) error {
	status, err := g.Status(ctx)
	if err != nil {
		return failed("reading the status of the root generation", err)
	}
	if !status.Started {
		return &exitError{exitLocal, fmt.Sprintf("No root generation is in progress: start one with \"%s operator generate-root -init\"", c.name)}
	}
	key, nonce, err := c.share(ctx, rekeyFlags{nonce: f.nonce}, "Root generation", "Unseal Key", status.Nonce)
	if err != nil {
		return err
	}
	if status, err = g.Update(ctx, key, nonce); err != nil {
		return failed("generating the root token", err)
	}
	return c.tableValue(status, rootTable(status))
}

func rootTable(s *api.GenerateRootStatus) *table {
	t := newTable("Key", "Value")
	t.add("Nonce", s.Nonce)
	t.add("Started", s.Started)
	t.add("Progress", fmt.Sprintf("%d/%d", s.Progress, s.Required))
	t.add("Complete", s.Complete)
	if s.PGPFingerprint != "" {
		t.add("PGP Fingerprint", s.PGPFingerprint)
	}
	if token := s.EncodedToken; token != "" {
		t.add("Encoded Token", token)
	} else if s.EncodedRootToken != "" {
		t.add("Encoded Token", s.EncodedRootToken)
	}
	if s.OTP != "" {
		t.add("OTP", s.OTP)
	}
	if s.OTPLength != 0 {
		t.add("OTP Length", s.OTPLength)
	}
	return t
}

const otpAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func (c *call) generateOTP(ctx context.Context, g api.GenerateRoot) error {
	status, err := g.Status(ctx)
	if err != nil {
		return failed("asking for the length of the password", err)
	}
	if status.OTPLength <= 0 || status.OTPLength > 1024 {
		return &exitError{exitServer, "The server did not say how long the password has to be"}
	}
	otp := randomText(status.OTPLength)
	return c.value(map[string]string{"otp": otp}, func(w io.Writer) { fmt.Fprintln(w, otp) })
}

// randomText returns n random characters of otpAlphabet, without bias.
func randomText(n int) string {
	var b strings.Builder
	var buf [64]byte
	limit := byte(256 - 256%len(otpAlphabet))
	for b.Len() < n {
		_, _ = rand.Read(buf[:]) // never fails
		for _, x := range buf {
			if x < limit && b.Len() < n {
				b.WriteByte(otpAlphabet[int(x)%len(otpAlphabet)])
			}
		}
	}
	return b.String()
}

func (c *call) decodeRoot(ctx context.Context, f rootFlags) error {
	if f.otp == "" {
		return usageError("-decode needs -otp")
	}
	encoded, err := c.resolve(ctx, f.decode)
	if err != nil {
		return err
	}
	token, err := decodeToken(strings.TrimSpace(encoded), f.otp)
	if err != nil {
		return failed("decoding the root token", err)
	}
	return c.value(map[string]string{"token": token}, func(w io.Writer) { fmt.Fprintln(w, token) })
}

func decodeToken(encoded, otp string) (string, error) {
	text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return "", errors.New("the encoded token is not base64")
	}
	if len(text) != len(otp) {
		return "", fmt.Errorf("the password has %d characters and the token %d: they do not belong together", len(otp), len(text))
	}
	out := make([]byte, len(text))
	subtle.XORBytes(out, text, []byte(otp))
	return string(out), nil
}
