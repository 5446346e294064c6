package api

import (
	"context"
	"strings"
)

// KVv1 is a KV store without versions; see [Client.KVv1].
type KVv1 struct {
	c     *Client
	mount string
}

// KVv1 returns the version 1 KV store at mount.
func (c *Client) KVv1(mount string) KVv1 { return KVv1{c, strings.Trim(mount, "/")} }

func (k KVv1) at(path string) string { return k.mount + "/" + strings.TrimPrefix(path, "/") }

// Get returns the secret at path.
func (k KVv1) Get(ctx context.Context, path string) (*Secret, error) {
	return k.c.Read(ctx, k.at(path), nil)
}

// Put replaces the secret at path.
func (k KVv1) Put(ctx context.Context, path string, data any) error {
	_, err := k.c.Write(ctx, k.at(path), data)
	return err
}

// Delete deletes the secret at path.
func (k KVv1) Delete(ctx context.Context, path string) error {
	_, err := k.c.Delete(ctx, k.at(path), nil)
	return err
}

// List lists the names directly below path.
func (k KVv1) List(ctx context.Context, path string) ([]string, error) {
	s, err := k.c.List(ctx, k.at(path))
	if err != nil {
		return nil, err
	}
	return s.Keys()
}
