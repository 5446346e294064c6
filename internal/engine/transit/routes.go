package transit

import (
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
)

// Type is the mount type "transit". tools are the endpoints for random bytes and
// hashes, which the engine shares with sys/tools.
func Type(tools []route.Endpoint) engine.Type {
	return engine.Type{
		Name:   "transit",
		Routes: append(routes(), tools...),
		New:    func(h engine.Host) (any, error) { return newEngine(h), nil },
		Doc:    "Encrypts, signs and authenticates data with keys that stay in the server.",
	}
}

func routes() []route.Endpoint {
	return []route.Endpoint{
		route.List("keys", (*Engine).listKeys, route.Doc{Summary: "List the keys."}),
		route.Write("keys/{name}", (*Engine).createKey, route.Doc{Summary: "Make a key.", Description: "A key that is there already is answered as it is."}),
		route.Read("keys/{name}", (*Engine).readKey, route.Doc{Summary: "Read a key's settings, versions and public halves."}),
		route.Delete("keys/{name}", (*Engine).deleteKey, route.Doc{Summary: "Delete a key with all its versions for ever.", Description: "Its deletion_allowed must be set."}),
		route.Write("keys/{name}/config", (*Engine).configureKey, route.Doc{Summary: "Change a key's settings."}),
		route.Write("keys/{name}/rotate", (*Engine).rotateKey, route.Doc{Summary: "Make a new version of a key."}),
		route.Write("keys/{name}/rename", (*Engine).renameKey, route.Doc{Summary: "Give a key another name.", Description: "Ciphertexts do not have the name and stay good."}),
		route.Write("keys/{name}/trim", (*Engine).trimKey, route.Doc{Summary: "Delete old versions of a key for ever."}),
		route.Delete("keys/{name}/soft-delete", (*Engine).softDelete, route.Doc{Summary: "Stop all use of a key; it can be restored."}),
		route.Write("keys/{name}/soft-delete-restore", (*Engine).softRestore, route.Doc{Summary: "Let a key be used again that was softly deleted."}),

		route.Full(route.VerbWrite, "encrypt/{name}", (*Engine).encrypt, route.Pure(), route.Exists((*Engine).encryptExists),
			route.Doc{Summary: "Encrypt data.", Description: "A caller with the create capability makes a key that is not there yet."}),
		route.Full(route.VerbWrite, "decrypt/{name}", (*Engine).decrypt, route.Pure(), route.Doc{Summary: "Decrypt data."}),
		route.Full(route.VerbWrite, "rewrap/{name}", (*Engine).rewrap, route.Pure(), route.Doc{Summary: "Decrypt data and encrypt it with the latest version, without showing it."}),
		route.Write("datakey/{plaintext}/{name}", (*Engine).dataKey, route.Pure(),
			route.Doc{Summary: "Make a key for use elsewhere, encrypted, and with plaintext also in the clear."}),
		route.Full(route.VerbWrite, "sign/{name}", (*Engine).sign, route.Pure(), route.Doc{Summary: "Sign data."}),
		route.Full(route.VerbWrite, "sign/{name}/{urlalgorithm}", (*Engine).signBy, route.Pure(), route.Doc{Summary: "Sign data by a hash algorithm."}),
		route.Full(route.VerbWrite, "verify/{name}", (*Engine).verify, route.Pure(), route.Doc{Summary: "Verify a signature or an HMAC."}),
		route.Full(route.VerbWrite, "verify/{name}/{urlalgorithm}", (*Engine).verifyBy, route.Pure(), route.Doc{Summary: "Verify a signature or an HMAC by a hash algorithm."}),
		route.Full(route.VerbWrite, "hmac/{name}", (*Engine).hmac, route.Pure(), route.Doc{Summary: "Compute an HMAC."}),
		route.Full(route.VerbWrite, "hmac/{name}/{urlalgorithm}", (*Engine).hmacBy, route.Pure(), route.Doc{Summary: "Compute an HMAC by a hash algorithm."}),

		route.Read("export/{type}/{name}", (*Engine).exportKey, route.Doc{Summary: "Read all versions of an exportable key."}),
		route.Read("export/{type}/{name}/{version}", (*Engine).exportVersion, route.Doc{Summary: "Read one version of an exportable key."}),
		route.Read("backup/{name}", (*Engine).backupKey, route.Effect(), route.Doc{Summary: "Read a backup of a key, in the clear.", Description: "Its allow_plaintext_backup must be set."}),
		route.Write("restore", (*Engine).restoreKey, route.Doc{Summary: "Restore a key from a backup."}),
		route.Write("restore/{name}", (*Engine).restoreKeyAs, route.Doc{Summary: "Restore a key from a backup under a name."}),

		route.Read("wrapping_key", (*Engine).readWrappingKey, route.Effect(), route.Doc{Summary: "Read the public key that imports are wrapped with; it is made on first use."}),
		route.Write("keys/{name}/import", (*Engine).importKey, route.Doc{Summary: "Make a key of material from elsewhere."}),
		route.Write("keys/{name}/import_version", (*Engine).importVersion, route.Doc{Summary: "Add material from elsewhere to an imported key."}),
		route.Read("byok-export/{destination}/{source}", (*Engine).wrapKey, route.Doc{Summary: "Read a key wrapped for import elsewhere."}),
		route.Read("byok-export/{destination}/{source}/{version}", (*Engine).wrapVersion, route.Doc{Summary: "Read a version of a key wrapped for import elsewhere."}),

		route.Write("keys/{name}/csr", (*Engine).requestCertificate, route.Pure(), route.Doc{Summary: "Sign a certificate request (PKCS #10) with a key."}),
		route.Write("keys/{name}/set-certificate", (*Engine).setCertificate, route.Doc{Summary: "Keep a certificate chain with a key."}),
		route.Write("derive-key/{name}", (*Engine).agreeKey, route.Doc{Summary: "Make a key that the owner of another public key can make too (ECDH)."}),

		route.Read("cache-config", (*Engine).readCacheConfig, route.Doc{Summary: "Read how many keys are kept parsed in memory."}),
		route.Write("cache-config", (*Engine).writeCacheConfig, route.Doc{Summary: "Bound how many keys are kept parsed in memory."}),
		route.Read("config/keys", (*Engine).readKeysConfig, route.Doc{Summary: "Read the settings of all keys."}),
		route.Write("config/keys", (*Engine).writeKeysConfig, route.Doc{Summary: "Change the settings of all keys."}),
	}
}
