package backup

import (
	"context"
	"encoding/json"
	"regexp"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Routes are the endpoints below sys/. Their receiver is a *[Schedules].
var Routes = []route.Endpoint{
	route.List("storage/raft/snapshot-auto/config", (*Schedules).list, route.Sudo(), route.RootOnly(),
		route.Doc{Summary: "List the schedules of snapshots."}),
	route.Read("storage/raft/snapshot-auto/config/{name}", (*Schedules).read, route.Sudo(), route.RootOnly(),
		route.Doc{Summary: "Read a schedule of snapshots, without its credentials."}),
	route.Write("storage/raft/snapshot-auto/config/{name}", (*Schedules).write, route.Sudo(), route.RootOnly(), route.Doc{
		Summary: "Take snapshots again and again and keep the newest.", Description: "The fields replace those before. The first snapshot is taken at once.",
	}),
	route.Delete("storage/raft/snapshot-auto/config/{name}", (*Schedules).delete, route.Sudo(), route.RootOnly(),
		route.Doc{Summary: "Take no more snapshots by a schedule.", Description: "Those that it took stay where they are."}),
	route.Read("storage/raft/snapshot-auto/status/{name}", (*Schedules).status, route.Sudo(), route.RootOnly(),
		route.Doc{Summary: "Tell when a schedule's last snapshot was taken, and what became of it."}),
}

// The sorts of places.
const (
	local = "local"
	s3    = "aws-s3"
	azure = "azure-blob"
	gcs   = "google-gcs"
)

// schedule is the row of a schedule.
type schedule struct {
	Interval   time.Duration `json:"interval"`
	Retain     int           `json:"retain"`
	PathPrefix string        `json:"path_prefix"`
	FilePrefix string        `json:"file_prefix"`
	Type       string        `json:"storage_type"`
	Local      int64         `json:"local_max_space,omitempty"` // bytes
	S3         s3Settings    `json:"s3,omitzero"`
	Azure      azureSettings `json:"azure,omitzero"`
	GCS        gcsSettings   `json:"gcs,omitzero"`
}

type nameRequest struct {
	Name string `path:"name" doc:"Name of the schedule."`
}

type writeRequest struct {
	nameRequest
	Interval   wire.Duration    `json:"interval" doc:"Time from one snapshot to the next; required, at least one minute."`
	Retain     wire.Opt[int]    `json:"retain" doc:"How many snapshots are kept; 1 if not given."`
	PathPrefix wire.Opt[string] `json:"path_prefix" doc:"For local: the absolute path of the directory. Else what goes before the names, as a folder."`
	FilePrefix string           `json:"file_prefix" default:"vault-snapshot" doc:"Beginning of the files' names. Schedules that share a place need prefixes of their own."`
	Type       string           `json:"storage_type" doc:"local, aws-s3 (or anything that speaks its protocol), azure-blob or google-gcs; required."`
	MaxSpace   int64            `json:"local_max_space" doc:"For local: most bytes that all snapshots of the schedule may take together; required."`
	Autoload   bool             `json:"autoload_enabled" doc:"Accepted if false: snapshots are not loaded for reading."`

	S3Bucket     string      `json:"aws_s3_bucket" doc:"For aws-s3: the bucket."`
	S3Region     string      `json:"aws_s3_region" doc:"For aws-s3: the bucket's region."`
	S3AccessKey  string      `json:"aws_access_key_id" doc:"For aws-s3: access key; AWS_ACCESS_KEY_ID of the server's environment if not given."`
	S3SecretKey  wire.Secret `json:"aws_secret_access_key" sensitive:"true" doc:"For aws-s3: secret key; AWS_SECRET_ACCESS_KEY of the server's environment if not given."`
	S3Session    wire.Secret `json:"aws_session_token" sensitive:"true" doc:"For aws-s3: session token of temporary keys."`
	S3Endpoint   string      `json:"aws_s3_endpoint" doc:"For aws-s3: host, with its port, of a server that is not Amazon's."`
	S3DisableTLS bool        `json:"aws_s3_disable_tls" doc:"For aws-s3: speak plain HTTP to the endpoint."`
	S3PathStyle  bool        `json:"aws_s3_force_path_style" doc:"For aws-s3: put the bucket into the path instead of the host's name."`
	S3Encrypt    bool        `json:"aws_s3_server_side_encryption" doc:"For aws-s3: ask the store to encrypt with its own keys."`
	S3KMS        bool        `json:"aws_s3_enable_kms" doc:"For aws-s3: ask the store to encrypt with a key of its KMS."`
	S3KMSKey     string      `json:"aws_s3_kms_key" doc:"For aws-s3: the KMS key; the bucket's default if not given."`

	GCSBucket     string      `json:"google_gcs_bucket" doc:"For google-gcs: the bucket."`
	GCSKey        wire.Secret `json:"google_service_account_key" sensitive:"true" doc:"For google-gcs: the service account's key file, as JSON."`
	GCSEndpoint   string      `json:"google_endpoint" doc:"For google-gcs: host of another server that speaks the protocol."`
	GCSDisableTLS bool        `json:"google_disable_tls" doc:"For google-gcs: speak plain HTTP to the endpoint."`

	AzureContainer   string      `json:"azure_container_name" doc:"For azure-blob: the container."`
	AzureAccount     string      `json:"azure_account_name" doc:"For azure-blob: the storage account."`
	AzureKey         wire.Secret `json:"azure_account_key" sensitive:"true" doc:"For azure-blob: the account's key."`
	AzureEnvironment string      `json:"azure_blob_environment" doc:"For azure-blob: the cloud; azurepubliccloud if not given."`
	AzureEndpoint    string      `json:"azure_endpoint" doc:"For azure-blob: URL of another server that speaks the protocol."`
}

// fileName is what may begin a file's name.
var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func (in writeRequest) schedule() (schedule, error) {
	c := schedule{
		Interval: in.Interval.D(), Retain: in.Retain.Or(1), PathPrefix: in.PathPrefix.Value, FilePrefix: in.FilePrefix, Type: in.Type, Local: in.MaxSpace,
		S3: s3Settings{
			Bucket: in.S3Bucket, Region: in.S3Region, AccessKey: in.S3AccessKey, SecretKey: in.S3SecretKey.Reveal(), SessionToken: in.S3Session.Reveal(),
			Endpoint: in.S3Endpoint, Plain: in.S3DisableTLS, PathStyle: in.S3PathStyle, Encrypt: in.S3Encrypt, KMS: in.S3KMS, KMSKey: in.S3KMSKey,
		},
		Azure: azureSettings{Container: in.AzureContainer, Account: in.AzureAccount, Key: in.AzureKey.Reveal(), Environment: in.AzureEnvironment, Endpoint: in.AzureEndpoint},
		GCS:   gcsSettings{Bucket: in.GCSBucket, Key: in.GCSKey.Reveal(), Endpoint: in.GCSEndpoint, Plain: in.GCSDisableTLS},
	}
	switch {
	case c.Interval < time.Minute:
		return c, fault.New(fault.Invalid, "'interval' must be at least one minute")
	case c.Retain < 1:
		return c, fault.New(fault.Invalid, "'retain' must be at least 1")
	case !in.PathPrefix.Set:
		return c, fault.New(fault.Invalid, "'path_prefix' is required; it may be empty unless storage_type is local")
	case !fileName.MatchString(c.FilePrefix):
		return c, fault.New(fault.Invalid, "'file_prefix' may have letters, digits, '.', '_' and '-', and begins with a letter or digit")
	case in.Autoload:
		return c, fault.New(fault.Invalid, "'autoload_enabled' is not supported: restore a snapshot, or read it on a server of its own")
	}
	return c, c.checkPlace()
}

// checkPlace refuses what could not work at the first attempt.
func (c schedule) checkPlace() error {
	switch c.Type {
	case local:
		return checkLocal(c)
	case s3:
		return c.S3.check()
	case azure:
		return c.Azure.check()
	case gcs:
		return c.GCS.check()
	}
	return fault.New(fault.Invalid, "'storage_type' must be local, aws-s3, azure-blob or google-gcs")
}

func (s *Schedules) write(ctx context.Context, _ *route.Call, in writeRequest) (route.None, error) {
	c, err := in.schedule()
	if err != nil {
		return route.None{}, err
	}
	_, err = s.Store.Update(ctx, func(tx store.Txn) error {
		// What happened so far is kept for the status; the next one is due.
		o, err := store.GetJSON[outcome](tx, key(in.Name, rowOutcome))
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return err
		}
		o.Next, o.Errors = time.Time{}, 0
		if err := store.PutJSON(tx, key(in.Name, rowOutcome), o); err != nil {
			return err
		}
		return store.PutJSON(tx, key(in.Name, rowSchedule), c)
	})
	return route.None{}, err
}

func (s *Schedules) delete(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		if err := tx.Delete(key(in.Name, rowOutcome)); err != nil {
			return err
		}
		return tx.Delete(key(in.Name, rowSchedule))
	})
	return route.None{}, err
}

func (s *Schedules) list(ctx context.Context, _ *route.Call, _ struct{}) (keys route.Keys, err error) {
	err = s.Store.View(ctx, func(r store.Reader) error {
		keys.Keys, err = store.Children(r, key(), "", 0)
		return err
	})
	return keys, err
}

// config is a schedule as it is shown: no credentials.
type config struct {
	Interval   int64  `json:"interval"`
	Retain     int    `json:"retain"`
	PathPrefix string `json:"path_prefix"`
	FilePrefix string `json:"file_prefix"`
	Type       string `json:"storage_type"`
	Autoload   bool   `json:"autoload_enabled"`

	place any // fields of the kind of place
}

// MarshalJSON puts the place's fields beside the others.
func (c config) MarshalJSON() ([]byte, error) {
	type plain config
	head, err := json.Marshal(plain(c))
	if err != nil {
		return nil, err
	}
	tail, err := json.Marshal(c.place)
	if err != nil {
		return nil, err
	}
	return append(append(head[:len(head)-1], ','), tail[1:]...), nil
}

func (s *Schedules) find(ctx context.Context, name string) (c schedule, err error) {
	err = s.Store.View(ctx, func(r store.Reader) error {
		c, err = store.GetJSON[schedule](r, key(name, rowSchedule))
		return err
	})
	return c, err
}

func (s *Schedules) read(ctx context.Context, _ *route.Call, in nameRequest) (config, error) {
	c, err := s.find(ctx, in.Name)
	if err != nil {
		return config{}, err
	}
	shown := config{Interval: int64(c.Interval / time.Second), Retain: c.Retain, PathPrefix: c.PathPrefix, FilePrefix: c.FilePrefix, Type: c.Type}
	switch c.Type {
	case local:
		shown.place = struct {
			MaxSpace int64 `json:"local_max_space"`
		}{c.Local}
	case s3:
		shown.place = c.S3.shown()
	case azure:
		shown.place = c.Azure.shown()
	case gcs:
		shown.place = c.GCS.shown()
	}
	return shown, nil
}

// status is what came of a schedule. Times are RFC 3339, "" if there is none.
type status struct {
	Errors    int    `json:"consecutive_errors"`
	LastEnd   string `json:"last_snapshot_end"`
	LastError string `json:"last_snapshot_error"`
	LastStart string `json:"last_snapshot_start"`
	LastURL   string `json:"last_snapshot_url"`
	Next      string `json:"next_snapshot_start"`
	Start     string `json:"snapshot_start"`
	URL       string `json:"snapshot_url"`
}

func (s *Schedules) status(ctx context.Context, _ *route.Call, in nameRequest) (status, error) {
	if _, err := s.find(ctx, in.Name); err != nil {
		return status{}, err
	}
	o := s.outcomeOf(in.Name)
	return status{
		Errors: o.Errors, LastError: o.Error, LastStart: stamp(o.Started), LastEnd: stamp(o.Ended), LastURL: o.URL,
		Next: stamp(o.Next), Start: stamp(o.GoodStart), URL: o.URL,
	}, nil
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}
