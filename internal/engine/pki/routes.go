package pki

import (
	"slices"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/pki/acme"
	"github.com/cofferhq/coffer/internal/route"
)

// Type is the mount type "pki", with the network that ACME's challenges use.
func Type(n acme.Network) engine.Type {
	return engine.Type{
		Name:   "pki",
		Doc:    "Is a certificate authority: issues, signs and revokes X.509 certificates.",
		Routes: routes(),
		New:    func(h engine.Host) (any, error) { return newEngine(h, n), nil },
	}
}

func routes() []route.Endpoint {
	return slices.Concat(authorityRoutes(), issuerRoutes(), leafRoutes(), publicRoutes(), settingRoutes(), acmeRoutes())
}

// authorityRoutes make and import certificate authorities.
func authorityRoutes() []route.Endpoint {
	generateRoot := route.Doc{Summary: "Make a root certificate.", Description: "With internal the key never leaves the server; exported shows it in this answer alone; existing uses a key that is here."}
	generateIntermediate := route.Doc{Summary: "Make a certificate request for an intermediate, for another CA to sign."}
	return []route.Endpoint{
		route.Write("root/generate/{exported}", (*Engine).generateRoot, generateRoot),
		route.Write("issuers/generate/root/{exported}", (*Engine).generateRoot, generateRoot),
		route.Write("root/rotate/{exported}", (*Engine).rotateRoot, route.Doc{Summary: `Make a root certificate, called "next" unless told otherwise.`}),
		route.Write("root/replace", (*Engine).replaceRoot, route.Doc{Summary: `Make an issuer the default, the one called "next" unless told otherwise.`}),
		route.Full(route.VerbDelete, "root", (*Engine).deleteRoot, route.Sudo(), route.Doc{Summary: "Delete all issuers and keys."}),
		route.Write("root/sign-intermediate", (*Engine).signIntermediateRoot, route.Doc{Summary: "Sign the certificate of an intermediate."}),
		route.Write("root/sign-self-issued", (*Engine).signSelfIssuedRoot, route.Sudo(), route.Doc{Summary: "Sign the certificate of another root, so that it is trusted through this one."}),
		route.Write("intermediate/generate/{exported}", (*Engine).generateIntermediate, generateIntermediate),
		route.Write("issuers/generate/intermediate/{exported}", (*Engine).generateIntermediate, generateIntermediate),
		route.Write("intermediate/cross-sign", (*Engine).crossSign, route.Doc{Summary: "Make a certificate request for a key that is here, for another CA to sign."}),
		route.Write("intermediate/set-signed", (*Engine).setSigned, route.Doc{Summary: "Import the signed certificate of an intermediate."}),
		route.Write("config/ca", (*Engine).importBundle, route.Doc{Summary: "Import certificates and keys."}),
		route.Write("issuers/import/bundle", (*Engine).importBundle, route.Doc{Summary: "Import certificates and keys."}),
		route.Write("issuers/import/cert", (*Engine).importCerts, route.Doc{Summary: "Import certificates without keys."}),
	}
}

// issuerRoutes show and change issuers and keys.
func issuerRoutes() []route.Endpoint {
	return []route.Endpoint{
		route.List("issuers", (*Engine).listIssuers, route.Public(), route.Doc{Summary: "List the issuers."}),
		route.Read("issuer/{issuer_ref}", (*Engine).readIssuer, route.Doc{Summary: "Read an issuer."}),
		route.Write("issuer/{issuer_ref}", (*Engine).writeIssuer, route.Doc{Summary: "Set an issuer's settings; what is not mentioned gets its default."}),
		route.Patch("issuer/{issuer_ref}", (*Engine).patchIssuer, route.Doc{Summary: "Change settings of an issuer."}),
		route.Full(route.VerbDelete, "issuer/{issuer_ref}", (*Engine).deleteIssuer, route.Doc{Summary: "Delete an issuer; its key stays."}),
		route.Write("issuer/{issuer_ref}/revoke", (*Engine).revokeIssuer, route.Doc{Summary: "Revoke an issuer: it issues no more."}),
		route.Write("issuer/{issuer_ref}/sign-intermediate", (*Engine).signIntermediateAt, route.Doc{Summary: "Sign the certificate of an intermediate with an issuer."}),
		route.Write("issuer/{issuer_ref}/sign-self-issued", (*Engine).signSelfIssuedAt, route.Sudo(), route.Doc{Summary: "Sign the certificate of another root with an issuer."}),
		route.List("keys", (*Engine).listKeys, route.Doc{Summary: "List the keys."}),
		route.Read("key/{key_ref}", (*Engine).readKey, route.Doc{Summary: "Read what is public of a key."}),
		route.Write("key/{key_ref}", (*Engine).writeKey, route.Doc{Summary: "Rename a key."}),
		route.Full(route.VerbDelete, "key/{key_ref}", (*Engine).deleteKey, route.Doc{Summary: "Delete a key: its issuers can sign nothing any more."}),
		route.Write("keys/generate/internal", (*Engine).generateKeyInternal, route.Doc{Summary: "Make a key that never leaves the server."}),
		route.Write("keys/generate/exported", (*Engine).generateKeyExported, route.Doc{Summary: "Make a key and show it once."}),
		route.Write("keys/generate/kms", (*Engine).generateKeyKMS, route.Hidden()),
		route.Write("keys/import", (*Engine).importKey, route.Doc{Summary: "Import a key."}),
	}
}

// leafRoutes are about certificates of others.
func leafRoutes() []route.Endpoint {
	issueDoc := route.Doc{Summary: "Make a key and a certificate by a role."}
	signDoc := route.Doc{Summary: "Sign a certificate request by a role.", Description: "The certificate is built from the names of the request that the role allows; other extensions are not taken over."}
	verbatim := route.Doc{Summary: "Sign a certificate request with any names.", Description: "Subject, DNS names, addresses, URIs and other names are taken over; other extensions are not. Of a role only lifetimes, signature, storage and leases count."}
	return []route.Endpoint{
		route.List("roles", (*Engine).listRoles, route.Doc{Summary: "List the roles."}),
		route.Read("roles/{name}", (*Engine).readRole, route.Doc{Summary: "Read a role."}),
		route.Write("roles/{name}", (*Engine).writeRole, route.Exists((*Engine).roleExists), route.Doc{Summary: "Create or replace a role; what is not mentioned gets its default."}),
		route.Patch("roles/{name}", (*Engine).patchRole, route.Doc{Summary: "Change a role."}),
		route.Delete("roles/{name}", (*Engine).deleteRole, route.Doc{Summary: "Delete a role; its certificates stay good."}),

		engine.MayIssue(route.VerbWrite, "issue/{role}", (*Engine).issue, issueDoc),
		engine.MayIssue(route.VerbWrite, "issuer/{issuer_ref}/issue/{role}", (*Engine).issueAt, issueDoc),
		engine.MayIssue(route.VerbWrite, "sign/{role}", (*Engine).signCSR, signDoc),
		engine.MayIssue(route.VerbWrite, "issuer/{issuer_ref}/sign/{role}", (*Engine).signCSRAt, signDoc),
		engine.MayIssue(route.VerbWrite, "sign-verbatim", (*Engine).signVerbatim, verbatim),
		engine.MayIssue(route.VerbWrite, "sign-verbatim/{role}", (*Engine).signVerbatimRole, verbatim),
		engine.MayIssue(route.VerbWrite, "issuer/{issuer_ref}/sign-verbatim", (*Engine).signVerbatimAt, verbatim),
		engine.MayIssue(route.VerbWrite, "issuer/{issuer_ref}/sign-verbatim/{role}", (*Engine).signVerbatimRoleAt, verbatim),

		route.Write("revoke", (*Engine).revoke, route.Doc{Summary: "Revoke a certificate."}),
		route.Write("revoke-with-key", (*Engine).revokeWithKey, route.Doc{Summary: "Revoke a certificate with its private key."}),
		route.List("certs", (*Engine).listCerts, route.Doc{Summary: "List the serial numbers of stored certificates."}),
		route.List("certs/revoked", (*Engine).listRevoked, route.Doc{Summary: "List the serial numbers of revoked certificates."}),
		route.List("certs/detailed", (*Engine).listDetailed, route.Doc{Summary: "List stored certificates with what is known of them."}),
		route.Read("certs/search", (*Engine).searchCerts, route.Doc{Summary: "Search stored certificates by name, role, issuer, end and who asked.", Description: `A name is a DNS name, email address, IP address or URI; ".example.org" finds everything below it. The answer's "next" continues the search.`}),
		route.Read("cert-metadata/{serial}", (*Engine).readMetadata, route.Doc{Summary: "Read the metadata of a certificate."}),
	}
}

// publicRoutes are what verifiers ask, who have no token.
func publicRoutes() []route.Endpoint {
	return []route.Endpoint{
		route.Raw(route.VerbRead, "ca", (*Engine).caRaw, route.Public(), route.Doc{Summary: "The default issuer's certificate in DER."}),
		route.Raw(route.VerbRead, "ca/pem", (*Engine).caPEM, route.Public(), route.Doc{Summary: "The default issuer's certificate as PEM."}),
		route.Raw(route.VerbRead, "ca_chain", (*Engine).caChain, route.Public(), route.Doc{Summary: "The default issuer's chain as PEM."}),
		route.Read("cert/{serial}", (*Engine).readCert, route.Public(), route.Doc{Summary: "Read a certificate, or ca, ca_chain, crl, delta-crl."}),
		route.Raw(route.VerbRead, "cert/{serial}/raw", (*Engine).rawCert, route.Public(), route.Doc{Summary: "A certificate in DER."}),
		route.Raw(route.VerbRead, "cert/{serial}/raw/pem", (*Engine).rawCertPEM, route.Public(), route.Doc{Summary: "A certificate as PEM."}),
		route.Raw(route.VerbRead, "crl", (*Engine).crlDER, route.Public(), route.Doc{Summary: "The default issuer's revocation list in DER."}),
		route.Raw(route.VerbRead, "crl/pem", (*Engine).crlPEM, route.Public(), route.Doc{Summary: "The default issuer's revocation list as PEM."}),
		route.Raw(route.VerbRead, "crl/delta", (*Engine).deltaDER, route.Public(), route.Doc{Summary: "The default issuer's delta list in DER."}),
		route.Raw(route.VerbRead, "crl/delta/pem", (*Engine).deltaPEM, route.Public(), route.Doc{Summary: "The default issuer's delta list as PEM."}),
		route.Read("issuer/{issuer_ref}/json", (*Engine).issuerAsJSON, route.Public(), route.Doc{Summary: "An issuer's certificate and chain."}),
		route.Raw(route.VerbRead, "issuer/{issuer_ref}/pem", (*Engine).issuerAsPEM, route.Public(), route.Doc{Summary: "An issuer's certificate and chain as PEM."}),
		route.Raw(route.VerbRead, "issuer/{issuer_ref}/der", (*Engine).issuerAsDER, route.Public(), route.Doc{Summary: "An issuer's certificate in DER."}),
		route.Read("issuer/{issuer_ref}/crl", (*Engine).issuerCRL, route.Public(), route.Doc{Summary: "An issuer's revocation list."}),
		route.Raw(route.VerbRead, "issuer/{issuer_ref}/crl/der", (*Engine).issuerCRLDER, route.Public(), route.Doc{Summary: "An issuer's revocation list in DER."}),
		route.Raw(route.VerbRead, "issuer/{issuer_ref}/crl/pem", (*Engine).issuerCRLPEM, route.Public(), route.Doc{Summary: "An issuer's revocation list as PEM."}),
		route.Read("issuer/{issuer_ref}/crl/delta", (*Engine).issuerDelta, route.Public(), route.Doc{Summary: "An issuer's delta list."}),
		route.Raw(route.VerbRead, "issuer/{issuer_ref}/crl/delta/der", (*Engine).issuerDeltaDER, route.Public(), route.Doc{Summary: "An issuer's delta list in DER."}),
		route.Raw(route.VerbRead, "issuer/{issuer_ref}/crl/delta/pem", (*Engine).issuerDeltaPEM, route.Public(), route.Doc{Summary: "An issuer's delta list as PEM."}),
		route.Raw(route.VerbRead, "ocsp/{req...}", (*Engine).ocspGet, route.Public(), route.Doc{Summary: "Ask about a certificate's state (OCSP)."}),
		route.Raw(route.VerbWrite, "ocsp", (*Engine).ocspPost, route.Public(), route.Opaque(), route.Pure(), route.Doc{Summary: "Ask about a certificate's state (OCSP)."}),
	}
}

// settingRoutes are the mount's settings and its housekeeping.
func settingRoutes() []route.Endpoint {
	return []route.Endpoint{
		route.Read("config/issuers", (*Engine).readIssuersConfig, route.Doc{Summary: "Read which issuer is the default."}),
		route.Write("config/issuers", (*Engine).writeIssuersConfig, route.Doc{Summary: "Choose the default issuer."}),
		route.Read("config/keys", (*Engine).readKeysConfig, route.Doc{Summary: "Read which key is the default."}),
		route.Write("config/keys", (*Engine).writeKeysConfig, route.Doc{Summary: "Choose the default key."}),
		route.Read("config/urls", (*Engine).readURLs, route.Doc{Summary: "Read the URLs that certificates name."}),
		route.Write("config/urls", (*Engine).writeURLs, route.Doc{Summary: "Set the URLs that certificates name."}),
		route.Read("config/cluster", (*Engine).readCluster, route.Doc{Summary: "Read where clients reach the mount."}),
		route.Write("config/cluster", (*Engine).writeCluster, route.Doc{Summary: "Say where clients reach the mount."}),
		route.Read("config/crl", (*Engine).readCRLConfig, route.Doc{Summary: "Read the settings of revocation lists and OCSP."}),
		route.Write("config/crl", (*Engine).writeCRLConfig, route.Doc{Summary: "Set how revocation lists and OCSP answers are made."}),
		route.Read("crl/rotate", (*Engine).rotateCRL, route.Effect(), route.Doc{Summary: "Make the revocation lists anew."}),
		route.Read("crl/rotate-delta", (*Engine).rotateDelta, route.Effect(), route.Doc{Summary: "Make the delta lists anew."}),
		route.Full(route.VerbWrite, "tidy", (*Engine).tidy, route.Doc{Summary: "Remove what has ended; the work goes on after the answer."}),
		route.Full(route.VerbWrite, "tidy-cancel", (*Engine).cancelTidy, route.Doc{Summary: "Stop a tidy."}),
		route.Read("tidy-status", (*Engine).readTidyStatus, route.Doc{Summary: "Read how far a tidy is."}),
		route.Read("config/auto-tidy", (*Engine).readAutoTidy, route.Doc{Summary: "Read when the mount tidies of its own accord."}),
		route.Write("config/auto-tidy", (*Engine).writeAutoTidy, route.Doc{Summary: "Set when the mount tidies of its own accord."}),
	}
}
