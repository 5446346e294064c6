package clients_test

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// sealed is a server as it is found on a new disk; open lets the ceremonies of
// the seal begin without a token, as older releases did.
func sealed(open bool) servertest.Options {
	return servertest.Options{Uninitialised: true, Change: func(c *config.Config) {
		for i := range c.Listeners {
			c.Listeners[i].Access.DisableUnauthedRekey = !open
			c.Listeners[i].Access.DisableUnauthedGenerateRoot = !open
		}
	}}
}

// unsealed initialises a server and unseals it, and returns its keys.
func (c *client) unsealed(shares, threshold int) []string {
	c.t.Helper()
	made := c.sys("Init", in{"secret_shares": shares, "secret_threshold": threshold})
	keys := texts(made.at("keys_base64"))
	if len(keys) != shares {
		c.t.Fatalf("initialising: got %d keys, want %d", len(keys), shares)
	}
	for _, key := range keys[:threshold] {
		c.sys("Unseal", key).ok()
	}
	c.setToken(made.text("root_token"))
	return keys
}

func texts(v any) []string {
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i := range list {
		out[i], _ = list[i].(string)
	}
	return out
}

func TestInitialiseAndUnseal(t *testing.T) {
	tour(t, sealed(false), func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("InitStatus").has(in{"": false})
		c.sys("SealStatus").has(in{"initialized": false, "sealed": true, "type": "shamir", "t": 0, "n": 0})
		c.sys("Health").has(in{"initialized": false, "sealed": true})
		c.sys("Unseal", "AAAA").fails(http.StatusBadRequest, "")
		made := c.sys("Init", in{"secret_shares": 3, "secret_threshold": 2})
		keys := texts(made.at("keys_base64"))
		c.sys("Init", in{"secret_shares": 1, "secret_threshold": 1}).fails(http.StatusBadRequest, "already initialized")
		c.sys("InitStatus").has(in{"": true})
		c.sys("SealStatus").has(in{"initialized": true, "sealed": true, "t": 2, "n": 3, "progress": 0})
		c.setToken(made.text("root_token"))
		c.logical("Read", "auth/token/lookup-self").fails(http.StatusServiceUnavailable, "Vault is sealed")

		first := c.sys("Unseal", keys[0]).has(in{"sealed": true, "progress": 1, "t": 2})
		first.text("nonce")
		c.sys("ResetUnsealProcess").has(in{"progress": 0, "sealed": true})
		c.sys("UnsealWithOptions", in{"key": keys[2]}).has(in{"sealed": true, "progress": 1})
		c.sys("Unseal", texts(made.at("keys"))[1]).has(in{"sealed": false, "progress": 0}).text("cluster_id")
		c.sys("Health").has(in{"initialized": true, "sealed": false, "standby": false})
		c.token("LookupSelf").has(in{"data|policies": []string{"root"}, "data|display_name": "root", "data|orphan": true})

		c.sys("Seal").ok()
		c.sys("SealStatus").has(in{"sealed": true, "progress": 0})
		c.sys("Unseal", keys[0]).ok()
		c.sys("Unseal", keys[1]).has(in{"sealed": false})
		c.token("LookupSelf").ok()
	})
}

func TestHealthAndLeader(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("Health").has(in{"initialized": true, "sealed": false, "standby": false}).text("version")
		c.sys("Leader").has(in{"ha_enabled": false})
		c.sys("SealStatus").has(in{"sealed": false, "t": 1, "n": 1}).text("cluster_name")
		c.as("").sys("Health").ok()
	})
}

func TestRekey(t *testing.T) {
	tour(t, sealed(true), func(t *testing.T, s *servertest.Server, c *client) {
		keys := c.unsealed(1, 1)
		c.sys("RekeyStatus").has(in{"started": false, "required": 1})
		started := c.sys("RekeyInit", in{"secret_shares": 3, "secret_threshold": 2, "require_verification": true})
		nonce := started.has(in{"started": true, "t": 2, "n": 3, "required": 1, "verification_required": true}).text("nonce")
		c.sys("RekeyInit", in{"secret_shares": 1, "secret_threshold": 1}).fails(http.StatusBadRequest, "rekey already in progress")
		c.sys("RekeyUpdate", keys[0], "00000000-0000-0000-0000-000000000000").fails(http.StatusBadRequest, "")
		done := c.sys("RekeyUpdate", keys[0], nonce).has(in{"complete": true, "verification_required": true})
		fresh, proof := texts(done.at("keys_base64")), done.text("verification_nonce")
		c.sys("RekeyVerificationStatus").has(in{"t": 2, "n": 3, "progress": 0})
		c.sys("RekeyVerificationUpdate", fresh[0], proof).has(in{"complete": false})
		c.sys("RekeyVerificationUpdate", fresh[2], proof).has(in{"complete": true})

		c.sys("Seal").ok()
		c.sys("Unseal", fresh[1]).has(in{"sealed": true, "progress": 1, "t": 2, "n": 3})
		c.sys("Unseal", fresh[0]).has(in{"sealed": false})
	})
}

func TestCeremoniesByToken(t *testing.T) {
	tour(t, sealed(false), func(t *testing.T, s *servertest.Server, c *client) {
		c.unsealed(1, 1)
		nobody := c.as("")
		if nobody.sys("RekeyInit", in{"secret_shares": 1, "secret_threshold": 1}).err == nil {
			t.Error("a rekey began without a token")
		}
		if nobody.sys("GenerateRootInit", "", "").err == nil {
			t.Error("the generation of a root token began without a token")
		}
		c.sys("RekeyStatus").has(in{"started": false})
		c.sys("RekeyInit", in{"secret_shares": 1, "secret_threshold": 1}).has(in{"started": true})
		c.sys("RekeyCancel").ok()
		c.sys("RekeyStatus").has(in{"started": false})
		c.sys("GenerateRootInit", "", "").has(in{"started": true})
		c.sys("GenerateRootCancel").ok()
		c.sys("GenerateRootStatus").has(in{"started": false})
	})
}

func TestGenerateRoot(t *testing.T) {
	tour(t, sealed(true), func(t *testing.T, s *servertest.Server, c *client) {
		keys := c.unsealed(2, 2)
		c.sys("GenerateRootStatus").has(in{"started": false, "required": 2})
		started := c.sys("GenerateRootInit", "", "").has(in{"started": true, "progress": 0, "complete": false})
		nonce, otp := started.text("nonce"), started.text("otp")
		c.sys("GenerateRootUpdate", keys[0], nonce).has(in{"progress": 1, "complete": false})
		done := c.sys("GenerateRootUpdate", keys[1], nonce).has(in{"progress": 2, "complete": true})
		hidden, err := base64.RawStdEncoding.DecodeString(done.text("encoded_token"))
		if err != nil || len(hidden) != len(otp) {
			t.Fatalf("encoded token of %d bytes for a pad of %d: %v", len(hidden), len(otp), err)
		}
		for i := range hidden {
			hidden[i] ^= otp[i]
		}
		c.as(string(hidden)).token("LookupSelf").has(in{"data|policies": []string{"root"}, "data|ttl": 0})
	})
}

func TestRotateKeyring(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("KeyStatus").has(in{"term": 1})
		c.sys("Rotate").ok()
		c.sys("KeyStatus").has(in{"term": 2})
	})
}

// OpenBao's clients have authenticated ceremonies of their own.
func TestRotateRoot(t *testing.T) {
	tour(t, sealed(false), func(t *testing.T, s *servertest.Server, c *client) {
		if c.kind != "openbao" {
			t.Skip("this client has no such methods")
		}
		keys := c.unsealed(1, 1)
		c.sys("RotateRootStatus").has(in{"started": false})
		nonce := c.sys("RotateRootInit", in{"secret_shares": 2, "secret_threshold": 2}).has(in{"started": true, "n": 2}).text("nonce")
		fresh := texts(c.sys("RotateRootUpdate", keys[0], nonce).has(in{"complete": true}).at("keys_base64"))
		c.sys("Seal").ok()
		c.sys("Unseal", fresh[0]).has(in{"sealed": true})
		c.sys("Unseal", fresh[1]).has(in{"sealed": false})
		c.sys("RotateKeyring").ok()
	})
}
