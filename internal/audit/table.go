package audit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// saltLen is the length of a salt in bytes.
const saltLen = 32

// deviceRow is a device as it is stored.
type deviceRow struct {
	Type        string            `json:"type"`
	Description string            `json:"description,omitempty"`
	Local       bool              `json:"local,omitempty"`
	Options     map[string]string `json:"options,omitempty"`
	Salt        []byte            `json:"salt"`
}

func deviceKey(parts ...string) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindAuditDevice, parts...)
}

// rootSaltName is the row from which the salts of declared devices are derived.
// No device has an empty path.
const rootSaltName = ""

// Load reads the table and follows its changes from then on. The broker refuses
// every record before.
func (b *Broker) Load(ctx context.Context) error {
	if err := b.ensureRootSalt(ctx); err != nil {
		return err
	}
	// Watch and its stop are called without mu: they may wait for a watcher,
	// and follow waits for mu.
	stop := b.cfg.Store.Watch(func(c store.Commit) { b.follow(ctx, c) })
	b.mu.Lock()
	if b.unwatch != nil {
		b.mu.Unlock()
		stop()
		return errors.New("audit: loaded twice")
	}
	b.unwatch = stop
	err := b.rebuildLocked(ctx)
	if err != nil {
		b.unwatch = nil
	}
	b.mu.Unlock()
	if err != nil {
		stop()
	}
	return err
}

// ensureRootSalt makes the root salt if there are declared devices and none has
// been made.
func (b *Broker) ensureRootSalt(ctx context.Context) error {
	if len(b.cfg.Declared) == 0 {
		return nil
	}
	salt := make([]byte, saltLen)
	if _, err := io.ReadFull(b.cfg.Rand, salt); err != nil {
		return fmt.Errorf("making audit salt: %w", err)
	}
	_, err := b.cfg.Store.Update(ctx, func(tx store.Txn) error {
		have, err := store.Exists(tx, deviceKey(rootSaltName))
		if err != nil || have {
			return err
		}
		return store.PutJSON(tx, deviceKey(rootSaltName), deviceRow{Salt: salt})
	})
	if errors.Is(err, fault.Standby) {
		return nil // the leader makes it; until then declared devices fail
	}
	return err
}

// follow is the store's watcher.
func (b *Broker) follow(ctx context.Context, c store.Commit) {
	relevant := c.Reset || slices.ContainsFunc(c.Changes, func(ch store.Change) bool {
		k := ch.Key
		return k.Namespace() == store.RootNamespace && k.Mount() == store.System &&
			(k.Kind() == store.KindAuditDevice || k.Kind() == store.KindAuditHeader)
	})
	if !relevant {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unwatch == nil {
		return
	}
	// The load's context may be over; a view must follow all the same.
	if err := b.rebuildLocked(context.WithoutCancel(ctx)); err != nil {
		// Which devices are enabled is not known: nothing passes until the
		// next change that can be followed. A whole state that cannot be read
		// serves nobody anyway; the answer to who has forced it in is recorded
		// where his request was.
		if !c.Reset {
			b.view.Store(nil)
		}
		b.cfg.Log.Error("following the audit table", "error", err)
	}
}

// rebuildLocked makes the view from the rows, keeping the devices that have not
// changed.
func (b *Broker) rebuildLocked(ctx context.Context) error {
	var rows map[string]deviceRow
	var headers map[string]bool
	err := b.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		if rows, err = readRows(r, deviceKey(), deviceRow{}); err != nil {
			return err
		}
		list, err := readRows(r, headerKey(), headerRow{HMAC: true})
		headers = make(map[string]bool, len(list))
		for name, row := range list {
			headers[name] = row.HMAC
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the audit table: %w", err)
	}
	b.mergeDeclared(rows)
	old := map[string]*device{}
	for _, d := range b.current {
		old[d.row.Path] = d
	}
	next := &view{headers: newHeaderSet(maps.All(headers))}
	for _, path := range slices.Sorted(maps.Keys(rows)) {
		row := rows[path]
		if d := old[path]; d != nil && d.same(row) {
			next.devices = append(next.devices, d)
			delete(old, path)
			continue
		}
		d := b.newDevice(path, row)
		next.devices = append(next.devices, d)
		b.fresh = append(b.fresh, d)
	}
	for _, d := range old {
		b.retired = append(b.retired, d)
	}
	b.current = next.devices
	b.view.Store(next)
	if len(b.fresh)+len(b.retired) > 0 {
		select {
		case b.changed <- struct{}{}:
		default:
		}
	}
	return nil
}

// readRows reads the rows below a key by the last part of theirs. A row that
// cannot be decoded is not skipped: it counts as bad.
func readRows[T any](r store.Reader, under store.Key, bad T) (map[string]T, error) {
	rows := map[string]T{}
	for e, err := range r.Scan(store.Under(under)) {
		if err != nil {
			return nil, err
		}
		var row T
		if json.Unmarshal(e.Value, &row) != nil {
			row = bad
		}
		rows[e.Key.Last()] = row
	}
	return rows, nil
}

// mergeDeclared puts this node's declared devices among the stored ones and
// takes the root salt out.
func (b *Broker) mergeDeclared(rows map[string]deviceRow) {
	root := rows[rootSaltName].Salt
	delete(rows, rootSaltName)
	for _, d := range b.cfg.Declared {
		path := canonicalPath(d.Path)
		if _, ok := rows[path]; ok {
			b.cfg.Log.Warn("a declared audit device hides a stored one", "device", path)
		}
		row := deviceRow{Type: d.Type, Description: d.Description, Local: d.Local, Options: d.Options}
		if len(root) == saltLen {
			mac := hmac.New(sha256.New, root)
			mac.Write([]byte(path))
			row.Salt = mac.Sum(nil)
		}
		rows[path] = row
	}
}

func (b *Broker) declared(path string) bool {
	return slices.ContainsFunc(b.cfg.Declared, func(d Device) bool { return canonicalPath(d.Path) == path })
}

// newDevice makes a device from its row. The row is input: one that does not
// make a device makes a device that fails, so that the requests which should
// have been recorded there are not taken for recorded.
func (b *Broker) newDevice(path string, row deviceRow) *device {
	desc := Device{Path: path, Type: row.Type, Description: row.Description, Local: row.Local, Options: row.Options, Declared: b.declared(path)}
	lim := b.lim
	opts, sink, err := b.prepare(desc)
	if err == nil && len(row.Salt) < saltLen {
		err = errors.New("its salt is not there yet")
	}
	if err != nil {
		b.cfg.Log.Error("audit device cannot be used", "device", path, "error", err)
		sink = unusable{fmt.Errorf("using audit device %s: %w", path, err)}
		opts.format = format{hmacAccessor: true}
	}
	if opts.deadline > 0 {
		lim.deadline = opts.deadline
	}
	return &device{
		row: desc, salt: row.Salt, fmt: newFormatter(opts.format, row.Salt), sink: sink, clock: b.cfg.Clock, log: b.cfg.Log, lim: lim,
		stats: &deviceStats{}, free: b.recycle, busy: b.cfg.Clock.Now(),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}), reopen: make(chan struct{}, 1),
		w: writer{
			sink: sink, lim: lim, fsync: opts.fsync,
			notary: notary{signer: b.cfg.Signer, rand: b.cfg.Rand, keyID: b.keyID, device: path, node: b.cfg.Node, prefix: opts.format.prefix},
		},
	}
}

// prepare parses a device's options and makes its sink.
func (b *Broker) prepare(d Device) (options, Sink, error) {
	opener, ok := b.cfg.Openers[d.Type]
	if !ok {
		names := strings.Join(slices.Sorted(maps.Keys(b.cfg.Openers)), ", ")
		return options{}, nil, fault.Newf(fault.Invalid, "unknown audit device type: the types are %s", names)
	}
	opts, err := parseOptions(d.Options)
	if err != nil {
		return opts, nil, err
	}
	sink, err := opener(d)
	return opts, sink, err
}

// unusable is the sink of a device that cannot be made.
type unusable struct{ err error }

func (u unusable) Open() (Tail, error)       { return Tail{}, u.err }
func (u unusable) Write([]byte) (int, error) { return 0, u.err }
func (u unusable) Sync() error               { return u.err }
func (u unusable) Close() error              { return nil }

func (d *device) same(row deviceRow) bool {
	return d.row.Type == row.Type && d.row.Description == row.Description && d.row.Local == row.Local &&
		maps.Equal(d.row.Options, row.Options) && hmac.Equal(d.salt, row.Salt)
}

// target names what the device writes to, so that two writers of one target
// follow each other. Sinks without a target only follow themselves.
func (d *device) target() string {
	if t, ok := d.sink.(targeted); ok {
		return t.Target()
	}
	return "device " + d.row.Path
}

// canonicalPath gives a device's path its closing slash.
func canonicalPath(p string) string { return strings.Trim(p, "/") + "/" }

func checkPath(p string) error {
	clean := strings.TrimSuffix(p, "/")
	if clean == "" || len(p) > 512 || path.Clean("/"+clean) != "/"+clean ||
		strings.ContainsFunc(p, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\ufffd' }) {
		return fault.New(fault.Invalid, "an audit device's path must be plain segments separated by slashes")
	}
	return nil
}

func (b *Broker) checkDeclared(d Device) error {
	if err := checkPath(d.Path); err != nil {
		return err
	}
	if _, _, err := b.prepare(d); err != nil {
		return fmt.Errorf("declaring audit device %q: %w", d.Path, err)
	}
	return nil
}

// Devices lists the enabled devices by path.
func (b *Broker) Devices() []Device {
	v := b.view.Load()
	if v == nil {
		return nil
	}
	list := make([]Device, len(v.devices))
	for i, d := range v.devices {
		list[i] = d.row
	}
	return list
}

// Enable adds a device to the table. Its target is tried first, on this node.
func (b *Broker) Enable(ctx context.Context, d Device) error {
	if err := checkPath(d.Path); err != nil {
		return err
	}
	d.Path = canonicalPath(d.Path)
	if b.inUse(d.Path) {
		return errPathInUse
	}
	if err := b.try(d); err != nil {
		return err
	}
	row := deviceRow{Type: d.Type, Description: d.Description, Local: d.Local, Options: d.Options, Salt: make([]byte, saltLen)}
	if _, err := io.ReadFull(b.cfg.Rand, row.Salt); err != nil {
		return fmt.Errorf("making audit salt: %w", err)
	}
	_, err := b.cfg.Store.Update(ctx, func(tx store.Txn) error {
		rows, err := readRows(tx, deviceKey(), deviceRow{})
		if err != nil {
			return err
		}
		for other := range rows {
			if other != rootSaltName && overlap(other, d.Path) {
				return errPathInUse
			}
		}
		return store.PutJSON(tx, deviceKey(d.Path), row)
	})
	return err
}

var errPathInUse = fault.New(fault.Invalid, "path already in use")

func overlap(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

func (b *Broker) inUse(p string) bool {
	return slices.ContainsFunc(b.Devices(), func(d Device) bool { return overlap(d.Path, p) })
}

// try opens and closes the device's target.
func (b *Broker) try(d Device) error {
	_, sink, err := b.prepare(d)
	if err != nil {
		return err
	}
	if t, ok := sink.(targeted); ok {
		if v := b.view.Load(); v != nil {
			for _, other := range v.devices {
				if other.target() == t.Target() {
					return fault.New(fault.Invalid, "another audit device writes to the same file")
				}
			}
		}
	}
	if _, err := sink.Open(); err != nil {
		return fault.Wrap(fault.Invalid, err, "the audit device cannot be opened: "+fault.Message(err))
	}
	return sink.Close()
}

// Disable removes a device from the table. One that is not there is no error.
func (b *Broker) Disable(ctx context.Context, devicePath string) error {
	if err := checkPath(devicePath); err != nil {
		return err
	}
	p := canonicalPath(devicePath)
	if b.declared(p) {
		return fault.New(fault.Invalid, "this audit device stands in the configuration file and can only be removed there")
	}
	_, err := b.cfg.Store.Update(ctx, func(tx store.Txn) error { return tx.Delete(deviceKey(p)) })
	return err
}

// Hash returns what a device writes for the string input.
func (b *Broker) Hash(devicePath, input string) (string, error) {
	p := canonicalPath(devicePath)
	if v := b.view.Load(); v != nil {
		for _, d := range v.devices {
			if d.row.Path == p && len(d.salt) >= saltLen {
				return string(newHasher(d.salt).appendString(nil, input)), nil
			}
		}
	}
	return "", fault.New(fault.Invalid, "unknown audit device")
}
