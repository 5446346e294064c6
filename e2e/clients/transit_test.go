package clients_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

func TestTransit(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("Mount", "transit", in{"type": "transit"}).ok()
		c.logical("Write", "transit/keys/k", in{}).has(in{"data|type": "aes256-gcm96", "data|latest_version": 1})
		sealed := c.logical("Write", "transit/encrypt/k", in{"plaintext": "aGVsbG8="}).has(in{"data|key_version": 1}).text("data|ciphertext")
		c.logical("Write", "transit/decrypt/k", in{"ciphertext": sealed}).has(in{"data|plaintext": "aGVsbG8="})
		c.logical("Write", "transit/decrypt/none", in{"ciphertext": sealed}).fails(http.StatusBadRequest, "encryption key not found")
		c.logical("Write", "transit/keys/k/rotate", in{}).ok()
		again := c.logical("Write", "transit/rewrap/k", in{"ciphertext": sealed}).has(in{"data|key_version": 2}).text("data|ciphertext")
		c.logical("Write", "transit/keys/k/config", in{"min_decryption_version": 2}).ok()
		c.logical("Write", "transit/decrypt/k", in{"ciphertext": sealed}).fails(http.StatusBadRequest, "min_decryption_version")
		c.logical("Write", "transit/decrypt/k", in{"ciphertext": again}).has(in{"data|plaintext": "aGVsbG8="})
		c.logical("List", "transit/keys").has(in{"data|keys": []string{"k"}})
		c.logical("Read", "transit/keys/none").absent()

		batch := c.logical("Write", "transit/encrypt/k", in{"batch_input": []in{{"plaintext": "b25l", "reference": "1"}, {"plaintext": "dHdv"}}}).at("data|batch_results").([]any)
		if len(batch) != 2 || batch[0].(map[string]any)["reference"] != "1" {
			t.Errorf("the batch is %v", batch)
		}
		c.logical("Write", "transit/random/16", in{"format": "hex"}).text("data|random_bytes")

		// What may encrypt may not decrypt, and a key is made only by who may.
		s.Policy("writer", `path "transit/encrypt/*" { capabilities = ["update"] }`)
		writer := c.as(s.Token("writer"))
		writer.logical("Write", "transit/encrypt/k", in{"plaintext": "aGVsbG8="}).ok()
		writer.logical("Write", "transit/decrypt/k", in{"ciphertext": again}).fails(http.StatusForbidden, "permission denied")
		writer.logical("Write", "transit/encrypt/new", in{"plaintext": "aGVsbG8="}).fails(http.StatusForbidden, "permission denied")
	})
}

// TestTransitSignaturesVerifyElsewhere checks signatures with the public key
// alone, and has data for a key encrypted elsewhere.
func TestTransitSignaturesVerifyElsewhere(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, _ *servertest.Server, c *client) {
		c.sys("Mount", "transit", in{"type": "transit"}).ok()
		hash := sha256.Sum256([]byte("hello"))
		public := func(name, typ string) any {
			t.Helper()
			text := c.logical("Write", "transit/keys/"+name, in{"type": typ}).text("data|keys|1|public_key")
			block, _ := pem.Decode([]byte(text))
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			return key
		}
		sign := func(name string, more in) []byte {
			t.Helper()
			more["input"] = "aGVsbG8="
			sig, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(c.logical("Write", "transit/sign/"+name, more).text("data|signature"), "vault:v1:"))
			if err != nil {
				t.Fatal(err)
			}
			return sig
		}
		if !ecdsa.VerifyASN1(public("ec", "ecdsa-p256").(*ecdsa.PublicKey), hash[:], sign("ec", in{})) {
			t.Error("the ECDSA signature does not verify")
		}
		key := public("rsa", "rsa-2048").(*rsa.PublicKey)
		if err := rsa.VerifyPSS(key, crypto.SHA256, hash[:], sign("rsa", in{}), nil); err != nil {
			t.Error(err)
		}
		if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, hash[:], sign("rsa", in{"signature_algorithm": "pkcs1v15"})); err != nil {
			t.Error(err)
		}
		sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, key, []byte("hello"), nil)
		if err != nil {
			t.Fatal(err)
		}
		c.logical("Write", "transit/decrypt/rsa", in{"ciphertext": "vault:v1:" + base64.StdEncoding.EncodeToString(sealed)}).has(in{"data|plaintext": "aGVsbG8="})
	})
}

func TestTransitImport(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, _ *servertest.Server, c *client) {
		c.sys("Mount", "transit", in{"type": "transit"}).ok()
		block, _ := pem.Decode([]byte(c.logical("Read", "transit/wrapping_key").text("data|public_key")))
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		wrapped, err := material.WrapFor(public.(*rsa.PublicKey), crypto.SHA256, make([]byte, 32), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c.logical("Write", "transit/keys/mine/import", in{"ciphertext": base64.StdEncoding.EncodeToString(wrapped), "exportable": true}).ok()
		c.logical("Read", "transit/export/encryption-key/mine").has(in{"data|keys|1": base64.StdEncoding.EncodeToString(make([]byte, 32))})
		c.logical("Read", "transit/keys/mine").has(in{"data|imported_key": true})
	})
}

func TestSSHCertificates(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIuII2X7Vty6OJnTxfnrqjH8zsALBS5iivDkbJ13UgtO"
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("Mount", "ssh", in{"type": "ssh"}).ok()
		ca := c.logical("Write", "ssh/config/ca", in{"key_type": "ed25519"}).text("data|public_key")
		c.logical("Write", "ssh/roles/u", in{"key_type": "ca", "allow_user_certificates": true, "allowed_users": "app", "ttl": "10m"}).ok()
		helper := c.call(c.api, "SSHWithMountPoint", "ssh").native
		signed := c.call(helper, "SignKey", "u", in{"public_key": key, "valid_principals": "app"}).text("data|signed_key")
		if !strings.HasPrefix(signed, "ssh-ed25519-cert-v01@openssh.com ") {
			t.Errorf("signed %s", signed)
		}
		c.call(helper, "SignKey", "u", in{"public_key": key, "valid_principals": "root"}).fails(http.StatusBadRequest, "principal")
		if a := s.Do(http.MethodGet, "ssh/public_key", "", nil); string(a.Body) != ca {
			t.Errorf("the public key is %s", a)
		}
	})
}

// TestSSHPasswords uses the client's helper for hosts, as their PAM module does.
func TestSSHPasswords(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, _ *servertest.Server, c *client) {
		c.sys("Mount", "ssh", in{"type": "ssh"}).ok()
		c.logical("Write", "ssh/roles/o", in{"key_type": "otp", "default_user": "app", "cidr_list": "10.0.0.0/8"}).ok()
		helper := c.call(c.api, "SSHWithMountPoint", "ssh").native
		lent := c.call(helper, "Credential", "o", in{"ip": "10.1.2.3"}).has(in{"data|ip": "10.1.2.3", "data|username": "app", "renewable": false})
		host := c.call(c.as("").api, "SSHHelperWithMountPoint", "ssh").native
		c.call(host, "Verify", lent.text("data|key")).has(in{"ip": "10.1.2.3", "username": "app", "role_name": "o"})
		c.call(host, "Verify", lent.text("data|key")).fails(http.StatusBadRequest, "")
		second := c.call(helper, "Credential", "o", in{"ip": "10.1.2.3"})
		c.sys("Revoke", second.text("lease_id")).ok()
		c.call(host, "Verify", second.text("data|key")).fails(http.StatusBadRequest, "")
	})
}

func TestTOTPCodes(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, _ *servertest.Server, c *client) {
		c.sys("Mount", "totp", in{"type": "totp"}).ok()
		url := c.logical("Write", "totp/keys/k", in{"generate": true, "issuer": "i", "account_name": "a"}).text("data|url")
		c.logical("Write", "totp/keys/device", in{"url": url}).ok()
		code := c.logical("Read", "totp/code/device").text("data|code")
		c.logical("Write", "totp/code/k", in{"code": code}).has(in{"data|valid": true})
		c.logical("Write", "totp/code/k", in{"code": code}).fails(http.StatusBadRequest, "used")
		c.logical("Read", "totp/keys/none").absent()
	})
}

// hvacTransit goes through the transit calls of Python's client.
const hvacTransit = `
import base64, os, hvac
client = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["VAULT_TOKEN"])
client.sys.enable_secrets_engine("transit")
t = client.secrets.transit
b64 = lambda s: base64.b64encode(s.encode()).decode()
t.create_key("k", exportable=True, allow_plaintext_backup=True)
assert t.read_key("k")["data"]["type"] == "aes256-gcm96"
assert t.list_keys()["data"]["keys"] == ["k"]
c = t.encrypt_data("k", plaintext=b64("hello"))["data"]["ciphertext"]
assert t.decrypt_data("k", ciphertext=c)["data"]["plaintext"] == b64("hello")
r = t.encrypt_data("k", plaintext="", batch_input=[{"plaintext": b64("a")}, {"plaintext": b64("b")}])["data"]["batch_results"]
assert [x["plaintext"] for x in t.decrypt_data("k", ciphertext="", batch_input=[{"ciphertext": x["ciphertext"]} for x in r])["data"]["batch_results"]] == [b64("a"), b64("b")]
t.rotate_key("k")
c = t.rewrap_data("k", ciphertext=c)["data"]["ciphertext"]
assert c.startswith("vault:v2:")
t.update_key_configuration("k", min_decryption_version=1, min_encryption_version=2, deletion_allowed=True)
d = t.generate_data_key("k", "plaintext", bits=128)["data"]
assert t.decrypt_data("k", ciphertext=d["ciphertext"])["data"]["plaintext"] == d["plaintext"]
assert len(base64.b64decode(t.generate_random_bytes(n_bytes=9)["data"]["random_bytes"])) == 9
assert t.hash_data(b64("x"), algorithm="sha2-256", output_format="hex")["data"]["sum"].startswith("2d711642")
mac = t.generate_hmac("k", b64("x"), algorithm="sha2-512")["data"]["hmac"]
assert t.verify_signed_data("k", b64("x"), hmac=mac, hash_algorithm="sha2-512")["data"]["valid"]
t.create_key("s", key_type="rsa-2048")
for scheme in ("pss", "pkcs1v15"):
    s = t.sign_data("s", b64("x"), hash_algorithm="sha2-384", signature_algorithm=scheme)["data"]["signature"]
    assert t.verify_signed_data("s", b64("x"), signature=s, hash_algorithm="sha2-384", signature_algorithm=scheme)["data"]["valid"]
    assert not t.verify_signed_data("s", b64("y"), signature=s, hash_algorithm="sha2-384", signature_algorithm=scheme)["data"]["valid"]
assert "2" in t.export_key("k", "encryption-key")["data"]["keys"]
backup = t.backup_key("k")["data"]["backup"]
t.delete_key("k")
t.restore_key(backup, name="k2")
assert t.decrypt_data("k2", ciphertext=c)["data"]["plaintext"] == b64("hello")
t.trim_key("k2", 1)
try:
    t.encrypt_data("none2", plaintext="***")
    raise SystemExit("bad base64 was encrypted")
except hvac.exceptions.InvalidRequest:
    pass
print("all done")
`

func TestTransitOfHvac(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", hvacTransit)
	cmd.Env = append(cmd.Environ(), "VAULT_ADDR="+s.Addr, "VAULT_TOKEN="+servertest.RootToken)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "all done\n") {
		t.Errorf("%v: %s", err, out)
	}
}
