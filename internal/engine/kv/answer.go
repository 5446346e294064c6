package kv

import (
	"strconv"
	"time"

	"github.com/cofferhq/coffer/internal/wire"
)

var jsonNull = []byte("null")

// versionDetails is how the API shows a version beside its data.
type versionDetails struct {
	version
	number uint64
	custom []byte
}

// AppendJSON writes the details, for [route.Appender].
func (d *versionDetails) AppendJSON(dst []byte) []byte { return d.append(dst) }

func (d *versionDetails) append(dst []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, len(d.custom)+160)
	}
	dst = append(dst, `{"created_time":`...)
	dst = appendTime(dst, d.created)
	dst = append(dst, `,"custom_metadata":`...)
	dst = appendOrNull(dst, d.custom)
	dst = append(dst, `,"deletion_time":`...)
	dst = appendTime(dst, d.deletion)
	dst = append(dst, `,"destroyed":`...)
	dst = strconv.AppendBool(dst, d.destroyed)
	dst = append(dst, `,"version":`...)
	dst = strconv.AppendUint(dst, d.number, 10)
	return append(dst, '}')
}

// metadata is how the API shows a secret.
type metadata struct {
	secret
	// creators, if set, are those of the versions in the table.
	creators []creator
}

// creator is who created a version, and how.
type creator struct {
	op  operation
	row []byte // see [encodeCreator]
}

// AppendJSON writes the metadata, for [route.Appender].
func (m *metadata) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"cas_required":`...)
	dst = strconv.AppendBool(dst, m.casRequired)
	dst = append(dst, `,"created_time":`...)
	dst = appendTime(dst, m.created)
	dst = append(dst, `,"current_metadata_version":`...)
	dst = strconv.AppendUint(dst, m.metadataVersion, 10)
	dst = append(dst, `,"current_version":`...)
	dst = strconv.AppendUint(dst, m.current, 10)
	dst = append(dst, `,"custom_metadata":`...)
	dst = appendOrNull(dst, m.custom)
	dst = append(dst, `,"delete_version_after":`...)
	dst = wire.AppendQuoted(dst, m.deleteAfter.String())
	dst = append(dst, `,"max_versions":`...)
	dst = strconv.AppendUint(dst, uint64(m.maxVersions), 10)
	dst = append(dst, `,"metadata_cas_required":`...)
	dst = strconv.AppendBool(dst, m.metadataCASRequired)
	dst = append(dst, `,"oldest_version":`...)
	dst = strconv.AppendUint(dst, m.oldest, 10)
	dst = append(dst, `,"updated_time":`...)
	dst = appendTime(dst, m.updated)
	dst = append(dst, `,"versions":{`...)
	for n := m.first(); n <= m.current; n++ {
		if n > m.first() {
			dst = append(dst, ',')
		}
		dst = m.appendVersion(dst, n)
	}
	return append(dst, "}}"...)
}

func (m *metadata) appendVersion(dst []byte, n uint64) []byte {
	v, _ := m.version(n)
	dst = append(dst, '"')
	dst = strconv.AppendUint(dst, n, 10)
	dst = append(dst, `":{"created_time":`...)
	dst = appendTime(dst, v.created)
	if i := int(n - m.first()); i < len(m.creators) {
		dst = append(dst, `,"created_by":`...)
		dst = m.creators[i].append(dst)
	}
	dst = append(dst, `,"deletion_time":`...)
	dst = appendTime(dst, v.deletion)
	dst = append(dst, `,"destroyed":`...)
	dst = strconv.AppendBool(dst, v.destroyed)
	return append(dst, '}')
}

func (c creator) append(dst []byte) []byte {
	name, entity, accessor, err := decodeCreator(c.row)
	if err != nil {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"display_name":`...)
	dst = wire.AppendQuoted(dst, name)
	dst = append(dst, `,"entity_id":`...)
	dst = wire.AppendQuoted(dst, entity)
	dst = append(dst, `,"accessor":`...)
	dst = wire.AppendQuoted(dst, accessor)
	dst = append(dst, `,"operation":`...)
	dst = wire.AppendQuoted(dst, c.op.String())
	return append(dst, '}')
}

// appendTime writes a time in Unix nanoseconds, "" if it is zero.
func appendTime(dst []byte, nanos int64) []byte {
	dst = append(dst, '"')
	if nanos != 0 {
		dst = time.Unix(0, nanos).UTC().AppendFormat(dst, time.RFC3339Nano)
	}
	return append(dst, '"')
}

func appendOrNull(dst, raw []byte) []byte {
	if len(raw) == 0 {
		raw = jsonNull
	}
	return append(dst, raw...)
}
