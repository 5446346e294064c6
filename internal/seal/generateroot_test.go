package seal_test

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/seal"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

func unpad(t *testing.T, encoded, otp string) string {
	t.Helper()
	raw, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil || len(raw) != len(otp) {
		t.Fatalf("%d bytes and a pad of %d: %v", len(raw), len(otp), err)
	}
	subtle.XORBytes(raw, raw, []byte(otp))
	return string(raw)
}

func TestRootTokenByOneTimePad(t *testing.T) {
	srv, _, keys := ready(t, 3, 2)
	idle, err := srv.RootTokenStatus(t.Context())
	if err != nil || idle != (seal.RootTokenStatus{Required: 2, OTPLength: tokenLength}) {
		t.Errorf("idle: %#v, %v", idle, err)
	}
	_, err = srv.UpdateRootToken(t.Context(), sudo, seal.ShareRequest{Key: wire.Secret(keys[0]), Nonce: "x"})
	mustBeKind(t, err, fault.Invalid)

	begun, err := srv.StartRootToken(t.Context(), sudo, seal.RootTokenRequest{})
	if err != nil || len(begun.OTP) != tokenLength || !begun.Started || begun.Complete || begun.OTPLength != tokenLength {
		t.Fatalf("started: otp of %d, %v", len(begun.OTP), err)
	}
	if st, _ := srv.RootTokenStatus(t.Context()); st.OTP != "" || st.Nonce != begun.Nonce {
		t.Error("the status shows the pad")
	}
	_, err = srv.StartRootToken(t.Context(), sudo, seal.RootTokenRequest{})
	mustBeKind(t, err, fault.Invalid)

	give := func(share string) (seal.RootTokenStatus, error) {
		return srv.UpdateRootToken(t.Context(), sudo, seal.ShareRequest{Key: wire.Secret(share), Nonce: begun.Nonce})
	}
	if st, err := give(keys[0]); err != nil || st.Progress != 1 || st.Complete || st.EncodedToken != "" {
		t.Errorf("first share: %v", err)
	}
	_, err = give(spoil(keys[1]))
	mustBeKind(t, err, fault.Invalid)
	if st, _ := srv.RootTokenStatus(t.Context()); st.Progress != 0 || !st.Started {
		t.Error("wrong shares did not reset the progress")
	}
	if _, err := give(keys[2]); err != nil {
		t.Fatal(err)
	}
	done, err := give(keys[1])
	if err != nil || !done.Complete || done.Progress != 2 || done.Nonce != begun.Nonce || done.EncodedRootToken != done.EncodedToken || done.OTP != "" || done.OTPLength != 0 {
		t.Fatalf("completed: %v", err)
	}
	if token := unpad(t, done.EncodedToken, begun.OTP); token != fmt.Sprintf("s.%024d", 1) {
		t.Errorf("token %q", token)
	}
	if st, _ := srv.RootTokenStatus(t.Context()); st.Started {
		t.Error("the generation goes on")
	}
}

func TestRootTokenRequests(t *testing.T) {
	srv, _, keys := ready(t, 1, 1)
	for name, in := range map[string]seal.RootTokenRequest{
		"pad too short":   {OTP: "short"},
		"pad and PGP key": {OTP: wire.Secret(strings.Repeat("x", tokenLength)), PGPKey: "AAAA"},
		"no PGP key":      {PGPKey: "AAAA"},
	} {
		if _, err := srv.StartRootToken(t.Context(), sudo, in); fault.KindOf(err) != fault.Invalid || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	own := strings.Repeat("pad", 9)[:tokenLength]
	begun, err := srv.StartRootToken(t.Context(), sudo, seal.RootTokenRequest{OTP: wire.Secret(own)})
	if err != nil || begun.OTP != "" {
		t.Fatalf("own pad: shown %v, %v", begun.OTP != "", err)
	}
	srv.nextErr = errors.New("no token today")
	give := seal.ShareRequest{Key: wire.Secret(keys[0]), Nonce: begun.Nonce}
	if _, err := srv.UpdateRootToken(t.Context(), sudo, give); err == nil {
		t.Error("no token, but no error")
	}
	done, err := srv.UpdateRootToken(t.Context(), sudo, give)
	if err != nil || !strings.HasPrefix(unpad(t, done.EncodedToken, own), "s.") {
		t.Errorf("own pad: %v", err)
	}
}

// person has a PGP key.
type person struct {
	entity *openpgp.Entity
	public string // base64 of the binary form
}

func newPerson(t *testing.T) person {
	t.Helper()
	e, err := openpgp.NewEntity("Test", "", "test@example.com", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return person{e, base64.StdEncoding.EncodeToString(b.Bytes())}
}

func (p person) fingerprint() string { return hex.EncodeToString(p.entity.PrimaryKey.Fingerprint) }

// read decrypts a message given in base64.
func (p person) read(t *testing.T, message string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(message)
	if err != nil {
		t.Fatal(err)
	}
	m, err := openpgp.ReadMessage(bytes.NewReader(raw), openpgp.EntityList{p.entity}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(m.UnverifiedBody)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSharesForPGPKeys(t *testing.T) {
	a, b, c := newPerson(t), newPerson(t), newPerson(t)
	s := mem.New()
	srv := start(t, s)
	res, err := srv.Init(t.Context(), seal.InitRequest{Shares: 3, Threshold: 2, PGPKeys: []string{a.public, b.public, c.public}, RootTokenPGPKey: a.public})
	if err != nil {
		t.Fatal(err)
	}
	if token := a.read(t, res.RootToken); token != fmt.Sprintf("s.%024d", 0) {
		t.Errorf("root token %q", token)
	}
	if raw, _ := hex.DecodeString(res.Keys.Keys[1]); base64.StdEncoding.EncodeToString(raw) != res.KeysBase64[1] {
		t.Error("the two forms differ")
	}
	srv.mustUnseal(t, b.read(t, res.KeysBase64[1]), c.read(t, res.KeysBase64[2]))

	// A rekey with a backup; one person holds two shares.
	old := []string{a.read(t, res.KeysBase64[0]), b.read(t, res.KeysBase64[1])}
	renewed := srv.rekeyTo(t, old, seal.RekeyRequest{Shares: 3, Threshold: 2, PGPKeys: []string{a.public, a.public, c.public}, Backup: true})
	if !renewed.Backup || len(renewed.PGPFingerprints) != 3 || renewed.PGPFingerprints[2] != c.fingerprint() {
		t.Errorf("rekeyed: backup %v, fingerprints %v", renewed.Backup, renewed.PGPFingerprints)
	}
	backup, err := srv.RekeyBackup(t.Context())
	if err != nil || backup.Nonce != renewed.Nonce || len(backup.KeysBase64[a.fingerprint()]) != 2 || len(backup.Keys[c.fingerprint()]) != 1 {
		t.Fatalf("backup: %v", err)
	}
	fresh := []string{a.read(t, backup.KeysBase64[a.fingerprint()][1]), c.read(t, renewed.KeysBase64[2])}
	if !unseals(t, s, fresh...) {
		t.Error("a share from the backup and a new one do not unseal")
	}
	if err := srv.DeleteRekeyBackup(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = srv.RekeyBackup(t.Context())
	mustBeKind(t, err, fault.Invalid)

	// A root token for a PGP key.
	begun, err := srv.StartRootToken(t.Context(), sudo, seal.RootTokenRequest{PGPKey: b.public})
	if err != nil || begun.PGPFingerprint != b.fingerprint() || begun.OTP != "" {
		t.Fatalf("root token: %v", err)
	}
	var done seal.RootTokenStatus
	for _, share := range fresh {
		if done, err = srv.UpdateRootToken(t.Context(), sudo, seal.ShareRequest{Key: wire.Secret(share), Nonce: begun.Nonce}); err != nil {
			t.Fatal(err)
		}
	}
	if token := b.read(t, done.EncodedToken); token != fmt.Sprintf("s.%024d", 1) {
		t.Errorf("root token %q", token)
	}
}

// TestPGPKeyThatCannotEncrypt loses no shares: init refuses as a whole.
func TestPGPKeyThatCannotEncrypt(t *testing.T) {
	p := newPerson(t)
	p.entity.Subkeys = nil
	var b bytes.Buffer
	if err := p.entity.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	srv := start(t, mem.New())
	_, err := srv.Init(t.Context(), seal.InitRequest{Shares: 1, Threshold: 1, PGPKeys: []string{base64.StdEncoding.EncodeToString(b.Bytes())}})
	mustBeKind(t, err, fault.Invalid)
	if done, err := srv.Initialized(t.Context()); done || err != nil {
		t.Errorf("initialized %v, %v", done, err)
	}
}

func TestFormsOfPGPKeys(t *testing.T) {
	p := newPerson(t)
	binary, _ := base64.StdEncoding.DecodeString(p.public)
	var armored bytes.Buffer
	w, err := armor.Encode(&armored, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(binary)
	_ = w.Close()
	var private bytes.Buffer
	if err := p.entity.SerializePrivate(&private, nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key string
		ok  bool
	}{
		"base64":            {p.public, true},
		"armored":           {armored.String(), true},
		"base64 of armored": {base64.StdEncoding.EncodeToString(armored.Bytes()), true},
		"private":           {base64.StdEncoding.EncodeToString(private.Bytes()), false},
		"cut":               {base64.StdEncoding.EncodeToString(binary[:20]), false},
		"broken armor":      {"-----BEGIN PGP PUBLIC KEY BLOCK-----", false},
	} {
		_, err := start(t, mem.New()).Init(t.Context(), seal.InitRequest{Shares: 1, Threshold: 1, PGPKeys: []string{c.key}})
		if (err == nil) != c.ok || err != nil && fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestResultsAreNotPrinted(t *testing.T) {
	srv := start(t, mem.New())
	res, err := srv.Init(t.Context(), seal.InitRequest{Shares: 1, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	srv.mustUnseal(t, res.KeysBase64...)
	begun, err := srv.StartRootToken(t.Context(), sudo, seal.RootTokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%s", "%#v"} {
		out := fmt.Sprintf(verb+verb, res, begun)
		for _, secret := range []string{res.KeysBase64[0], res.Keys.Keys[0], begun.OTP, res.RootToken} {
			if strings.Contains(out, secret) {
				t.Errorf("%s prints a secret", verb)
			}
		}
	}
}
