package seal

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/cofferhq/coffer/internal/route"
)

// raw encodes an answer without envelope.
func raw(v any, err error) (route.Bytes, error) {
	if err != nil {
		return route.Bytes{}, err
	}
	body, err := json.Marshal(v)
	if err != nil {
		return route.Bytes{}, fmt.Errorf("encoding answer: %w", err)
	}
	return route.Bytes{ContentType: "application/json", Body: body}, nil
}

// bySudo is the authority at an endpoint that demands sudo.
func bySudo(call *route.Call) Authority { return Authority{Sudo: call.Sudo} }

func (c *Ceremony) rekeyAuthority(call *route.Call) Authority {
	return Authority{Sudo: call.Sudo, Open: call.Open}
}

func (c *Ceremony) generateRootAuthority(call *route.Call) Authority {
	return Authority{Sudo: call.Sudo, Open: call.Open}
}

func (c *Ceremony) readInit(ctx context.Context, _ *route.Call, _ none) (route.Bytes, error) {
	done, err := c.Initialized(ctx)
	return raw(InitStatus{done}, err)
}

func (c *Ceremony) writeInit(ctx context.Context, _ *route.Call, in InitRequest) (route.Bytes, error) {
	return raw(c.Init(ctx, in))
}

func (c *Ceremony) readSealStatus(ctx context.Context, call *route.Call, _ none) (route.Bytes, error) {
	st, err := c.Status(ctx)
	if call.Redact.Version {
		st.Version = ""
	}
	if call.Redact.ClusterName {
		st.ClusterName = ""
	}
	return raw(st, err)
}

func (c *Ceremony) writeUnseal(ctx context.Context, _ *route.Call, in UnsealRequest) (route.Bytes, error) {
	return raw(c.Unseal(ctx, in))
}

func (c *Ceremony) writeSeal(ctx context.Context, _ *route.Call, _ none) (route.None, error) {
	c.Seal(ctx)
	return route.None{}, nil
}

func (c *Ceremony) readKeyStatus(ctx context.Context, _ *route.Call, _ none) (KeyStatus, error) {
	return c.KeyStatus(ctx)
}

func (c *Ceremony) writeRotate(ctx context.Context, _ *route.Call, _ none) (route.None, error) {
	return route.None{}, c.RotateDataKey(ctx)
}

func (c *Ceremony) writeRotateRoot(ctx context.Context, _ *route.Call, _ none) (route.None, error) {
	return route.None{}, c.RotateRootKey(ctx)
}

func (c *Ceremony) readRotation(ctx context.Context, _ *route.Call, _ none) (RotationSettings, error) {
	return c.Rotation(ctx)
}

func (c *Ceremony) writeRotation(ctx context.Context, _ *route.Call, in RotationRequest) (route.None, error) {
	return route.None{}, c.ConfigureRotation(ctx, in)
}

func (c *Ceremony) readBackup(ctx context.Context, _ *route.Call, _ none) (Backup, error) {
	return c.RekeyBackup(ctx)
}

func (c *Ceremony) deleteBackup(ctx context.Context, _ *route.Call, _ none) (route.None, error) {
	return route.None{}, c.DeleteRekeyBackup(ctx)
}

// The rekey's old spelling.

func (c *Ceremony) readRekey(ctx context.Context, _ *route.Call, _ none) (route.Bytes, error) {
	return raw(c.RekeyStatus(ctx))
}

func (c *Ceremony) startRekey(ctx context.Context, call *route.Call, in RekeyRequest) (route.Bytes, error) {
	return raw(c.StartRekey(ctx, c.rekeyAuthority(call), in))
}

func (c *Ceremony) cancelRekey(ctx context.Context, call *route.Call, in CancelRequest) (route.None, error) {
	return route.None{}, c.CancelRekey(ctx, c.rekeyAuthority(call), in)
}

func (c *Ceremony) updateRekey(ctx context.Context, call *route.Call, in ShareRequest) (route.Bytes, error) {
	status, result, err := c.UpdateRekey(ctx, c.rekeyAuthority(call), in)
	if result != nil {
		return raw(result, err)
	}
	return raw(status, err)
}

func (c *Ceremony) readRekeyVerify(ctx context.Context, _ *route.Call, _ none) (route.Bytes, error) {
	return raw(c.VerifyRekeyStatus(ctx))
}

func (c *Ceremony) verifyRekey(ctx context.Context, call *route.Call, in ShareRequest) (route.Bytes, error) {
	status, result, err := c.VerifyRekey(ctx, c.rekeyAuthority(call), in)
	if result != nil {
		return raw(result, err)
	}
	return raw(status, err)
}

func (c *Ceremony) restartRekey(ctx context.Context, call *route.Call, in CancelRequest) (route.Bytes, error) {
	return raw(c.RestartVerification(ctx, c.rekeyAuthority(call), in))
}

// The rekey with a token.

// rotateRootStatus is [RekeyStatus] as these endpoints show it: without a rekey
// under way, progress and nonces are left out.
type rotateRootStatus struct {
	Started   bool `json:"started"`
	Threshold int  `json:"t"`
	Shares    int  `json:"n"`
	Required  int  `json:"required"`
	*rotateRootProgress
}

type rotateRootProgress struct {
	Nonce                string   `json:"nonce"`
	Progress             int      `json:"progress"`
	VerificationRequired bool     `json:"verification_required"`
	VerificationNonce    string   `json:"verification_nonce"`
	PGPFingerprints      []string `json:"pgp_fingerprints,omitempty"`
	Backup               bool     `json:"backup,omitempty"`
}

func rotateRootStatusOf(s RekeyStatus, err error) (rotateRootStatus, error) {
	out := rotateRootStatus{Started: s.Started, Threshold: s.Threshold, Shares: s.Shares, Required: s.Required}
	if s.Started {
		out.rotateRootProgress = &rotateRootProgress{
			Nonce: s.Nonce, Progress: s.Progress, PGPFingerprints: s.PGPFingerprints, Backup: s.Backup,
			VerificationRequired: s.VerificationRequired, VerificationNonce: s.VerificationNonce,
		}
	}
	return out, err
}

func (c *Ceremony) readRotateRoot(ctx context.Context, _ *route.Call, _ none) (rotateRootStatus, error) {
	return rotateRootStatusOf(c.RekeyStatus(ctx))
}

func (c *Ceremony) startRotateRoot(ctx context.Context, call *route.Call, in RekeyRequest) (rotateRootStatus, error) {
	return rotateRootStatusOf(c.StartRekey(ctx, bySudo(call), in))
}

func (c *Ceremony) cancelRotateRoot(ctx context.Context, call *route.Call, in CancelRequest) (route.None, error) {
	return route.None{}, c.CancelRekey(ctx, bySudo(call), in)
}

func (c *Ceremony) updateRotateRoot(ctx context.Context, call *route.Call, in ShareRequest) (*route.Reply, error) {
	status, result, err := c.UpdateRekey(ctx, bySudo(call), in)
	switch {
	case err != nil:
		return nil, err
	case result != nil:
		return route.Data(result)
	}
	shown, err := rotateRootStatusOf(*status, nil)
	if err != nil {
		return nil, err
	}
	return route.Data(shown)
}

func (c *Ceremony) readRotateRootVerify(ctx context.Context, _ *route.Call, _ none) (VerifyStatus, error) {
	return c.VerifyRekeyStatus(ctx)
}

func (c *Ceremony) verifyRotateRoot(ctx context.Context, call *route.Call, in ShareRequest) (*route.Reply, error) {
	status, result, err := c.VerifyRekey(ctx, bySudo(call), in)
	switch {
	case err != nil:
		return nil, err
	case result != nil:
		return route.Data(result)
	}
	return route.Data(status)
}

func (c *Ceremony) restartRotateRoot(ctx context.Context, call *route.Call, in CancelRequest) (VerifyStatus, error) {
	return c.RestartVerification(ctx, bySudo(call), in)
}

// The root generation, in both spellings.

func (c *Ceremony) readGenerateRoot(ctx context.Context, _ *route.Call, _ none) (route.Bytes, error) {
	return raw(c.RootTokenStatus(ctx))
}

func (c *Ceremony) startGenerateRoot(ctx context.Context, call *route.Call, in RootTokenRequest) (route.Bytes, error) {
	return raw(c.StartRootToken(ctx, c.generateRootAuthority(call), in))
}

func (c *Ceremony) cancelGenerateRoot(ctx context.Context, call *route.Call, in CancelRequest) (route.None, error) {
	return route.None{}, c.CancelRootToken(ctx, c.generateRootAuthority(call), in)
}

func (c *Ceremony) updateGenerateRoot(ctx context.Context, call *route.Call, in ShareRequest) (route.Bytes, error) {
	return raw(c.UpdateRootToken(ctx, c.generateRootAuthority(call), in))
}

func (c *Ceremony) readRootToken(ctx context.Context, _ *route.Call, _ none) (RootTokenStatus, error) {
	return c.RootTokenStatus(ctx)
}

func (c *Ceremony) startRootToken(ctx context.Context, call *route.Call, in RootTokenRequest) (RootTokenStatus, error) {
	return c.StartRootToken(ctx, bySudo(call), in)
}

func (c *Ceremony) cancelRootToken(ctx context.Context, call *route.Call, in CancelRequest) (route.None, error) {
	return route.None{}, c.CancelRootToken(ctx, bySudo(call), in)
}

func (c *Ceremony) updateRootToken(ctx context.Context, call *route.Call, in ShareRequest) (RootTokenStatus, error) {
	return c.UpdateRootToken(ctx, bySudo(call), in)
}
