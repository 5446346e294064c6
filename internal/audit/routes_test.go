package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// call calls an endpoint as the gate does and returns its data, "" for 204.
func (h *house) call(t *testing.T, verb route.Verb, path, body string) (string, error) {
	t.Helper()
	table, err := route.NewTable(h.Routes())
	if err != nil {
		t.Fatal(err)
	}
	var m route.Match
	e, _ := table.Find(verb, path, &m)
	if e == nil {
		t.Fatalf("no endpoint %v %s", verb, path)
	}
	c := &route.Call{Verb: verb, Path: path}
	c.SetMatch(&m, e)
	if body != "" {
		if c.Body, err = wire.ParseObject([]byte(body), wire.DefaultLimits); err != nil {
			t.Fatal(err)
		}
	}
	reply, err := e.Handle(t.Context(), nil, c)
	if err != nil || reply.NoContent {
		return "", err
	}
	return string(reply.Data), nil
}

// want does a call and compares its data.
func (h *house) want(t *testing.T, verb route.Verb, path, body, want string) {
	t.Helper()
	got, err := h.call(t, verb, path, body)
	if err != nil {
		t.Fatalf("%v %s: %v", verb, path, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%v %s: %s", verb, path, d)
	}
}

// refused does a call that must be refused for its input.
func (h *house) refused(t *testing.T, verb route.Verb, path, body, text string) {
	t.Helper()
	_, err := h.call(t, verb, path, body)
	if !errors.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), text) {
		t.Errorf("%v %s %s: %v, want %q", verb, path, body, err, text)
	}
}

func TestDevicesThroughTheAPI(t *testing.T) {
	h := newHouse(t, nil)
	h.want(t, route.VerbRead, "audit", "", `{}`)
	h.want(t, route.VerbDelete, "audit/f1", "", "")
	h.refused(t, route.VerbWrite, "audit-hash/f1", `{"input":"hello"}`, "unknown audit device")
	h.want(t, route.VerbWrite, "audit/f1", `{"type":"file","description":"to nowhere","options":{"file_path":"discard","log_raw":"false"}}`, "")
	h.want(t, route.VerbRead, "audit", "", `{"f1/":{"description":"to nowhere","local":false,"options":{"file_path":"discard","log_raw":"false"},"path":"f1/","type":"file"}}`)
	h.refused(t, route.VerbWrite, "audit/f1", `{"type":"file","options":{"file_path":"discard"}}`, "path already in use")
	h.refused(t, route.VerbWrite, "audit/f1/", `{"type":"file","options":{"file_path":"discard"}}`, "path already in use")
	h.refused(t, route.VerbWrite, "audit/f1/x", `{"type":"file","options":{"file_path":"discard"}}`, "path already in use")
	h.refused(t, route.VerbWrite, "audit/f2", `{"type":"nope"}`, "the types are file")
	h.refused(t, route.VerbWrite, "audit/f2", `{}`, "the types are file")
	h.refused(t, route.VerbWrite, "audit/f2", `{"type":"file"}`, "file_path is required")
	h.refused(t, route.VerbWrite, "audit/../x", `{"type":"file","options":{"file_path":"discard"}}`, "plain segments")
	h.want(t, route.VerbWrite, "audit/f2", `{"type":"file","local":true,"options":{"path":"discard","prefix":"x"}}`, "")

	first, err := h.call(t, route.VerbWrite, "audit-hash/f1", `{"input":"hello"}`)
	if err != nil {
		t.Fatal(err)
	}
	h.want(t, route.VerbWrite, "audit-hash/f1", `{"input":"hello"}`, first)
	h.want(t, route.VerbWrite, "audit-hash/f1/", `{"input":"hello"}`, first)
	if other, err := h.call(t, route.VerbWrite, "audit-hash/f2", `{"input":"hello"}`); err != nil || other == first {
		t.Errorf("two devices have one salt: %v %v", other, err)
	}
	h.refused(t, route.VerbWrite, "audit-hash/f1", `{}`, "input")

	h.want(t, route.VerbDelete, "audit/f1", "", "")
	h.want(t, route.VerbDelete, "audit/f2", "", "")
	h.want(t, route.VerbDelete, "audit/f1", "", "")
	h.want(t, route.VerbRead, "audit", "", `{}`)
}

func TestHashIsWhatTheDeviceWrites(t *testing.T) {
	h := newHouse(t, nil)
	path := filepath.Join(t.TempDir(), "log")
	h.enable(t, "file", map[string]string{"file_path": path})
	_, response := sampleRead()
	if err := h.Log(t.Context(), response); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"s3cr3t-canary", "hvs.CAESIJclienttoken", "2026-01-02T03:04:05Z"} {
		hash, err := h.Hash("file", value)
		if err != nil || !strings.Contains(string(b), hash) {
			t.Errorf("%q is not found by its hash: %v", value, err)
		}
	}
}

func TestAPICanBeForbidden(t *testing.T) {
	h := newHouse(t, func(c *audit.Config) { c.AllowAPI = false })
	h.refused(t, route.VerbWrite, "audit/f", `{"type":"file","options":{"file_path":"discard"}}`, "configuration file")
	h.refused(t, route.VerbDelete, "audit/f", "", "configuration file")
	h.want(t, route.VerbRead, "audit", "", `{}`)
}

func TestAuditedHeaders(t *testing.T) {
	h := newHouse(t, nil)
	path := filepath.Join(t.TempDir(), "log")
	h.enable(t, "file", map[string]string{"file_path": path})
	const base = "config/auditing/request-headers"
	h.want(t, route.VerbRead, base, "", `{"headers":{}}`)
	h.want(t, route.VerbWrite, base+"/X-Flow", `{"hmac":true}`, "")
	h.want(t, route.VerbWrite, base+"/x-plain", `{}`, "")
	h.want(t, route.VerbRead, base, "", `{"headers":{"x-flow":{"hmac":true},"x-plain":{"hmac":false}}}`)
	h.want(t, route.VerbRead, base+"/X-Flow", "", `{"X-Flow":{"hmac":true}}`)
	h.refused(t, route.VerbRead, base+"/X-Other", "", "could not find header")
	h.refused(t, route.VerbWrite, base+"/X Flow", `{}`, "header")

	log := func() (headers map[string][]string) {
		r := record("1")
		sent := http.Header{}
		for _, name := range []string{"X-Flow", "X-Plain", "X-Secret", "Authorization", "X-Correlation-Id"} {
			sent.Set(name, "value")
		}
		r.Request.Headers = h.SelectHeaders(nil, sent.Values)
		if err := h.Log(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		all := entries(t, path)
		b, _ := json.Marshal(all[len(all)-1]["request"].(map[string]any)["headers"])
		if err := json.Unmarshal(b, &headers); err != nil {
			t.Fatal(err)
		}
		return headers
	}
	hash, err := h.Hash("file", "value")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string][]string{"x-flow": {hash}, "x-plain": {"value"}, "x-correlation-id": {"value"}}, log()); d != "" {
		t.Error(d)
	}
	h.want(t, route.VerbDelete, base+"/X-FLOW", "", "")
	h.want(t, route.VerbWrite, base+"/X-Correlation-ID", `{"hmac":true}`, "")
	h.want(t, route.VerbWrite, base+"/Authorization", `{"hmac":false}`, "")
	if d := cmp.Diff(map[string][]string{"x-plain": {"value"}, "x-correlation-id": {hash}, "authorization": {hash}}, log()); d != "" {
		t.Error(d)
	}
}

func TestDevicesAndSaltsSurviveARestart(t *testing.T) {
	h := newHouse(t, nil)
	h.enable(t, "file", map[string]string{"file_path": "discard"})
	before, err := h.Hash("file", "x")
	if err != nil {
		t.Fatal(err)
	}
	h.stop()
	again := newHouse(t, func(c *audit.Config) { c.Store = h.Store })
	if after, err := again.Hash("file", "x"); err != nil || after != before {
		t.Errorf("%v, %v", after, err)
	}
	if d := cmp.Diff([]audit.Device{{Path: "file/", Type: "file", Options: map[string]string{"file_path": "discard"}}}, again.Devices()); d != "" {
		t.Error(d)
	}
}

// What another node has written to the store is followed here.
func TestTableFollowsTheStore(t *testing.T) {
	a := newHouse(t, nil)
	b := newHouse(t, func(c *audit.Config) { c.Store = a.Store })
	a.enable(t, "file", map[string]string{"file_path": "discard"})
	if got := b.Devices(); len(got) != 1 {
		t.Fatalf("devices: %v", got)
	}
	ha, _ := a.Hash("file", "x")
	if hb, err := b.Hash("file", "x"); err != nil || ha != hb {
		t.Errorf("%v %v %v", ha, hb, err)
	}
	if err := b.Disable(t.Context(), "file"); err != nil {
		t.Fatal(err)
	}
	if got := a.Devices(); len(got) != 0 {
		t.Errorf("devices: %v", got)
	}
}

func TestDeclaredDevices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	declared := []audit.Device{{Path: "main", Type: "file", Options: map[string]string{"path": path}}}
	h := newHouse(t, func(c *audit.Config) { c.Declared, c.AllowAPI = declared, true })
	if got := h.Devices(); len(got) != 1 || !got[0].Declared || got[0].Path != "main/" {
		t.Fatalf("devices: %+v", got)
	}
	if err := h.log(t, "1"); err != nil {
		t.Fatal(err)
	}
	if len(entries(t, path)) != 1 {
		t.Error("not recorded")
	}
	h.refused(t, route.VerbDelete, "audit/main", "", "configuration file")
	h.refused(t, route.VerbWrite, "audit/main", `{"type":"file","options":{"file_path":"discard"}}`, "path already in use")
	before, err := h.Hash("main", "x")
	if err != nil {
		t.Fatal(err)
	}
	h.stop()
	again := newHouse(t, func(c *audit.Config) { c.Store, c.Declared = h.Store, declared })
	if after, err := again.Hash("main", "x"); err != nil || after != before {
		t.Errorf("the salt has changed: %v", err)
	}
	for name, d := range map[string]audit.Device{
		"an unknown type": {Path: "x", Type: "nope"},
		"no path":         {Type: "file", Options: map[string]string{"file_path": "discard"}},
		"a bad option":    {Path: "x", Type: "file", Options: map[string]string{"file_path": "discard", "format": "jsonx"}},
	} {
		if _, err := audit.New(audit.Config{Store: h.Store, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Declared: []audit.Device{d}}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// A stored row is input: one that makes no device fails the requests that it
// should have recorded, rather than letting them pass unrecorded.
func TestUnusableRowsFailClosed(t *testing.T) {
	for name, row := range map[string]string{
		"an unknown type": `{"type":"gone","salt":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}`,
		"bad options":     `{"type":"file","options":{"file_path":"discard","mode":"0777"},"salt":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}`,
		"no JSON":         `{"type":`,
		"no salt":         `{"type":"file","options":{"file_path":"discard"}}`,
		"a short salt":    `{"type":"file","options":{"file_path":"discard"},"salt":"AAAA"}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, nil)
			key := store.NewKey(store.RootNamespace, store.System, store.KindAuditDevice, "d/")
			if _, err := h.Store.Update(context.Background(), func(tx store.Txn) error { return tx.Put(key, []byte(row)) }); err != nil {
				t.Fatal(err)
			}
			if err := h.log(t, "1"); !errors.Is(err, fault.Unavailable) {
				t.Errorf("got %v", err)
			}
			h.enable(t, "good", map[string]string{"file_path": "discard"})
			if err := h.log(t, "2"); err != nil {
				t.Errorf("beside a good device: %v", err)
			}
			if _, err := h.Hash("d", "x"); name == "no salt" && err == nil {
				t.Error("hashed without a salt")
			}
		})
	}
}

func TestStatsCount(t *testing.T) {
	h := newHouse(t, nil)
	h.enable(t, "d", map[string]string{"file_path": "discard"})
	for i := range 5 {
		r := record(fmt.Sprint(i))
		if i == 4 {
			r.Type = audit.TypeResponse
		}
		if err := h.Log(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	s := h.Stats()
	if s.Requests != 4 || s.Responses != 1 || s.RequestFailures+s.ResponseFailures != 0 || s.Devices[0].Entries != 5 {
		t.Errorf("%+v", s)
	}
}
