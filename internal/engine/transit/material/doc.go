// Package material is the cryptography of the transit engine: the key of one
// key version, what it is made of, and what can be done with it. It knows
// nothing of names, versions or storage.
//
// A [Key] is parsed once and used many times: it is immutable and safe for
// concurrent use. Its stored form is [Key.Secret] (raw bytes, a seed, or PKCS #8)
// or, for a key of which only the public half was imported, [Key.PublicDER].
//
// # Formats
//
// What [Key.Seal] returns, by type:
//
//	aes*-gcm96, chacha20-poly1305   nonce (12 bytes), ciphertext, tag (16 bytes)
//	xchacha20-poly1305              nonce (24 bytes), ciphertext, tag (16 bytes)
//	rsa-*                           RSAES-OAEP with SHA-256 and an empty label (RFC 8017)
//	ml-kem-*                        ML-KEM ciphertext (FIPS 203), then as aes256-gcm96 under
//	                                HKDF-SHA-256(shared secret, info "coffer transit ml-kem")
//
// A derived key is HKDF-SHA-256 (RFC 5869) of the version's key without salt,
// with the context as info. A convergent key takes 32 more bytes of the same
// output: the nonce is the beginning of HMAC-SHA-256 under those, of the
// plaintext. All but ML-KEM is what other servers of this API produce and accept.
package material
