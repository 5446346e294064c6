package cli

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/cofferhq/coffer/api"
)

const (
	usualShares    = 5
	usualThreshold = 3
)

func operatorInitCommand() *command {
	return &command{
		name: "init", groups: connects | formats,
		short: "Initialise a new server and print its key shares and root token, once",
		long:  "With -status the exit code tells the state: 0 initialised, 2 not initialised, 1 unknown.",
		define: func(fs *flag.FlagSet) action {
			var r api.InitRequest
			status := fs.Bool("status", false, "only tell whether the server is initialised")
			fs.IntVar(&r.SecretShares, "key-shares", usualShares, "`number` of key shares to make")
			fs.IntVar(&r.SecretShares, "n", usualShares, "short for -key-shares=`number`")
			fs.IntVar(&r.SecretThreshold, "key-threshold", usualThreshold, "`number` of key shares that unseal")
			fs.IntVar(&r.SecretThreshold, "t", usualThreshold, "short for -key-threshold=`number`")
			fs.Var((*pgpKeys)(&r.PGPKeys), "pgp-keys", "encrypt each share for one of the PGP keys in these `files`")
			fs.Var((*pgpKey)(&r.RootTokenPGPKey), "root-token-pgp-key", "encrypt the root token for the PGP key in this `file`")
			fs.IntVar(&r.RecoveryShares, "recovery-shares", usualShares, "`number` of recovery key shares, for a seal that unseals by itself")
			fs.IntVar(&r.RecoveryThreshold, "recovery-threshold", usualThreshold, "`number` of recovery key shares that are needed")
			fs.Var((*pgpKeys)(&r.RecoveryPGPKeys), "recovery-pgp-keys", "encrypt each recovery share for one of the PGP keys in these `files`")
			fs.Int("stored-shares", 0, "")
			return func(ctx context.Context, c *call) error {
				if *status {
					return c.initStatus(ctx)
				}
				return c.operatorInit(ctx, r)
			}
		},
		tokenless: true,
	}
}

func (c *call) initStatus(ctx context.Context) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	initialized, err := cl.Initialized(ctx)
	if err != nil {
		c.report(failed("checking initialization status", err))
		return &exitError{code: exitLocal}
	}
	err = c.value(map[string]bool{"initialized": initialized}, func(w io.Writer) {
		if initialized {
			fmt.Fprintln(w, "The server is initialized")
		} else {
			fmt.Fprintln(w, "The server is not initialized")
		}
	})
	if err == nil && !initialized {
		return &exitError{code: exitServer}
	}
	return err
}

// initOutput is the machine-readable form of an initialisation.
type initOutput struct {
	UnsealKeysB64     []string `json:"unseal_keys_b64"`
	UnsealKeysHex     []string `json:"unseal_keys_hex"`
	UnsealShares      int      `json:"unseal_shares"`
	UnsealThreshold   int      `json:"unseal_threshold"`
	RecoveryKeysB64   []string `json:"recovery_keys_b64"`
	RecoveryKeysHex   []string `json:"recovery_keys_hex"`
	RecoveryShares    int      `json:"recovery_keys_shares"`
	RecoveryThreshold int      `json:"recovery_keys_threshold"`
	RootToken         string   `json:"root_token"`
}

func (c *call) operatorInit(ctx context.Context, r api.InitRequest) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	seal, err := c.sealKind(ctx, cl)
	if err != nil {
		return failed("asking for the kind of seal", err)
	}
	if seal.RecoverySeal {
		// Such a seal keeps the key itself; the shares are for recovery.
		if !c.isSet("key-shares") && !c.isSet("n") {
			r.SecretShares = 0
		}
		if !c.isSet("key-threshold") && !c.isSet("t") {
			r.SecretThreshold = 0
		}
	} else {
		r.RecoveryShares, r.RecoveryThreshold = 0, 0
	}
	keys, err := cl.Init(ctx, r)
	if err != nil {
		return failed("initializing", err)
	}
	out := initOutput{
		UnsealKeysB64: nonNil(keys.KeysBase64), UnsealKeysHex: nonNil(keys.Keys),
		UnsealShares: r.SecretShares, UnsealThreshold: r.SecretThreshold,
		RecoveryKeysB64: nonNil(keys.RecoveryKeysBase64), RecoveryKeysHex: nonNil(keys.RecoveryKeys),
		RecoveryShares: r.RecoveryShares, RecoveryThreshold: r.RecoveryThreshold,
		RootToken: keys.RootToken,
	}
	return c.value(out, func(w io.Writer) { out.print(w, c.name, r) })
}

// sealKind asks for the seal even when the command's own request is only to be printed.
func (c *call) sealKind(ctx context.Context, cl *api.Client) (*api.SealStatus, error) {
	if c.opts.outputCurl || c.opts.outputPolicy {
		real, err := c.connect(ctx, false)
		if err != nil {
			return nil, err
		}
		cl = real
	}
	return cl.SealStatus(ctx)
}

func (o initOutput) print(w io.Writer, name string, r api.InitRequest) {
	for i, k := range o.UnsealKeysB64 {
		fmt.Fprintf(w, "Unseal Key %d: %s\n", i+1, k)
	}
	for i, k := range o.RecoveryKeysB64 {
		fmt.Fprintf(w, "Recovery Key %d: %s\n", i+1, k)
	}
	fmt.Fprintf(w, "\nInitial Root Token: %s\n\n", o.RootToken)
	if len(o.RecoveryKeysB64) > 0 {
		fmt.Fprintf(w, "The server is initialized; its seal unseals it. Recovery takes %d of the %d recovery\nkeys above: give each to another person. They are not shown again.\n", o.RecoveryThreshold, o.RecoveryShares)
		return
	}
	fmt.Fprintf(w, "The server is initialized with %d key shares and a key threshold of %d: after every start\nor seal, %d of the keys above unseal it (\"%s operator unseal\").\n\n", o.UnsealShares, o.UnsealThreshold, o.UnsealThreshold, name)
	if len(r.PGPKeys) > 0 {
		fmt.Fprint(w, "Each key is encrypted for the PGP key at its place in -pgp-keys.\n\n")
	}
	fmt.Fprint(w, "Give each key to another person, and keep the root token safe until you have revoked it.\nThey are not stored and not shown again: with fewer keys than the threshold the data is lost.\n")
}
