package seal

import (
	"slices"

	"github.com/cofferhq/coffer/internal/route"
)

// Routes declares the ceremonies' endpoints below sys/. Those that Vault
// answers without an envelope are raw; the newer spellings of the same have one.
func (c *Ceremony) Routes() []route.Endpoint {
	return route.Bind(c, slices.Concat(
		sealRoutes(),
		route.With(slices.Concat(
			keyRoutes(),
			rootKeyRoutes(),
			rootTokenRoutes(),
			rekeyRoutes(),
			generateRootRoutes(),
		), route.RootOnly()),
	))
}

type none struct{}

func sealRoutes() []route.Endpoint {
	sealed := route.WhileSealed()
	return []route.Endpoint{
		route.Raw(route.VerbRead, "init", (*Ceremony).readInit, sealed, route.RootOnly(), route.Doc{Summary: "Whether the cluster was initialised."}),
		route.Raw(route.VerbWrite, "init", (*Ceremony).writeInit, sealed, route.RootOnly(), route.Doc{Summary: "Initialise the cluster: make the keys, their shares and a root token."}),
		route.Raw(route.VerbRead, "seal-status", (*Ceremony).readSealStatus, sealed, route.Doc{Summary: "The state of the seal."}),
		route.Raw(route.VerbWrite, "unseal", (*Ceremony).writeUnseal, sealed, route.RootOnly(), route.Doc{Summary: "Give one share, or forget those given."}),
		route.Write("seal", (*Ceremony).writeSeal, route.Sudo(), route.OnThisNode(), route.RootOnly(), route.Doc{Summary: "Seal the server."}),
	}
}

func keyRoutes() []route.Endpoint {
	rotate := route.Doc{Summary: "Make a new data key for everything written from now on."}
	read := route.Doc{Summary: "When the data key rotates by itself."}
	write := route.Doc{Summary: "Change when the data key rotates by itself."}
	return []route.Endpoint{
		route.Read("key-status", (*Ceremony).readKeyStatus, route.OnLeader(), route.Flat(), route.Doc{Summary: "The data key that encrypts now."}),
		route.Write("rotate/keyring", (*Ceremony).writeRotate, route.Sudo(), rotate),
		route.Write("rotate", (*Ceremony).writeRotate, route.Sudo(), route.Hidden(), rotate),
		route.Read("rotate/keyring/config", (*Ceremony).readRotation, read),
		route.Read("rotate/config", (*Ceremony).readRotation, route.Hidden(), read),
		route.Write("rotate/keyring/config", (*Ceremony).writeRotation, write),
		route.Write("rotate/config", (*Ceremony).writeRotation, route.Hidden(), write),
		route.Write("rotate/root", (*Ceremony).writeRotateRoot, route.Sudo(), route.Doc{Summary: "Make a new root key; the shares stay valid."}),
	}
}

// rootKeyRoutes are the rekey with a token.
func rootKeyRoutes() []route.Endpoint {
	return []route.Endpoint{
		route.Read("rotate/root/init", (*Ceremony).readRotateRoot, route.OnLeader(), route.Doc{Summary: "The progress of making new shares."}),
		route.Write("rotate/root/init", (*Ceremony).startRotateRoot, route.Sudo(), route.Doc{Summary: "Start making new shares."}),
		route.Delete("rotate/root/init", (*Ceremony).cancelRotateRoot, route.Sudo(), route.Doc{Summary: "Cancel making new shares."}),
		route.Full(route.VerbWrite, "rotate/root/update", (*Ceremony).updateRotateRoot, route.Sudo(), route.Doc{Summary: "Give an old share; the last one brings the new shares."}),
		route.Read("rotate/root/verify", (*Ceremony).readRotateRootVerify, route.OnLeader(), route.Doc{Summary: "The progress of verifying the new shares."}),
		route.Full(route.VerbWrite, "rotate/root/verify", (*Ceremony).verifyRotateRoot, route.Sudo(), route.Doc{Summary: "Give a new share; the last one puts the new shares in force."}),
		route.Delete("rotate/root/verify", (*Ceremony).restartRotateRoot, route.Sudo(), route.Doc{Summary: "Start the verification over."}),
		route.Read("rotate/root/backup", (*Ceremony).readBackup, route.Sudo(), route.Doc{Summary: "The encrypted shares of the last change that kept a backup."}),
		route.Delete("rotate/root/backup", (*Ceremony).deleteBackup, route.Sudo(), route.Doc{Summary: "Delete the backup."}),
		route.Read("rekey/backup", (*Ceremony).readBackup, route.Sudo(), route.Hidden()),
		route.Delete("rekey/backup", (*Ceremony).deleteBackup, route.Sudo(), route.Hidden()),
	}
}

// rootTokenRoutes are the root generation with a token.
func rootTokenRoutes() []route.Endpoint {
	return []route.Endpoint{
		route.Read("generate-root-token/attempt", (*Ceremony).readRootToken, route.OnLeader(), route.Doc{Summary: "The progress of generating a root token."}),
		route.Write("generate-root-token/attempt", (*Ceremony).startRootToken, route.Sudo(), route.Doc{Summary: "Start generating a root token."}),
		route.Delete("generate-root-token/attempt", (*Ceremony).cancelRootToken, route.Sudo(), route.Doc{Summary: "Cancel generating a root token."}),
		route.Write("generate-root-token/update", (*Ceremony).updateRootToken, route.Sudo(), route.Doc{Summary: "Give a share; the last one brings the root token."}),
	}
}

// rekeyRoutes are the rekey's old spelling. They demand sudo, unless the
// listener opens them.
func rekeyRoutes() []route.Endpoint {
	return []route.Endpoint{
		route.Raw(route.VerbRead, "rekey/init", (*Ceremony).readRekey, route.OnLeader(), route.Sudo(), route.Hidden()),
		route.Raw(route.VerbWrite, "rekey/init", (*Ceremony).startRekey, route.Sudo(), route.Hidden()),
		route.Delete("rekey/init", (*Ceremony).cancelRekey, route.Sudo(), route.Hidden()),
		route.Raw(route.VerbWrite, "rekey/update", (*Ceremony).updateRekey, route.Sudo(), route.Hidden()),
		route.Raw(route.VerbRead, "rekey/verify", (*Ceremony).readRekeyVerify, route.OnLeader(), route.Sudo(), route.Hidden()),
		route.Raw(route.VerbWrite, "rekey/verify", (*Ceremony).verifyRekey, route.Sudo(), route.Hidden()),
		route.Raw(route.VerbDelete, "rekey/verify", (*Ceremony).restartRekey, route.Sudo(), route.Hidden()),
	}
}

// generateRootRoutes are the root generation's old spellings.
func generateRootRoutes() []route.Endpoint {
	var list []route.Endpoint
	for _, attempt := range []string{"generate-root/attempt", "generate-root"} {
		list = append(list,
			route.Raw(route.VerbRead, attempt, (*Ceremony).readGenerateRoot, route.OnLeader(), route.Sudo(), route.Hidden()),
			route.Raw(route.VerbWrite, attempt, (*Ceremony).startGenerateRoot, route.Sudo(), route.Hidden()),
			route.Delete(attempt, (*Ceremony).cancelGenerateRoot, route.Sudo(), route.Hidden()))
	}
	return append(list, route.Raw(route.VerbWrite, "generate-root/update", (*Ceremony).updateGenerateRoot, route.Sudo(), route.Hidden()))
}
