package replica

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Index is a place in a cluster's history, as clients carry it from one node to
// another in the header X-Vault-Index. Clients of Vault that merge what several
// answers told them take it apart, so it has the form that they know, in
// base64:
//
//	v1:<cluster id>:<index>:<index>:
//
// What would be a signature at the end is empty: the number says how long to
// wait, at most [IndexWait], and gives no right to anything.
type Index struct {
	Cluster string
	At      store.Index
}

const indexVersion = "v1"

// String writes the index as the header has it.
func (i Index) String() string {
	at := strconv.FormatUint(uint64(i.At), 10)
	return base64.StdEncoding.EncodeToString([]byte(indexVersion + ":" + i.Cluster + ":" + at + ":" + at + ":"))
}

// maxIndex bounds the text of an index.
const maxIndex = 512

var errIndex = fault.New(fault.Invalid, "header X-Vault-Index: malformed; send it as it was received")

// ParseIndex reads what [Index.String] wrote, or [fault.Invalid].
func ParseIndex(text string) (Index, error) {
	if len(text) > maxIndex {
		return Index{}, errIndex
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return Index{}, errIndex
	}
	parts := strings.Split(string(b), ":")
	if len(parts) != 5 || parts[0] != indexVersion || parts[1] == "" {
		return Index{}, errIndex
	}
	i := Index{Cluster: parts[1]}
	for _, part := range parts[2:4] {
		n, err := strconv.ParseUint(part, 10, 64)
		if err != nil {
			return Index{}, errIndex
		}
		i.At = max(i.At, store.Index(n))
	}
	return i, nil
}
