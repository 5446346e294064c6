package cli_test

import "testing"

const (
	kv2Mount = `{"path":"secret/","type":"kv","description":"","accessor":"kv_1","options":{"version":"2"}}`
	kv1Mount = `{"path":"kv1/","type":"kv","description":"","accessor":"kv_2","options":{"version":"1"}}`
	version3 = `{"created_time":"2026-01-02T03:04:05.678Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":3}`
	deleted  = `{"created_time":"2026-01-02T03:04:05.678Z","custom_metadata":null,"deletion_time":"2026-01-02T04:04:05Z","destroyed":false,"version":2}`
)

func TestKVVersioned(t *testing.T) {
	sh := newShell(t, answers{
		"GET /v1/sys/internal/ui/mounts/secret/app":     data(kv2Mount),
		"GET /v1/sys/internal/ui/mounts/secret/team/a":  data(kv2Mount),
		"GET /v1/sys/internal/ui/mounts/secret/gone":    data(kv2Mount),
		"GET /v1/sys/internal/ui/mounts/secret/missing": data(kv2Mount),
		"GET /v1/sys/internal/ui/mounts/secret":         data(kv2Mount),
		"GET /v1/sys/internal/ui/mounts/denied/x":       `403 {"errors":["preflight capability check returned 403, please ensure client's policies grant access to path \"denied/x/\""]}`,
		"GET /v1/secret/data/app":                       data(`{"data":{"user":"app","password":"p&w","port":5432},"metadata":` + version3 + `}`),
		"GET /v1/secret/data/app?version=2":             data(`{"data":{"user":"old"},"metadata":` + version3 + `}`),
		"GET /v1/secret/data/app?version=1":             `404 {"request_id":"r1","data":{"data":null,"metadata":` + deleted + `},"warnings":null}`,
		"GET /v1/secret/data/gone":                      `404 {"request_id":"r1","data":{"data":null,"metadata":` + deleted + `},"warnings":null}`,
		"PUT /v1/secret/data/app":                       data(version3),
		"PUT /v1/secret/data/gone":                      `400 {"errors":["check-and-set parameter did not match the current version"]}`,
		"PATCH /v1/secret/data/app":                     data(version3),
		"PATCH /v1/secret/data/team/a":                  `405 {"errors":["unsupported operation"]}`,
		"GET /v1/secret/data/team/a":                    data(`{"data":{"a":"1","b":"2"},"metadata":` + version3 + `}`),
		"PUT /v1/secret/data/team/a":                    data(version3),
		"DELETE /v1/secret/data/app":                    "",
		"PUT /v1/secret/delete/app":                     "",
		"PUT /v1/secret/undelete/app":                   "",
		"PUT /v1/secret/destroy/app":                    "",
		"LIST /v1/secret/metadata/":                     data(`{"keys":["app","team/"]}`),
		"SCAN /v1/secret/metadata/":                     data(`{"keys":["app","team/a"]}`),
		"GET /v1/secret/metadata/app": data(`{"cas_required":false,"created_time":"2026-01-01T00:00:00Z","current_version":10,"custom_metadata":{"owner":"ops"},"delete_version_after":"0s","max_versions":0,"oldest_version":2,"updated_time":"2026-01-02T00:00:00Z",
			"versions":{"10":{"created_time":"2026-01-02T00:00:00Z","deletion_time":"","destroyed":false},"2":{"created_time":"2026-01-01T00:00:00Z","deletion_time":"","destroyed":true}}}`),
		"PUT /v1/secret/metadata/app":    "",
		"PATCH /v1/secret/metadata/app":  "",
		"DELETE /v1/secret/metadata/app": "",
		"POST /v1/sys/mounts/kv1/tune":   "",
	})
	sh.transcript(t, "kv2",
		"kv get secret/app", "kv get -mount=secret app", "kv get -version=2 secret/app", "kv get -field=password secret/app", "kv get -field=nope secret/app",
		"kv get -format=json secret/app", "kv get -format=json -field=data secret/app", "kv get secret/gone", "kv get -field=user secret/gone", "kv get secret/missing", "kv get denied/x",
		"kv put secret/app user=app port=1", "kv put -cas=0 -mount=secret gone a=b", "kv put secret/app", "kv put -format=json secret/app a=b", "kv put -field=version secret/app a=b",
		"kv patch secret/app a=b -remove-data=c", "kv patch -cas=3 secret/app a=b", "kv patch secret/team/a b=3 -remove-data=a", "kv patch -method=rw secret/app x=y", "kv patch secret/missing a=b", "kv patch -method=rw secret/gone a=b",
		"kv list secret", "kv list -mount=secret", "kv list -recursive secret", "kv list -format=json secret/missing",
		"kv delete secret/app", "kv delete -versions=1,2 secret/app", "kv undelete -versions=1 secret/app", "kv undelete secret/app", "kv destroy -versions=1 -versions=2 secret/app",
		"kv rollback -version=2 secret/app", "kv rollback -version=1 secret/app", "kv rollback secret/app",
		"kv metadata get secret/app", "kv metadata get -format=json secret/app", "kv metadata get secret/missing",
		"kv metadata put -max-versions=5 -delete-version-after=1h30m -cas-required=false -custom-metadata=a=b secret/app",
		"kv metadata patch -custom-metadata=a=b -remove-custom-metadata=c secret/app", "kv metadata delete secret/app",
		"kv enable-versioning kv1",
		"kv get -output-curl-string secret/app", "kv put -output-policy secret/app a=b",
		"kv git secret/app",
	)
}

func TestKVUnversioned(t *testing.T) {
	sh := newShell(t, answers{
		"GET /v1/sys/internal/ui/mounts/kv1/a":     data(kv1Mount),
		"GET /v1/sys/internal/ui/mounts/kv1":       data(kv1Mount),
		"GET /v1/kv1/a":                            `{"request_id":"r1","lease_id":"","renewable":false,"lease_duration":2764800,"data":{"v":"1"},"warnings":null,"auth":null,"wrap_info":null}`,
		"PUT /v1/kv1/a":                            "",
		"DELETE /v1/kv1/a":                         "",
		"LIST /v1/kv1/":                            data(`{"keys":["a"]}`),
		"GET /v1/sys/internal/ui/mounts/ancient/a": `404 {"errors":[]}`,
		"GET /v1/ancient/a":                        data(`{"v":"2"}`),
	})
	sh.transcript(t, "kv1",
		"kv get kv1/a", "kv get -field=v kv1/a", "kv put kv1/a v=1", "kv delete kv1/a", "kv list kv1/", "kv patch kv1/a a=b", "kv undelete -versions=1 kv1/a",
		"kv delete -versions=1 kv1/a", "kv metadata get kv1/a", "kv get ancient/a", "kv get -mount=ancient a",
	)
}
