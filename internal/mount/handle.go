package mount

import (
	"context"
	"errors"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// RunningVersion is what every built-in type reports.
const RunningVersion = "v1.0.0+builtin.coffer"

type noInput struct{}

type pathRequest struct {
	Path string `path:"path" doc:"Where the mount is."`
}

// answer is a mount as listings show it.
type answer struct {
	Accessor             string            `json:"accessor"`
	Config               settingsAnswer    `json:"config"`
	DeprecationStatus    string            `json:"deprecation_status,omitempty"`
	Description          string            `json:"description"`
	Entropy              bool              `json:"external_entropy_access"`
	Local                bool              `json:"local"`
	Options              map[string]string `json:"options"`
	PluginVersion        string            `json:"plugin_version"`
	RunningPluginVersion string            `json:"running_plugin_version"`
	RunningSHA256        string            `json:"running_sha256"`
	SealWrap             bool              `json:"seal_wrap"`
	Type                 string            `json:"type"`
	UUID                 string            `json:"uuid"`
}

func (e *Entry) answer() *answer {
	a := &answer{
		Accessor: e.Accessor, Config: e.Settings.answer(e.Auth()), DeprecationStatus: "supported", Description: e.Description,
		Entropy: e.Entropy, Local: e.Local, Options: e.Options, PluginVersion: e.Settings.PluginVersion,
		RunningPluginVersion: RunningVersion, SealWrap: e.SealWrap, Type: e.Type, UUID: e.UUID,
	}
	if builtin(e) {
		a.DeprecationStatus = ""
		if e.NS != store.RootNamespace {
			a.Type = "ns_" + a.Type // as clients know them
		}
	} else if a.Options == nil {
		a.Options = map[string]string{}
	}
	return a
}

func (t *Table) listEngines(_ context.Context, c *route.Call, _ noInput) (map[string]*answer, error) {
	return t.listing(c, false, ""), nil
}

func (t *Table) listMethods(_ context.Context, c *route.Call, _ noInput) (map[string]*answer, error) {
	return t.listing(c, true, authPrefix), nil
}

func (t *Table) listing(c *route.Call, auth bool, cut string) map[string]*answer {
	list := map[string]*answer{}
	for _, m := range t.all(c.Namespace.ID, auth) {
		e := m.Entry()
		list[strings.TrimPrefix(e.Path, cut)] = e.answer()
	}
	return list
}

// enginePath and methodPath turn a request's path into a mount's.
func enginePath(path string) string { return strings.Trim(path, "/") + "/" }
func methodPath(path string) string { return authPrefix + strings.Trim(path, "/") + "/" }

func (t *Table) readEngine(_ context.Context, c *route.Call, in pathRequest) (*answer, error) {
	return t.read(c, enginePath(in.Path), "No secret engine mount at "+enginePath(in.Path))
}

func (t *Table) readMethod(_ context.Context, c *route.Call, in pathRequest) (*answer, error) {
	return t.read(c, methodPath(in.Path), "No auth engine at "+strings.TrimPrefix(methodPath(in.Path), authPrefix))
}

func (t *Table) read(c *route.Call, path, missing string) (*answer, error) {
	m := t.at(c.Namespace.ID, path)
	if m == nil {
		return nil, fault.New(fault.Invalid, missing)
	}
	return m.Entry().answer(), nil
}

type enableRequest struct {
	pathRequest
	Type        string            `json:"type" doc:"Type of the engine or method."`
	Description string            `json:"description" doc:"For people."`
	Config      wire.JSON         `json:"config" doc:"Settings, as for tune."`
	Options     map[string]string `json:"options" doc:"Options of the type, such as version for kv."`
	Local       bool              `json:"local" doc:"Kept and shown."`
	SealWrap    bool              `json:"seal_wrap" doc:"Kept and shown."`
	Entropy     bool              `json:"external_entropy_access" doc:"Kept and shown."`
	PluginName  string            `json:"plugin_name" doc:"Older name of type." deprecated:"true"`
	Version     string            `json:"plugin_version" doc:"Must be empty or the built-in version."`
}

func (t *Table) enableEngine(ctx context.Context, c *route.Call, in enableRequest) (route.None, error) {
	if strings.HasSuffix(in.Path, "/") {
		return route.None{}, fault.New(fault.Invalid, "the path to mount at must not end with a slash")
	}
	if strings.HasPrefix(in.Path, authPrefix) || in.Path == "auth" {
		return route.None{}, fault.New(fault.Invalid, "cannot mount a secrets engine under auth/: use sys/auth to enable an auth method")
	}
	return route.None{}, t.enable(ctx, c, in, enginePath(in.Path))
}

func (t *Table) enableMethod(ctx context.Context, c *route.Call, in enableRequest) (route.None, error) {
	return route.None{}, t.enable(ctx, c, in, methodPath(in.Path))
}

func (t *Table) enable(ctx context.Context, c *route.Call, in enableRequest, path string) error {
	e := Entry{NS: c.Namespace.ID, Path: path, Type: in.Type, Description: in.Description, Options: in.Options, Local: in.Local, SealWrap: in.SealWrap, Entropy: in.Entropy}
	if e.Type == "" || e.Type == "plugin" {
		e.Type = in.PluginName
	}
	if e.Options == nil {
		e.Options = map[string]string{}
	}
	if len(in.Config) > 0 && !wire.IsNull(in.Config) {
		var s settingsRequest
		if err := route.Decode(in.Config, &s); err != nil {
			return fault.Wrap(fault.Invalid, err, `field "config": `+fault.Message(err))
		}
		if v, ok := optionsIn(in.Config); ok {
			e.Options = v
		}
		if err := s.apply(&e.Settings, t.Limits); err != nil {
			return err
		}
	}
	_, err := t.Enable(ctx, e)
	return err
}

// optionsIn returns options that a client has put into the settings.
func optionsIn(config []byte) (map[string]string, bool) {
	o, err := wire.ParseObject(config, wire.DefaultLimits)
	if err != nil {
		return nil, false
	}
	raw, ok := o.Lookup("options")
	if !ok {
		return nil, false
	}
	m, err := wire.ParseMap(raw)
	return m, err == nil && m != nil
}

func (t *Table) disableEngine(ctx context.Context, c *route.Call, in pathRequest) (route.None, error) {
	return route.None{}, t.Disable(ctx, c.Namespace.ID, enginePath(in.Path))
}

func (t *Table) disableMethod(ctx context.Context, c *route.Call, in pathRequest) (route.None, error) {
	return route.None{}, t.Disable(ctx, c.Namespace.ID, methodPath(in.Path))
}

type tuneAnswer struct {
	settingsAnswer
	Description   string            `json:"description"`
	Options       map[string]string `json:"options,omitempty"`
	PluginVersion string            `json:"plugin_version,omitempty"`
	*lockoutAnswer
}

func (t *Table) readTuneEngine(_ context.Context, c *route.Call, in pathRequest) (*tuneAnswer, error) {
	return t.readTune(c, enginePath(in.Path))
}

func (t *Table) readTuneMethod(_ context.Context, c *route.Call, in pathRequest) (*tuneAnswer, error) {
	return t.readTune(c, methodPath(in.Path))
}

func (t *Table) readTune(c *route.Call, path string) (*tuneAnswer, error) {
	m := t.at(c.Namespace.ID, path)
	if m == nil {
		return nil, fault.Newf(fault.Invalid, "cannot fetch sysview for path %q: no mount there", path)
	}
	e, effective := m.Entry(), m.Mount()
	a := &tuneAnswer{settingsAnswer: e.Settings.answer(e.Auth()), Description: e.Description, Options: e.Options, PluginVersion: e.Settings.PluginVersion}
	a.DefaultTTL, a.MaxTTL = wire.Duration(effective.DefaultTTL), wire.Duration(effective.MaxTTL)
	if e.Settings.DefaultTTL == 0 {
		a.DefaultTTL = wire.Duration(t.Limits.DefaultTTL)
	}
	// A tuning shows the lockout beside the other settings, a listing below them.
	a.lockoutAnswer, a.settingsAnswer.Lockout = a.settingsAnswer.Lockout, nil
	return a, nil
}

type tuneRequest struct {
	pathRequest
	settingsRequest
	Description wire.Opt[string]            `json:"description" doc:"For people."`
	Options     wire.Opt[map[string]string] `json:"options" doc:"Options of the type, such as version for kv."`
}

func (t *Table) tuneEngine(ctx context.Context, c *route.Call, in tuneRequest) (route.None, error) {
	return route.None{}, t.tune(ctx, c, in, enginePath(in.Path))
}

func (t *Table) tuneMethod(ctx context.Context, c *route.Call, in tuneRequest) (route.None, error) {
	return route.None{}, t.tune(ctx, c, in, methodPath(in.Path))
}

func (t *Table) tune(ctx context.Context, c *route.Call, in tuneRequest, path string) error {
	upgraded := false
	_, err := t.Store.Update(ctx, func(tx store.Txn) error {
		e, err := store.GetJSON[Entry](tx, pathKey(c.Namespace.ID, path))
		if errors.Is(err, store.ErrNotFound) || err == nil && e.Tainted {
			return fault.Newf(fault.Invalid, "tune of path %q failed: no mount there", path)
		}
		if err != nil {
			return err
		}
		if err := in.settingsRequest.apply(&e.Settings, t.Limits); err != nil {
			return err
		}
		in.Description.Into(&e.Description)
		if in.Options.Set {
			if upgraded, err = t.setOptions(&e, in.Options.Value); err != nil {
				return err
			}
		}
		return store.PutJSON(tx, e.key(), e)
	})
	if err == nil && upgraded {
		c.Warn("Upgrading mount to version 2: secrets written before are their first version from now on")
	}
	return err
}

// setOptions lays options over a mount's. A version only goes up.
func (t *Table) setOptions(e *Entry, options map[string]string) (upgraded bool, err error) {
	next := map[string]string{}
	for k, v := range e.Options {
		next[k] = v
	}
	for k, v := range options {
		next[k] = v
	}
	k := t.kinds[e.Type]
	if !e.Auth() && k != nil && k.versions != nil {
		if _, ok := k.versions[next["version"]]; !ok {
			return false, fault.New(fault.Invalid, `unknown value of the option "version"; use "1" or "2"`)
		}
		was, is := version(e.Options), version(next)
		if is < was {
			return false, fault.New(fault.Invalid, "cannot downgrade the version of a mount")
		}
		upgraded = is > was
	}
	e.Options = next
	return upgraded, nil
}

func version(options map[string]string) string {
	if v := options["version"]; v != "" {
		return v
	}
	return "1"
}

type remountRequest struct {
	From string `json:"from" doc:"Where the mount is."`
	To   string `json:"to" doc:"Where it shall be."`
}

type remountAnswer struct {
	ID string `json:"migration_id"`
}

// migration is how a move went; it is kept so that clients can ask.
type migration struct {
	ID   string        `json:"migration_id"`
	Info migrationInfo `json:"migration_info"`
}

type migrationInfo struct {
	Source string `json:"source_mount"`
	Status string `json:"status"`
	Target string `json:"target_mount"`
}

func migrationKey(ns store.NamespaceID, id string) store.Key {
	return store.NewKey(ns, store.System, store.KindMigration, id)
}

func (t *Table) remount(ctx context.Context, c *route.Call, in remountRequest) (remountAnswer, error) {
	if in.From == "" || in.To == "" {
		return remountAnswer{}, fault.New(fault.Invalid, "both 'from' and 'to' path must be specified as a string")
	}
	id, err := wire.NewUUID(t.Rand)
	if err != nil {
		return remountAnswer{}, err
	}
	from, to := enginePath(in.From), enginePath(in.To)
	if err := t.Move(ctx, c.Namespace.ID, from, to); err != nil {
		return remountAnswer{}, err
	}
	done := migration{ID: id, Info: migrationInfo{Source: from, Status: "success", Target: to}}
	_, err = t.Store.Update(ctx, func(tx store.Txn) error {
		if err := keepRecent(tx, c.Namespace.ID); err != nil {
			return err
		}
		return store.PutJSON(tx, migrationKey(c.Namespace.ID, id), done)
	})
	c.Warn("Leases and tokens of the old path have been revoked; policies that name it have to be changed")
	return remountAnswer{id}, err
}

// keptMigrations bounds how many moves can be asked about.
const keptMigrations = 100

func keepRecent(tx store.Txn, ns store.NamespaceID) error {
	ids, err := store.Children(tx, store.NewKey(ns, store.System, store.KindMigration), "", keptMigrations)
	if err != nil || len(ids) < keptMigrations {
		return err
	}
	return tx.Delete(migrationKey(ns, ids[0]))
}

type statusRequest struct {
	ID string `path:"migration_id" doc:"What remount answered."`
}

func (t *Table) remountStatus(ctx context.Context, c *route.Call, in statusRequest) (*migration, error) {
	var m migration
	err := t.Store.View(ctx, func(r store.Reader) error {
		var err error
		m, err = store.GetJSON[migration](r, migrationKey(c.Namespace.ID, in.ID))
		return err
	})
	return &m, err
}

type visibleAnswer struct {
	Auth   map[string]any `json:"auth"`
	Secret map[string]any `json:"secret"`
}

// brief is a mount as it is listed to everyone.
type brief struct {
	Description string            `json:"description"`
	Options     map[string]string `json:"options"`
	Type        string            `json:"type"`
}

func (t *Table) visible(ctx context.Context, c *route.Call, _ noInput) (*visibleAnswer, error) {
	a := &visibleAnswer{Auth: map[string]any{}, Secret: map[string]any{}}
	known := t.Known(ctx, c)
	for _, m := range t.All(c.Namespace.ID) {
		e := m.Entry()
		into, name := a.Secret, e.Path
		if e.Auth() {
			into, name = a.Auth, strings.TrimPrefix(e.Path, authPrefix)
		}
		switch {
		case known && t.Allowed(ctx, c, e.Path):
			into[name] = e.answer()
		case e.Settings.ListingVisibility == "unauth":
			into[name] = brief{e.Description, e.answer().Options, e.Type}
		}
	}
	return a, nil
}

type preflightAnswer struct {
	*answer
	Path string `json:"path"`
}

func (t *Table) preflight(ctx context.Context, c *route.Call, in pathRequest) (*preflightAnswer, error) {
	// Everybody may ask, as clients do before they know what their token may;
	// who may do nothing below the mount learns nothing.
	if !t.Known(ctx, c) {
		return nil, fault.New(fault.Denied, "permission denied")
	}
	m, _, ok := t.Resolve(c.Namespace.ID, in.Path)
	if !ok || !t.Allowed(ctx, c, m.Entry().Path) {
		return nil, fault.New(fault.Denied, "preflight capability check returned 403, please ensure client's policies grant access to path \""+clip(in.Path)+"/\"")
	}
	return &preflightAnswer{m.Entry().answer(), m.Entry().Path}, nil
}
