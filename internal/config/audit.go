package config

import (
	"fmt"
	"slices"
)

// AuditDevice is an audit device declared in a file. Options are validated by
// the device's type; keys are those of its API.
type AuditDevice struct {
	Pos         Pos
	Type        string
	Path        string // name of the device, without a trailing slash
	Description string
	Local       bool
	Options     map[string]string
}

// deviceKeys are the keys of a device that are not options.
func deviceKeys() []string { return []string{"description", "local", "options", "type"} }

// fileAuditOptions are the options of a file audit device. Everything else in
// its block is a mistake worth reporting before the server starts.
func fileAuditOptions() []string {
	return []string{
		"file_path", "path", "mode", "format", "prefix", "log_raw", "hmac_accessor", "elide_list_responses",
		"fsync", "deadline", "skip_test", "rotate_bytes", "rotate_max_age", "rotate_max_files",
	}
}

// partialAuditOptions are options of other servers that leave requests out.
func partialAuditOptions() []string { return []string{"fallback", "filter", "exclude"} }

// audit decodes both forms of the block. With labels, the second label names
// the device:
//
//	audit "file" "disk" { options { file_path = "/var/log/audit.log" } }
//
// Without, the device is named after its type and options may stand directly
// in the block:
//
//	audit { file { path = "/var/log/audit.log" } }
func (d *decoder) audit(f field) {
	d.labelled(f, func(kind string, at Pos, body node) {
		if !holdsDevices(body) {
			d.device(kind, kind, at, body)
			return
		}
		for _, named := range body.fields {
			for _, device := range d.objects(named) {
				d.device(kind, named.key, at, device)
			}
		}
	})
}

// holdsDevices tells a block of named devices from the body of one: in the
// former every value is a block and no key is a device's own.
func holdsDevices(body node) bool {
	for _, f := range body.fields {
		isBlock := f.value.kind == kindObject || f.value.kind == kindList
		if !isBlock || slices.Contains(deviceKeys(), f.key) || slices.Contains(fileAuditOptions(), f.key) {
			return false
		}
	}
	return len(body.fields) > 0
}

func (d *decoder) device(kind, path string, at Pos, body node) {
	a := AuditDevice{Pos: at, Type: kind, Path: path, Options: map[string]string{}}
	where := fmt.Sprintf("audit %q", clip(kind))
	known := d.auditOptions(&a, body)
	known["description"] = text(&a.Description)
	known["local"] = flag(&a.Local)
	known["type"] = text(&a.Type)
	known["options"] = block(func(d *decoder, _ Pos, options node) {
		d.object("the options of "+where, options, d.auditOptions(&a, options))
	})
	d.object(where, body, known)
	if _, given := a.Options["file_path"]; !given && a.Type == "file" {
		if p, given := a.Options["path"]; given {
			a.Options["file_path"] = p
			delete(a.Options, "path")
		}
	}
	d.cfg.Audits = append(d.cfg.Audits, a)
}

func (d *decoder) auditOptions(a *AuditDevice, body node) keys {
	set := func(d *decoder, f field) {
		if value, _, ok := d.scalar(f.key, f.value); ok {
			a.Options[f.key] = value
		}
	}
	if a.Type != "file" {
		return mapKeys(body, set)
	}
	known := keys{}
	for _, name := range fileAuditOptions() {
		known[name] = key{set: set}
	}
	for _, name := range partialAuditOptions() {
		known[name] = refused("every device records every request")
	}
	return known
}
