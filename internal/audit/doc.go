// Package audit records every request and every answer before they have an
// effect, and can prove that the record is whole.
//
// # Promise
//
// The gate builds a [Record] for each half of an exchange and gives it to the
// [Broker]. [Broker.Log] returns nil only when at least one enabled device has
// recorded it; with no device enabled it returns nil at once. When every
// device fails, the request fails.
//
// # Devices
//
// Each device has a salt, a format and a [Sink], and one goroutine that writes.
// Begin encodes a record once per device and appends the line to the device's
// pending batch; Wait wakes the devices, and whatever has gathered meanwhile is
// one write. A pure read's two records that are begun one after the other and
// waited for together are thus one write and one wait:
//
//	req := broker.Begin(requestRecord)
//	... the handler runs ...
//	resp := broker.Begin(responseRecord)
//	err := errors.Join(req.Wait(ctx), resp.Wait(ctx)) // before any byte leaves
//
// A request with an effect uses Log, which is Begin and Wait, before the effect.
//
// # Whom a slow device delays
//
// A wait ends when one device has recorded and every other device has recorded,
// has failed, or is lagging. A device lags when one of its writes has taken
// longer than [Config.Lag] (100 ms); it is waited for again after a write
// quicker than that. A lagging device loses nothing: its lines queue up to
// [Config.Backlog] bytes. If no device has recorded, lagging ones are waited for
// until [Config.Deadline] (2 s); then the device is blocked: it counts as failed
// at once, for the waiting records and for all that follow, until a write of it
// succeeds. What a failed or blocked device missed is written when it recovers;
// what does not fit its queue is dropped, counted, and confessed in its next
// checkpoint. So a hung device costs one request at most Lag when another device
// is well, and a healthy device never loses a record.
//
// Under fsync=interval a sync runs beside the writes and delays nobody, until it
// has taken Deadline: then lines wait for it, so that what a loss of power can
// take is bounded.
//
// # Entries
//
// An entry is one line of JSON with the member names of Vault's audit log. In
// request.data and response.data, keys, numbers, booleans and nulls stay and
// string values become "hmac-sha256:<hex>", keyed with the device's salt. A
// string stays in clear when its innermost object key is one of the mount's
// audit_non_hmac keys. Data that is not valid JSON, or is nested or split into
// strings beyond a limit, is replaced by one HMAC of all its bytes. Only
// headers of the audited list are written. The device options log_raw,
// hmac_accessor and elide_list_responses mean what they mean in Vault.
//
// # Chain
//
// Every line ends with its place in the device's hash chain:
//
//	..., "chain":{"seq":17,"prev":"<SHA-256 of line 16 without line end>"}}
//
// and every so many lines or seconds, and before and after each opening,
// rotation and closing, there is a checkpoint:
//
//	{"time":"...","type":"checkpoint","checkpoint":{"reason":"interval","entries":40,...},
//	 "chain":{"seq":18,"prev":"...","sig":"<base64>"}}
//
// Its signature covers the line before it, hence all lines before. [Verify]
// proves that lines were neither changed, nor removed, nor put in another
// order, up to the last checkpoint; it reports the number of lines after it,
// which a checkpoint does not yet cover. The chain goes on across rotation and
// restart. When a write fails in the middle of a line, the rest stays in the
// file, ended by a line end, and the checkpoint that follows is marked torn.
//
// # Assumptions
//
// The salt and the signing key are secrets kept behind the barrier. Who holds
// the signing key can forge the log; who can only write the file cannot.
package audit
