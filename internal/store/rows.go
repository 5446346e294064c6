package store

import (
	"encoding/json"
	"errors"
	"fmt"
)

// GetJSON reads a row that [PutJSON] wrote. The error is [ErrNotFound] if there
// is none.
func GetJSON[T any](r Reader, key Key) (T, error) {
	var v T
	b, err := r.Get(key)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(b, &v); err != nil {
		// The decoder's text may quote the value: it is not passed on.
		return v, fmt.Errorf("decoding a row of kind %d: malformed", key.Kind())
	}
	return v, nil
}

// PutJSON writes v as a row.
func PutJSON(tx Txn, key Key, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a row of kind %d: %w", key.Kind(), err)
	}
	return tx.Put(key, b)
}

// Exists reports whether there is a row at key.
func Exists(r Reader, key Key) (bool, error) {
	_, err := r.Get(key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Children returns the distinct parts that directly follow k, in order, with
// the key of the first row of each. It seeks from child to child, so its cost
// is the number of children, not of rows below them.
func Children(r Reader, k Key, after string, limit int) ([]string, error) {
	rng := Under(k)
	if after != "" {
		rng.Start = After(k.Append(after))
	}
	depth := 0
	if parts, err := k.Parts(); err == nil {
		depth = len(parts)
	}
	var names []string
	for limit <= 0 || len(names) < limit {
		rng.Limit = 1
		found := false
		for e, err := range r.Scan(rng) {
			if err != nil {
				return nil, err
			}
			parts, err := e.Key.Parts()
			if err != nil {
				return nil, err
			}
			found = true
			if len(parts) == depth {
				rng.Start = e.Key + "\x00"
				break
			}
			names = append(names, parts[depth])
			rng.Start = After(k.Append(parts[depth]))
		}
		if !found {
			break
		}
	}
	return names, nil
}
